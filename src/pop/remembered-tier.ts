import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';

/** Which tier a directory was, in a node's state: what is mounted over an empty folder is missed when it is not. */
export class RememberedTier {
  readonly #path: string;
  readonly #directory: string;

  constructor(root: string, directory: string) {
    this.#path = join(root, 'shared-tier');
    this.#directory = directory;
  }

  /** Its id; '' if it was never seen. */
  read(): string {
    try {
      const [directory, tier = ''] = readFileSync(this.#path, 'utf8').split('\n');
      return directory === this.#directory ? tier : '';
    } catch {
      return '';
    }
  }

  /** Never fails: what cannot be written now may be at the next look. */
  write(tier: string): void {
    if (this.read() === tier) return;
    try {
      writeFileSync(this.#path, `${this.#directory}\n${tier}\n`, { mode: 0o600 });
    } catch {
      // The next look tries again.
    }
  }
}
