import type { Digest } from '../digest.js';

/** A file read this recently, in milliseconds, is in use: its reader is likely not done. */
const recentMs = 10_000;

/** Keeps files from eviction while something is made of them (a pull, a mount being set up). */
export interface FileHold extends Disposable {
  add(content: Digest): void;
}

/** Which files are in use at this moment, by reads and by holds. In memory: it ends with us. */
export class FileUse {
  /** Contents used in this period and in the one before. */
  #current = new Set<Digest>();
  #previous = new Set<Digest>();
  #periodEnd = 0;
  readonly #held = new Map<Digest, number>();
  readonly #now: () => number;

  /** @param now milliseconds of a clock that never jumps */
  constructor(now: () => number) {
    this.#now = now;
  }

  /** @returns true the first time in a period */
  used(content: Digest): boolean {
    this.#turn();
    if (this.#current.has(content)) return false;
    this.#current.add(content);
    return true;
  }

  inUse(content: Digest): boolean {
    this.#turn();
    return this.#held.has(content) || this.#current.has(content) || this.#previous.has(content);
  }

  /** From now on only holds count: a user who removes what nothing uses need not wait. */
  forgetRecent(): void {
    this.#current = new Set();
    this.#previous = new Set();
  }

  hold(): FileHold {
    const contents = new Set<Digest>();
    return {
      add: (content) => {
        if (contents.has(content)) return;
        contents.add(content);
        this.#held.set(content, (this.#held.get(content) ?? 0) + 1);
      },
      [Symbol.dispose]: () => {
        for (const content of contents) {
          const count = (this.#held.get(content) ?? 0) - 1;
          if (count > 0) this.#held.set(content, count);
          else this.#held.delete(content);
        }
        contents.clear();
      },
    };
  }

  #turn(): void {
    const now = this.#now();
    if (now < this.#periodEnd) return;
    this.#previous = now < this.#periodEnd + recentMs ? this.#current : new Set();
    this.#current = new Set();
    this.#periodEnd = now + recentMs;
  }
}
