/** Keeps the images that are added to it from being removed, until it is disposed. */
export interface ImageHold extends Disposable {
  /** @param manifest its digest */
  add(manifest: string): void;
}

/** Images that somebody is about to use, while nothing that is mounted says so yet. */
export class ImageHolds {
  readonly #holds = new Set<ReadonlySet<string>>();

  has(manifest: string): boolean {
    return [...this.#holds].some((held) => held.has(manifest));
  }

  hold(): ImageHold {
    const held = new Set<string>();
    this.#holds.add(held);
    return {
      add: (manifest) => void held.add(manifest),
      [Symbol.dispose]: () => void this.#holds.delete(held),
    };
  }
}
