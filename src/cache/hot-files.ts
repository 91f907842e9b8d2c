import type { Digest } from '../digest.js';
import type { CacheParts } from './cache-parts.js';
import type { DigestSet } from './digest-set.js';

/** What is wanted soon again: where it is, that it moves, and that it leaves last. */
export class HotFiles {
  readonly #parts: CacheParts;

  constructor(parts: CacheParts) {
    this.#parts = parts;
  }

  /** Files that leave, for want of space, only when nothing else may; instead of those told before. */
  keepLast(contents: DigestSet): void {
    this.#parts.ledger.keepLast(contents);
  }

  /** Name of the tier that has the complete file. */
  async tierOf(content: Digest): Promise<string | undefined> {
    return (await this.#parts.files.find(content))?.name;
  }

  /**
   * Moves complete files to another tier; who reads them finds them at every moment. What is not here
   * or there already is passed over.
   * @returns how many were moved
   * @throws ThinError `invalid` if there is no such tier; `no-space` or `unavailable` if it takes no
   *   more; `canceled`
   */
  move(contents: Iterable<Digest>, tier: string, signal: AbortSignal): Promise<number> {
    return this.#parts.mover.move(contents, tier, signal);
  }
}
