/** Of work that is done at a time: how many pieces, and what they weigh; one alone may weigh more. */
export interface WorkBounds<K> {
  readonly countMax: number;
  readonly weightMax: number;
  readonly weightOf: (key: K) => number;
}

/** Work that is begun ahead of its turn, in the order in which it was added, so much of it at a time. */
export class WorkAhead<K, V> {
  readonly #bounds: WorkBounds<K>;
  readonly #work: (key: K) => Promise<V>;
  readonly #waiting = new Set<K>();
  readonly #begun = new Map<K, Promise<V | undefined>>();
  readonly #inFlight = new Set<Promise<unknown>>();
  #weight = 0;

  constructor(bounds: WorkBounds<K>, work: (key: K) => Promise<V>) {
    this.#bounds = bounds;
    this.#work = work;
  }

  add(key: K): void {
    this.#waiting.add(key);
    this.#begin();
  }

  /** What was begun of it; undefined where nothing was, or it has failed: then it is for the caller. */
  async take(key: K): Promise<V | undefined> {
    const begun = this.#begun.get(key);
    this.#begun.delete(key);
    this.#waiting.delete(key);
    return await begun;
  }

  /** Ends when nothing is being done, and nothing waits. Never fails. */
  async settled(): Promise<void> {
    while (this.#inFlight.size > 0) await Promise.all(this.#inFlight);
  }

  #begin(): void {
    const { countMax, weightMax, weightOf } = this.#bounds;
    for (const key of this.#waiting) {
      const weight = weightOf(key);
      const fits = this.#weight + weight <= weightMax || this.#inFlight.size === 0;
      if (!fits || this.#inFlight.size >= countMax) return;
      this.#waiting.delete(key);
      const work = this.#work(key).catch(() => undefined);
      this.#begun.set(key, work);
      const flight = work.then(() => {
        this.#inFlight.delete(flight);
        this.#weight -= weight;
        this.#begin();
      });
      this.#inFlight.add(flight);
      this.#weight += weight;
    }
  }
}
