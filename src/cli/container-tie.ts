import { setTimeout as delay } from 'node:timers/promises';
import type { ControlClient, Held } from '../daemon/control-client.js';
import { describeError, isThinError } from '../errors.js';

/** Milliseconds between two looks for a daemon that went away. */
const lookPollMs = 500;
/** Times that the end of a container is told to a daemon that dies meanwhile. */
const reportsMax = 5;

/** What a container's end is told to. */
export interface EndedDaemon {
  /** Starts one, if none runs. */
  connect(): Promise<unknown>;
  /** Whether one is to be told of it, where none could be. */
  isUntold(): Promise<boolean>;
}

/**
 * Holds a connection for a container as long as its command runs, over restarts of the daemon: by
 * it the daemon knows that somebody will say how the container ended.
 */
export class ContainerTie {
  readonly #client: ControlClient;
  readonly #id: string;
  readonly #ended = new AbortController();
  readonly #held: Promise<void>;

  /** @param held of the call that created the container */
  constructor(client: ControlClient, id: string, held: Held<unknown>) {
    this.#client = client;
    this.#id = id;
    this.#held = this.#hold(held);
  }

  /** Says how it ended, if need be to a daemon that is started for it. */
  async end(exitCode: number, daemon: EndedDaemon): Promise<void> {
    try {
      await this.#report(exitCode, daemon);
    } catch (error) {
      process.stderr.write(`warning: ${describeError(error)}\n`);
    }
    this.#ended.abort();
    await this.#held;
  }

  async #report(exitCode: number, daemon: EndedDaemon): Promise<void> {
    for (let tries = 1; ; tries++) {
      try {
        const { signal } = new AbortController();
        await this.#client.call('container.end', { id: this.#id, exitCode }, { signal });
        return;
      } catch (error) {
        if (!isThinError(error, 'unavailable', 'not-found')) throw error;
        if (!(await daemon.isUntold())) return;
        if (error.code === 'not-found' || tries === reportsMax) throw error;
      }
      await daemon.connect();
    }
  }

  async #hold(first: Held<unknown>): Promise<void> {
    const { signal } = this.#ended;
    let held: Held<unknown> | undefined = first;
    const close = (): void => held?.close();
    signal.addEventListener('abort', close, { once: true });
    while (held && !signal.aborted) {
      await held.lost;
      held = await this.#attach();
    }
    close();
  }

  /** Undefined if the container has ended, or the daemon knows nothing of it. */
  async #attach(): Promise<Held<null> | undefined> {
    const { signal } = this.#ended;
    while (!signal.aborted) {
      try {
        return await this.#client.hold('container.attach', { id: this.#id }, { signal });
      } catch (error) {
        if (!isThinError(error, 'unavailable')) return undefined;
      }
      await delay(lookPollMs, undefined, { signal }).catch(() => {});
    }
    return undefined;
  }
}
