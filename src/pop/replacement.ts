import type { ReplacementPolicy } from '../pop-option.js';

/** What a cache of bounded size keeps: told of each use, it says what leaves first. No I/O. */
export interface Replacement<K> {
  /** `key`, of `size` bytes, is in the cache and was used now. */
  used(key: K, size: number): void;
  removed(key: K): void;
  /** What leaves next; undefined if there is nothing. Stays until it is removed. */
  victim(): K | undefined;
  sizeOf(key: K): number | undefined;
  readonly count: number;
  /** Of all together. */
  readonly bytes: number;
}

export function replacement<K>(policy: ReplacementPolicy): Replacement<K> {
  return policy === 'lru' ? new LeastRecentlyUsed() : new GreedyDualSizeFrequency();
}

/** Least recently used first. */
class LeastRecentlyUsed<K> implements Replacement<K> {
  /** In the order of use. */
  readonly #sizes = new Map<K, number>();
  #bytes = 0;

  used(key: K, size: number): void {
    this.removed(key);
    this.#sizes.set(key, size);
    this.#bytes += size;
  }

  removed(key: K): void {
    this.#bytes -= this.#sizes.get(key) ?? 0;
    this.#sizes.delete(key);
  }

  victim(): K | undefined {
    const { value, done } = this.#sizes.keys().next();
    return done === true ? undefined : value;
  }

  sizeOf(key: K): number | undefined {
    return this.#sizes.get(key);
  }

  get count(): number {
    return this.#sizes.size;
  }

  get bytes(): number {
    return this.#bytes;
  }
}

interface Ranked<K> {
  readonly key: K;
  readonly size: number;
  uses: number;
  rank: number;
  /** Place in the heap. */
  at: number;
}

/**
 * GreedyDual-Size-Frequency (Cherkasova, HP Laboratories 1998): first leaves what has the least uses
 * for its size, where old uses count less: each new rank begins at that of what left last.
 */
class GreedyDualSizeFrequency<K> implements Replacement<K> {
  readonly #items = new Map<K, Ranked<K>>();
  /** The least rank at 0; the children of `at` are at `2 at + 1` and `2 at + 2`. */
  readonly #heap: Ranked<K>[] = [];
  #bytes = 0;
  #age = 0;

  used(key: K, size: number): void {
    const known = this.#items.get(key);
    const uses = (known?.uses ?? 0) + 1;
    if (known) this.#drop(known);
    const item = { key, size, uses, rank: this.#age + uses / size, at: this.#heap.length };
    this.#items.set(key, item);
    this.#heap.push(item);
    this.#bytes += size;
    this.#rise(item);
  }

  removed(key: K): void {
    const item = this.#items.get(key);
    if (!item) return;
    if (item.at === 0) this.#age = item.rank;
    this.#drop(item);
  }

  victim(): K | undefined {
    return this.#heap[0]?.key;
  }

  sizeOf(key: K): number | undefined {
    return this.#items.get(key)?.size;
  }

  get count(): number {
    return this.#items.size;
  }

  get bytes(): number {
    return this.#bytes;
  }

  #drop(item: Ranked<K>): void {
    this.#items.delete(item.key);
    this.#bytes -= item.size;
    const last = this.#heap.pop();
    if (!last || last === item) return;
    this.#place(last, item.at);
    this.#rise(last);
    this.#sink(last);
  }

  #rise(item: Ranked<K>): void {
    while (item.at > 0) {
      const parent = this.#heap[(item.at - 1) >> 1];
      if (!parent || parent.rank <= item.rank) return;
      this.#swap(item, parent);
    }
  }

  #sink(item: Ranked<K>): void {
    for (;;) {
      const [left, right] = [this.#heap[2 * item.at + 1], this.#heap[2 * item.at + 2]];
      const least = right && left && right.rank < left.rank ? right : left;
      if (!least || least.rank >= item.rank) return;
      this.#swap(item, least);
    }
  }

  #swap(one: Ranked<K>, other: Ranked<K>): void {
    const { at } = one;
    this.#place(one, other.at);
    this.#place(other, at);
  }

  #place(item: Ranked<K>, at: number): void {
    item.at = at;
    this.#heap[at] = item;
  }
}
