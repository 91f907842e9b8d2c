/** Ends the daemon once, for whatever came first. */
export class StopSwitch {
  readonly thrown: Promise<{ restart: boolean; renew: boolean }>;
  #isFollowed: boolean = false;
  #throw: (why: { restart: boolean; renew: boolean }) => void = () => {};

  constructor() {
    this.thrown = new Promise((resolve) => {
      this.#throw = resolve;
    });
  }

  /** Whether another server is started at once when this one has ended. */
  get isFollowed(): boolean {
    return this.#isFollowed;
  }

  /** @param again whether whoever ends it starts another one */
  stop(again = false): void {
    this.#isFollowed = again;
    this.#throw({ restart: false, renew: false });
  }

  restart(renew: boolean): void {
    this.#isFollowed = true;
    this.#throw({ restart: true, renew });
  }
}
