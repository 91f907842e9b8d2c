/** What a part has opened, closed in reverse order. (Node 20 has no AsyncDisposableStack.) */
export class Ownership implements AsyncDisposable {
  readonly #owned: AsyncDisposable[] = [];

  use<T extends AsyncDisposable>(part: T): T {
    this.#owned.push(part);
    return part;
  }

  /** Closes everything, also when some of it fails to close. @throws the first failure */
  async [Symbol.asyncDispose](): Promise<void> {
    const failures: unknown[] = [];
    for (let part = this.#owned.pop(); part; part = this.#owned.pop()) {
      try {
        await part[Symbol.asyncDispose]();
      } catch (error) {
        failures.push(error);
      }
    }
    if (failures.length > 0) throw failures[0];
  }
}
