/** Work of one kind, of which only one at a time goes on for a key: who wants it besides waits for that. */
export class JoinedWork {
  readonly #going = new Map<string, Promise<void>>();

  isGoing(key: string): boolean {
    return this.#going.has(key);
  }

  /** @throws what the work throws that goes on */
  join(key: string, work: () => Promise<void>): Promise<void> {
    const going = this.#going.get(key) ?? work().finally(() => this.#going.delete(key));
    this.#going.set(key, going);
    return going;
  }
}
