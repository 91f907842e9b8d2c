/** Pseudorandom numbers that are the same for the same seed (mulberry32). */
export class SeededRandom {
  #state: number;

  /** @param seed 32 bits of it count */
  constructor(seed: number) {
    this.#state = seed >>> 0;
  }

  /** From 0 up to but not including 1. */
  next(): number {
    this.#state = (this.#state + 0x6d2b79f5) >>> 0;
    let mixed = Math.imul(this.#state ^ (this.#state >>> 15), this.#state | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
  }

  /** A whole number from `from` up to but not including `to`. */
  integer(from: number, to: number): number {
    return from + Math.floor(this.next() * (to - from));
  }

  /** @throws Error if there is nothing to pick */
  pick<T>(choices: readonly T[]): T {
    const choice = choices[this.integer(0, choices.length)];
    if (choice === undefined) throw new Error('Cannot pick: there is no choice');
    return choice;
  }

  /** The same in another order. */
  shuffle<T>(items: readonly T[]): T[] {
    const left = [...items];
    const drawn: T[] = [];
    while (left.length > 0) drawn.push(...left.splice(this.integer(0, left.length), 1));
    return drawn;
  }
}
