import type { FetchName } from './pop-keys.js';

interface Fetch {
  readonly isStuck: () => boolean;
}

/** What this node is fetching from origins, pieces and parts: each of them may be fetched several times at once. */
export class InHand {
  readonly #fetches = new Map<FetchName, Set<Fetch>>();

  /** @returns told when it has ended, once */
  begin(names: readonly FetchName[], isStuck: () => boolean): () => void {
    const fetch = { isStuck };
    for (const name of names) {
      const known = this.#fetches.get(name) ?? new Set();
      this.#fetches.set(name, known.add(fetch));
    }
    return () => {
      for (const name of names) {
        const known = this.#fetches.get(name);
        known?.delete(fetch);
        if (known?.size === 0) this.#fetches.delete(name);
      }
    };
  }

  /** Whether it is about to be here: one of its fetches makes progress. */
  has(name: FetchName): boolean {
    return [...(this.#fetches.get(name) ?? [])].some(({ isStuck }) => !isStuck());
  }
}
