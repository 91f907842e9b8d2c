import { zstdDecompressDelta } from '../../native-bindings/zstd.js';
import type { Frame } from '../chunk/frame.js';
import { digestOf } from '../digest.js';
import { isThinError, ThinError } from '../errors.js';
import { Gate } from '../pull/gate.js';
import type { RunOptions } from '../store/frame-run.js';
import type { CountedFrameSource, FrameFetchOptions } from '../store/frame-source.js';
import type { HotChunk } from '../thin/hot-index.js';
import type { PlacedDelta } from '../thin/hot-overlay.js';

/** Frames of an image that are decoded at a time, with up to 512 KiB of bases each. */
const decodesMax = 4;

/** What delta frames are told from. */
export interface DeltaBases {
  /** Undefined for a frame that is not one of a delta pack. */
  deltaOf(frame: Frame): PlacedDelta | undefined;
  /** The bytes of a chunk that is here, not verified; undefined if it is gone. Never fails. */
  readBase(chunk: HotChunk): Promise<Buffer | undefined>;
}

interface Delta {
  readonly frame: Frame;
  readonly placed: PlacedDelta;
}

/**
 * Makes plain bytes of frames of delta packs. To all behind it they are stored frames, whose digests are
 * known. What cannot be made is fetched from the hot pack, which has the same plain bytes; whoever asks
 * verifies them.
 */
export class DeltaFrames implements CountedFrameSource {
  readonly #origin: CountedFrameSource;
  readonly #bases: DeltaBases;
  readonly #decodes = new Gate(() => decodesMax);

  constructor(origin: CountedFrameSource, bases: DeltaBases) {
    this.#origin = origin;
    this.#bases = bases;
  }

  async fetchFrame(frame: Frame, signal: AbortSignal, options: FrameFetchOptions = {}) {
    const placed = this.#bases.deltaOf(frame);
    if (!placed) return this.#origin.fetchFrame(frame, signal, options);
    // What was made before was wrong.
    if (options.fresh) return this.#origin.fetchFrame(placed.instead, signal, options);
    const bytes = this.#origin.fetchFrame(asStored(frame), signal, {
      isSound: isOf(placed),
      get background() {
        return options.background;
      },
    });
    return await this.#plain(frame, placed, bytes, signal, options);
  }

  async fetchRun(frames: readonly Frame[], signal: AbortSignal, options: RunOptions) {
    const deltas = new Map<number, Delta>();
    for (const frame of frames) {
      const placed = this.#bases.deltaOf(frame);
      if (placed) deltas.set(frame.offset, { frame, placed });
    }
    if (deltas.size < frames.length) return this.#origin.fetchRun(frames, signal, options);
    const tell = ({ frame, placed }: Delta, bytes: Promise<Buffer>) => {
      const isSound = options.checkOf?.(frame);
      const plain = this.#plain(frame, placed, bytes, signal, {
        isSound,
        get background() {
          return options.background;
        },
      });
      options.onFrame(frame, plain);
    };
    await this.#fetchDeltas(deltas, signal, options, tell);
  }

  /** A pack that is gone is told of each frame, for the hot pack to have it. */
  async #fetchDeltas(
    deltas: ReadonlyMap<number, Delta>,
    signal: AbortSignal,
    options: RunOptions,
    tell: (delta: Delta, bytes: Promise<Buffer>) => void,
  ): Promise<void> {
    const waiting = new Map(deltas);
    const stored = [...deltas.values()].map(({ frame }) => asStored(frame));
    try {
      await this.#origin.fetchRun(stored, signal, {
        get background() {
          return options.background;
        },
        onFrame: ({ offset }, bytes) => {
          const delta = waiting.get(offset);
          waiting.delete(offset);
          if (delta) tell(delta, bytes);
        },
        checkOf: ({ offset }) => {
          const delta = deltas.get(offset);
          return delta && isOf(delta.placed);
        },
      });
    } catch (error) {
      if (!isThinError(error, 'corrupt', 'not-found')) throw error;
      for (const delta of waiting.values()) tell(delta, Promise.reject(error));
    }
  }

  async #plain(
    { plainLength }: Frame,
    placed: PlacedDelta,
    bytes: Promise<Buffer>,
    signal: AbortSignal,
    options: FrameFetchOptions,
  ): Promise<Buffer> {
    try {
      return await this.#decode(placed, await bytes, plainLength, signal);
    } catch (error) {
      if (!isThinError(error, 'corrupt', 'not-found', 'invalid')) throw error;
      return await this.#origin.fetchFrame(placed.instead, signal, options);
    }
  }

  async #decode(
    placed: PlacedDelta,
    bytes: Buffer,
    plainLength: number,
    signal: AbortSignal,
  ): Promise<Buffer> {
    const { delta } = placed;
    if (!isOf(placed)(bytes)) {
      throw new ThinError('corrupt', `Cannot use frame of a delta pack: it is not ${delta.digest}`);
    }
    using _turn = await this.#decodes.enter(signal);
    const bases: Buffer[] = [];
    for (const chunk of delta.bases) {
      const base = await this.#bases.readBase(chunk);
      if (base?.length === chunk.length) bases.push(base);
      else throw new ThinError('not-found', `Cannot use frame: chunk ${chunk.digest} is gone`);
    }
    return await zstdDecompressDelta(bytes, Buffer.concat(bases), plainLength);
  }

  link() {
    return this.#origin.link();
  }

  counts() {
    return this.#origin.counts();
  }

  trouble() {
    return this.#origin.trouble();
  }

  toString(): string {
    return this.#origin.toString();
  }
}

function isOf({ delta }: PlacedDelta): (bytes: Buffer) => boolean {
  return (bytes) => digestOf(bytes) === delta.digest;
}

function asStored(frame: Frame): Frame {
  return { ...frame, plainLength: frame.length, codec: 'stored' };
}
