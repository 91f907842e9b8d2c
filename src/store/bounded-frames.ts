import type { Frame } from '../chunk/frame.js';
import type { FetchSlots } from './fetch-slots.js';
import type { FrameFetchOptions, FrameSource } from './frame-source.js';
import { storeError } from './store-error.js';

/** Milliseconds in the queue after which another source may be asked besides. */
const queuedLongMs = 2000;

/** Waits for one of the places that all images share for one host. */
export class BoundedFrames implements FrameSource {
  readonly #inner: FrameSource;
  readonly #slots: FetchSlots;

  constructor(inner: FrameSource, slots: FetchSlots) {
    this.#inner = inner;
    this.#slots = slots;
  }

  async fetchFrame(frame: Frame, signal: AbortSignal, options: FrameFetchOptions = {}) {
    const turn = this.#slots.take(() => options.background ?? false, signal);
    if (turn) await this.#wait(turn, signal, options);
    try {
      return await this.#inner.fetchFrame(frame, signal, options);
    } finally {
      this.#slots.release();
    }
  }

  async #wait(turn: Promise<void>, signal: AbortSignal, options: FrameFetchOptions) {
    const timer = setTimeout(() => options.onStall?.('queued'), queuedLongMs);
    try {
      await turn;
    } catch (error) {
      throw storeError(`Cannot fetch frame from ${this}`, error, signal);
    } finally {
      clearTimeout(timer);
    }
  }

  toString(): string {
    return this.#inner.toString();
  }
}
