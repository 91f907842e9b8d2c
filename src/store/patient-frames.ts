import type { Frame } from '../chunk/frame.js';
import { isThinError, type ThinError } from '../errors.js';
import type { Clock } from './clock.js';
import type { FrameFetchOptions, FrameSource } from './frame-source.js';
import { askedDelay, type Backoff, backoffDelay } from './retry.js';
import type { SourceHealth } from './source-health.js';
import { storeError } from './store-error.js';

/** The first failure is tried again at once: most are a connection that was dropped while idle. */
const unavailableBackoff: Backoff = { delayMs: 25, delayMaxMs: 1000, retryAfterMaxMs: 60_000 };
/** Only somebody's doing ends a refusal (a login, a policy); accounts get locked by more. */
const deniedBackoff: Backoff = { delayMs: 1000, delayMaxMs: 10_000, retryAfterMaxMs: 60_000 };

export interface PatienceOptions {
  /** Of the sources: when one of them answers anybody, all that wait ask again. */
  readonly healths: readonly SourceHealth[];
  /** Milliseconds; 0: not at all; Infinity: until the caller gives up. */
  readonly deadlineMs: number;
  readonly clock: Clock;
}

/** Asks again for what cannot be had now, until a deadline: an outage makes readers wait, not fail. */
export class PatientFrames implements FrameSource {
  readonly #inner: FrameSource;
  readonly #options: PatienceOptions;
  /** Of the fetches that wait now: why they do. */
  readonly #troubles = new Map<object, ThinError>();

  constructor(inner: FrameSource, options: PatienceOptions) {
    this.#inner = inner;
    this.#options = options;
  }

  /** Why the latest of the fetches that wait now does so; undefined if none waits. */
  get trouble(): ThinError | undefined {
    return [...this.#troubles.values()].at(-1);
  }

  async fetchFrame(frame: Frame, signal: AbortSignal, options?: FrameFetchOptions) {
    const { deadlineMs, clock } = this.#options;
    const deadline = clock.now() + deadlineMs;
    const fetch = {};
    try {
      for (let failed = 0; ; failed++) {
        try {
          return await this.#inner.fetchFrame(frame, signal, options);
        } catch (error) {
          const left = deadline - clock.now();
          if (!mayPass(error, signal) || left <= 0) throw error;
          this.#troubles.delete(fetch); // goes to the end: it is the latest
          this.#troubles.set(fetch, error);
          await this.#sleep(Math.min(left, delayAfter(failed, error)), signal);
        }
      }
    } finally {
      this.#troubles.delete(fetch);
    }
  }

  async #sleep(milliseconds: number, signal: AbortSignal): Promise<void> {
    const awake = new AbortController();
    const wake = () => awake.abort();
    signal.addEventListener('abort', wake, { once: true });
    const unlisten = this.#options.healths.map((health) => health.onAnswer(wake));
    try {
      if (!signal.aborted) await this.#options.clock.sleep(milliseconds, awake.signal);
    } catch (error) {
      if (!awake.signal.aborted) throw error;
    } finally {
      for (const end of unlisten) end();
      signal.removeEventListener('abort', wake);
    }
    if (signal.aborted) throw storeError(`Cannot fetch from ${this}`, signal.reason, signal);
  }

  toString(): string {
    return this.#inner.toString();
  }
}

/** Other answers do not change by asking again. A store that was closed is opened anew. */
function mayPass(error: unknown, signal: AbortSignal): error is ThinError {
  return !signal.aborted && isThinError(error, 'unavailable', 'denied', 'canceled');
}

function delayAfter(failed: number, error: ThinError): number {
  if (error.code === 'denied') return backoffDelay(deniedBackoff, failed, error);
  if (failed === 0 && askedDelay(error) === 0) return 0;
  return backoffDelay(unavailableBackoff, failed - 1, error);
}
