import { decodeFrame } from '../chunk/codec.js';
import type { Frame } from '../chunk/frame.js';
import type { Digest } from '../digest.js';
import { ThinError } from '../errors.js';
import { collect } from './byte-stream.js';
import type { FrameFetchOptions, FrameSource } from './frame-source.js';
import type { SourceHealth } from './source-health.js';
import { type StallEvents, StallWatch } from './stall-watch.js';
import type { Blob, Store } from './store.js';
import { withTimeLimit } from './time-limit.js';

/** Milliseconds for one frame, which has at most half a MiB: a slow server is left after this. */
const frameTimeMaxMs = 60_000;

export interface OriginOptions {
  readonly packSize: (pack: Digest) => number | undefined;
  /** Told how fast answers come. */
  readonly health: SourceHealth;
  /** Whether the store fails at once, because whoever asks will ask again. */
  readonly once: boolean;
}

/** Frames from a store: one range request each, decoded. */
export class OriginFrames implements FrameSource {
  readonly #store: Store;
  readonly #options: OriginOptions;

  constructor(store: Store, options: OriginOptions) {
    this.#store = store;
    this.#options = options;
  }

  async fetchFrame(
    frame: Frame,
    signal: AbortSignal,
    options: FrameFetchOptions = {},
  ): Promise<Buffer> {
    const size = this.#options.packSize(frame.pack);
    if (size === undefined) {
      throw new ThinError('not-found', `Cannot fetch frame: pack ${frame.pack} is not known`);
    }
    const pack = { digest: frame.pack, size };
    const what = `Cannot fetch frame at ${frame.offset} of ${frame.pack} from ${this}`;
    const bytes = await withTimeLimit(frameTimeMaxMs, signal, what, (limited, giveUp) =>
      this.#read(pack, frame, limited, {
        fresh: options.fresh,
        onStall: () => options.onStall?.('asked'),
        onDead: () => giveUp(new ThinError('unavailable', `${what}: next to nothing comes`)),
      }),
    );
    const plain = await decodeFrame(frame, bytes);
    options.onWire?.(bytes);
    return plain;
  }

  async #read(
    pack: Blob,
    { offset, length }: Frame,
    signal: AbortSignal,
    { fresh, ...events }: StallEvents & { readonly fresh: boolean | undefined },
  ): Promise<Buffer> {
    const { health, once } = this.#options;
    const startedAt = performance.now();
    using watch = new StallWatch(health.roundTripMs, events);
    const source = this.#store.openRange(pack, offset, length, signal, { fresh, once });
    const what = `${length} bytes at ${offset} of ${pack.digest} from ${this}`;
    const bytes = await collect(health.metered(watch.of(source)), length, what);
    const { firstByteMs } = watch;
    if (firstByteMs !== undefined) {
      health.measured(firstByteMs, performance.now() - startedAt, length);
    }
    return bytes;
  }

  toString(): string {
    return this.#store.toString();
  }
}
