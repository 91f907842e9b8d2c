import { execFile } from 'node:child_process';
import { promisify } from 'node:util';

const run = promisify(execFile);

/** How a secret looks where it has not been hidden well: as it is, in base64, in a URL. */
function formsOf(secret: string, username: string): string[] {
  const base64 = (text: string) => Buffer.from(text).toString('base64').replace(/=+$/, '');
  return [secret, base64(secret), base64(`${username}:${secret}`), encodeURIComponent(secret)];
}

/** What must be nowhere: passwords and keys that were given out on purpose. */
export class Secrets {
  readonly #forms = new Set<string>();

  constructor(secrets: Readonly<Record<string, string>>, username: string) {
    for (const secret of Object.values(secrets)) {
      for (const form of formsOf(secret, username)) this.#forms.add(form);
    }
  }

  /** The secrets that a text holds. */
  in(text: string): string[] {
    return [...this.#forms].filter((form) => text.includes(form));
  }

  /** The files in and below these folders that hold one, whatever kind of file they are. */
  async filesWith(folders: readonly string[]): Promise<string[]> {
    const patterns = [...this.#forms].flatMap((form) => ['-e', form]);
    try {
      const words = ['-r', '-l', '-a', '-F', '-s', '-D', 'skip', ...patterns, ...folders];
      return (await run('grep', words)).stdout.trim().split('\n');
    } catch (error) {
      if (error instanceof Error && 'code' in error && error.code === 1) return [];
      throw error;
    }
  }
}
