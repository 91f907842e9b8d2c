import type { Frame } from '../chunk/frame.js';
import type { FrameFetchOptions, FrameSource } from './frame-source.js';

/** What one store was asked for since the start, and gave. */
export interface FetchCounts {
  /** The store, for people. */
  readonly store: string;
  requests: number;
  /** Without what was given up, as another attempt was faster or nobody wanted it any more. */
  failures: number;
  /** Compressed bytes of the frames that came. */
  bytes: number;
  /** Plain bytes of them. */
  plainBytes: number;
}

export function fetchCounts(store: string): FetchCounts {
  return { store, requests: 0, failures: 0, bytes: 0, plainBytes: 0 };
}

/** Counts what passes. */
export class CountedFrames implements FrameSource {
  readonly #inner: FrameSource;
  readonly #counts: FetchCounts;

  constructor(inner: FrameSource, counts: FetchCounts) {
    this.#inner = inner;
    this.#counts = counts;
  }

  async fetchFrame(frame: Frame, signal: AbortSignal, options?: FrameFetchOptions) {
    this.#counts.requests += 1;
    try {
      const plain = await this.#inner.fetchFrame(frame, signal, options);
      this.#counts.bytes += frame.length;
      this.#counts.plainBytes += plain.length;
      return plain;
    } catch (error) {
      if (!signal.aborted) this.#counts.failures += 1;
      throw error;
    }
  }

  toString(): string {
    return this.#inner.toString();
  }
}
