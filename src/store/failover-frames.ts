import { LRUCache } from 'lru-cache';
import type { Frame } from '../chunk/frame.js';
import { type ErrorCode, isThinError, ThinError } from '../errors.js';
import type { Clock } from './clock.js';
import { type FrameFetchOptions, type FrameSource, frameKey } from './frame-source.js';

/** Milliseconds for which a source that failed is asked after the others. */
const restMs = 30_000;
/** Frames of which it is remembered who gave them, to be able to ask somebody else. */
const servedMax = 1024;

interface Source {
  readonly frames: FrameSource;
  /** When it failed last, on the clock. */
  failedAt: number;
}

/** Errors that are the fault of the source, and not of what was asked for. */
const faults: readonly ErrorCode[] = ['unavailable', 'denied', 'corrupt'];

/**
 * Several sources in order: one that fails is passed over, and asked last for a while. What is
 * corrupt is asked for once more, past all caches, from another source where there is one.
 */
export class FailoverFrames implements FrameSource {
  readonly #sources: readonly Source[];
  readonly #clock: Clock;
  readonly #servedBy = new LRUCache<string, Source>({ max: servedMax });

  constructor(sources: readonly FrameSource[], clock: Clock) {
    this.#sources = sources.map((frames) => ({ frames, failedAt: Number.NEGATIVE_INFINITY }));
    this.#clock = clock;
  }

  async fetchFrame(frame: Frame, signal: AbortSignal, options: FrameFetchOptions = {}) {
    const key = frameKey(frame);
    const suspect = options.fresh ? this.#servedBy.get(key) : undefined;
    if (suspect) suspect.failedAt = this.#clock.now();
    const queue = this.#inOrder().map((source) => ({ source, fresh: options.fresh ?? false }));
    const errors: ThinError[] = [];
    for (const { source, fresh } of queue) {
      try {
        const anew = fresh || errors.some((error) => error.code === 'corrupt');
        const plain = await source.frames.fetchFrame(frame, signal, withFresh(options, anew));
        source.failedAt = Number.NEGATIVE_INFINITY;
        this.#servedBy.set(key, source);
        return plain;
      } catch (error) {
        if (!isThinError(error) || signal.aborted) throw error;
        errors.push(error);
        if (faults.includes(error.code)) source.failedAt = this.#clock.now();
        if (error.code === 'corrupt' && !fresh) queue.push({ source, fresh: true });
      }
    }
    throw worthiest(errors, frame);
  }

  /** Those that work first, then those that failed longest ago; otherwise as given. */
  #inOrder(): Source[] {
    const now = this.#clock.now();
    const rest = (source: Source) =>
      now - source.failedAt < restMs ? source.failedAt : Number.NEGATIVE_INFINITY;
    return [...this.#sources].sort((a, b) => (rest(a) === rest(b) ? 0 : rest(a) - rest(b)));
  }

  toString(): string {
    return this.#sources.map(({ frames }) => frames.toString()).join(', then ');
  }
}

/** Keeps the other options live: `background` may change while the fetch waits. */
function withFresh(options: FrameFetchOptions, fresh: boolean): FrameFetchOptions {
  return {
    fresh,
    get background() {
      return options.background;
    },
  };
}

/** Of the errors of all sources, the one that says best what to do: most of all, to wait. */
const worth: readonly ErrorCode[] = ['unavailable', 'corrupt', 'denied', 'not-found'];

function worthiest(errors: readonly ThinError[], frame: Frame): ThinError {
  for (const code of worth) {
    const found = errors.find((error) => error.code === code);
    if (found) return found;
  }
  const what = `Cannot fetch frame at ${frame.offset} of ${frame.pack}: there is no source for it`;
  return errors[0] ?? new ThinError('not-found', what);
}
