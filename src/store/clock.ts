import { setTimeout as wait } from 'node:timers/promises';

/** Time, as a parameter: tests have one that they move themselves. */
export interface Clock {
  /** Milliseconds that only grow. */
  now(): number;
  /** Rejects with the signal's reason if it is aborted before the time has passed. */
  sleep(milliseconds: number, signal: AbortSignal): Promise<void>;
}

export const systemClock: Clock = {
  now: () => performance.now(),
  async sleep(milliseconds, signal) {
    try {
      await wait(milliseconds, undefined, { signal });
    } catch (error) {
      throw signal.aborted ? signal.reason : error;
    }
  },
};
