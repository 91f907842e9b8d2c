import type { Digest } from '../digest.js';
import { type AnyDigest, GrowingDigestSet } from './digest-set.js';

/** A file read this recently, in milliseconds, is in use: its reader is likely not done. */
const recentMs = 10_000;

/** Keeps files from eviction while something is made of them (a pull, a mount being set up). */
export interface FileHold extends Disposable {
  add(content: AnyDigest): void;
}

/** Which files are in use at this moment, by reads and by holds. In memory: it ends with us. */
export class FileUse {
  /** Contents used in this period and in the one before. */
  #current = new Set<Digest>();
  #previous = new Set<Digest>();
  #periodEnd = 0;
  /** One for each hold: there are as many as layers that are pulled, and a few. */
  readonly #holds = new Set<GrowingDigestSet>();
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
    for (const hold of this.#holds) if (hold.has(content)) return true;
    return this.#current.has(content) || this.#previous.has(content);
  }

  /** From now on only holds count: a user who removes what nothing uses need not wait. */
  forgetRecent(): void {
    this.#current = new Set();
    this.#previous = new Set();
  }

  hold(): FileHold {
    const contents = new GrowingDigestSet();
    this.#holds.add(contents);
    return {
      add: (content) => void contents.add(content),
      [Symbol.dispose]: () => void this.#holds.delete(contents),
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
