/** Room on the disk that the cache has granted to one layer, and that is not used yet. */
export class SpaceGrants {
  readonly #ask: (bytes: number, exact: boolean) => void;
  #left = 0;
  #answer: (bytes: number) => void = () => undefined;
  #refuse: (error: Error) => void = () => undefined;

  /** @param ask for so many bytes or more, or exactly so many; answered by `granted` */
  constructor(ask: (bytes: number, exact: boolean) => void) {
    this.#ask = ask;
  }

  /** Takes `bytes` where there is plenty. One call at a time. @returns false where it is scarce */
  async take(bytes: number): Promise<boolean> {
    if (this.#left < bytes) this.#left += await this.#asked(bytes, false);
    if (this.#left < bytes) return false;
    this.#left -= bytes;
    return true;
  }

  /** Takes `bytes`, for which files may have to go. One call at a time. @throws what it is refused with */
  async takeExactly(bytes: number): Promise<void> {
    if (bytes > 0) await this.#asked(bytes, true);
  }

  granted(bytes: number): void {
    this.#answer(bytes);
  }

  refused(error: Error): void {
    this.#refuse(error);
  }

  #asked(bytes: number, exact: boolean): Promise<number> {
    return new Promise((resolve, reject) => {
      this.#answer = resolve;
      this.#refuse = reject;
      this.#ask(bytes, exact);
    });
  }
}
