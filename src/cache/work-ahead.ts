/** Work that is begun ahead of its turn, in the order in which it was added, so much of it at a time. */
export class WorkAhead<K, V> {
  readonly #inFlightMax: number;
  readonly #work: (key: K) => Promise<V>;
  readonly #waiting = new Set<K>();
  readonly #begun = new Map<K, Promise<V | undefined>>();
  #inFlight = 0;

  constructor(inFlightMax: number, work: (key: K) => Promise<V>) {
    this.#inFlightMax = inFlightMax;
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

  #begin(): void {
    for (const key of this.#waiting) {
      if (this.#inFlight >= this.#inFlightMax) return;
      this.#waiting.delete(key);
      this.#inFlight += 1;
      const work = this.#work(key).catch(() => undefined);
      this.#begun.set(key, work);
      void work.finally(() => {
        this.#inFlight -= 1;
        this.#begin();
      });
    }
  }
}
