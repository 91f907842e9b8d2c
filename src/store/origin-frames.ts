import { decodeFrame } from '../chunk/codec.js';
import type { Frame } from '../chunk/frame.js';
import type { Digest } from '../digest.js';
import { ThinError } from '../errors.js';
import { readRange } from './byte-stream.js';
import type { FrameFetchOptions, FrameSource } from './frame-source.js';
import type { Store } from './store.js';
import { withTimeLimit } from './time-limit.js';

/** Milliseconds for one frame, which has at most half a MiB: a slow server is left after this. */
const frameTimeMaxMs = 60_000;

/** Frames from a store: one range request each, decoded. */
export class OriginFrames implements FrameSource {
  readonly #store: Store;
  readonly #packSize: (pack: Digest) => number | undefined;

  constructor(store: Store, packSize: (pack: Digest) => number | undefined) {
    this.#store = store;
    this.#packSize = packSize;
  }

  async fetchFrame(
    frame: Frame,
    signal: AbortSignal,
    { fresh }: FrameFetchOptions = {},
  ): Promise<Buffer> {
    const size = this.#packSize(frame.pack);
    if (size === undefined) {
      throw new ThinError('not-found', `Cannot fetch frame: pack ${frame.pack} is not known`);
    }
    const pack = { digest: frame.pack, size };
    const what = `Cannot fetch frame at ${frame.offset} of ${frame.pack} from ${this}`;
    const bytes = await withTimeLimit(frameTimeMaxMs, signal, what, (limited) =>
      readRange(this.#store, pack, frame.offset, frame.length, limited, { fresh }),
    );
    return await decodeFrame(frame, bytes);
  }

  toString(): string {
    return this.#store.toString();
  }
}
