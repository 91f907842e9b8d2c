interface Stop {
  readonly restart: boolean;
  readonly renew: boolean;
}

/** Ends the daemon once, for whatever came first. */
export class StopSwitch {
  readonly thrown: Promise<Stop>;
  #isFollowed: boolean | undefined;
  #throw: (why: Stop) => void = () => {};

  constructor() {
    this.thrown = new Promise((resolve) => {
      this.#throw = resolve;
    });
  }

  /** Whether another server is started at once when this one has ended. */
  get isFollowed(): boolean {
    return this.#isFollowed ?? false;
  }

  /** @param again whether whoever ends it starts another one */
  stop(again = false): void {
    this.#end(again, { restart: false, renew: false });
  }

  restart(renew: boolean): void {
    this.#end(true, { restart: true, renew });
  }

  #end(isFollowed: boolean, why: Stop): void {
    this.#isFollowed ??= isFollowed;
    this.#throw(why);
  }
}
