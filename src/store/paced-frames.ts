import type { Frame } from '../chunk/frame.js';
import type { Clock } from './clock.js';
import type { FrameFetchOptions, FrameSource } from './frame-source.js';
import { storeError } from './store-error.js';

/** Milliseconds of the bandwidth that may come at once after a time of rest. */
const burstMs = 250;
/** Milliseconds between looks whether somebody has begun to wait for a frame. */
const lookMs = 50;

/**
 * How many bytes a second background work may fetch, all of it together. What somebody waits for is
 * never held up; it is counted, and background work yields the time to it.
 */
export class Bandwidth {
  readonly #bytesPerSecond: number;
  readonly #clock: Clock;
  /** Bytes that may come now; negative while earlier ones are still being paid for. */
  #credit: number;
  #countedAt: number;

  constructor(bytesPerSecond: number, clock: Clock) {
    this.#bytesPerSecond = bytesPerSecond;
    this.#clock = clock;
    this.#credit = this.#burst;
    this.#countedAt = clock.now();
  }

  get #burst(): number {
    return (this.#bytesPerSecond * burstMs) / 1000;
  }

  /** Milliseconds until the credit is no longer negative. */
  get delayMs(): number {
    const now = this.#clock.now();
    const earned = ((now - this.#countedAt) * this.#bytesPerSecond) / 1000;
    this.#credit = Math.min(this.#burst, this.#credit + earned);
    this.#countedAt = now;
    return this.#credit >= 0 ? 0 : (-this.#credit * 1000) / this.#bytesPerSecond;
  }

  spend(bytes: number): void {
    this.#credit -= bytes;
  }
}

/** Background fetches wait for their share of the {@link Bandwidth}; others only count. */
export class PacedFrames implements FrameSource {
  readonly #inner: FrameSource;
  readonly #bandwidth: Bandwidth;
  readonly #clock: Clock;

  constructor(inner: FrameSource, bandwidth: Bandwidth, clock: Clock) {
    this.#inner = inner;
    this.#bandwidth = bandwidth;
    this.#clock = clock;
  }

  async fetchFrame(frame: Frame, signal: AbortSignal, options: FrameFetchOptions = {}) {
    // `background` is looked at again and again: somebody may begin to wait.
    while (options.background === true && this.#bandwidth.delayMs > 0) {
      await this.#sleep(Math.min(lookMs, this.#bandwidth.delayMs), signal);
    }
    this.#bandwidth.spend(frame.length);
    return await this.#inner.fetchFrame(frame, signal, options);
  }

  async #sleep(milliseconds: number, signal: AbortSignal): Promise<void> {
    try {
      await this.#clock.sleep(milliseconds, signal);
    } catch (error) {
      throw storeError(`Cannot fetch from ${this}`, error, signal);
    }
  }

  toString(): string {
    return this.#inner.toString();
  }
}
