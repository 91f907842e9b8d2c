/** Ends the daemon once, for whatever came first. */
export class StopSwitch {
  readonly thrown: Promise<{ restart: boolean; renew: boolean }>;
  #throw: (why: { restart: boolean; renew: boolean }) => void = () => {};

  constructor() {
    this.thrown = new Promise((resolve) => {
      this.#throw = resolve;
    });
  }

  stop(): void {
    this.#throw({ restart: false, renew: false });
  }

  restart(renew: boolean): void {
    this.#throw({ restart: true, renew });
  }
}
