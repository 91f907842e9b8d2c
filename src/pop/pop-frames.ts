import { mapBounded } from '../cache/bounded.js';
import { decodeFrame } from '../chunk/codec.js';
import type { Frame } from '../chunk/frame.js';
import { isThinError } from '../errors.js';
import type { RunOptions } from '../store/frame-run.js';
import type { CountedFrameSource, FrameFetchOptions } from '../store/frame-source.js';
import { frameName, regionName } from './pop-keys.js';
import type { SiteFetch } from './site-fetch.js';

/** Frames of one run that are fetched at a time. */
const runFramesInFlight = 24;

/** Frames of an image, from the nodes of the site or its origin. What peers give is verified here. */
export class PopFrames implements CountedFrameSource {
  readonly #origin: CountedFrameSource;
  readonly #site: SiteFetch;

  constructor(origin: CountedFrameSource, site: SiteFetch) {
    this.#origin = origin;
    this.#site = site;
  }

  async fetchFrame(frame: Frame, signal: AbortSignal, options: FrameFetchOptions = {}) {
    const { isSound } = options;
    if (options.fresh || !isSound) return await this.#origin.fetchFrame(frame, signal, options);
    const name = frameName(frame);
    const piece = {
      ...{ name, parts: [name], region: regionName(frame), whole: false },
      background: () => options.background ?? false,
      read: ([bytes]: readonly Buffer[]) => decoded(frame, bytes, isSound),
      fetch: async (wish: Pick<FrameFetchOptions, 'background' | 'onStall'>) => {
        let bytes: Buffer | undefined;
        const value = await this.#origin.fetchFrame(frame, signal, {
          onStall: wish.onStall,
          onWire: (wire) => {
            bytes = wire;
          },
          get background() {
            return wish.background;
          },
        });
        return { value, parts: bytes && isSound(value) ? [bytes] : undefined };
      },
      stuck: () => this.#origin.trouble() !== undefined,
    };
    return await this.#site.get(piece, signal);
  }

  /** By one request only where there is nobody to share with: others may be fetching some of them. */
  async fetchRun(frames: readonly Frame[], signal: AbortSignal, options: RunOptions) {
    const { checkOf } = options;
    if (!this.#site.ready || !checkOf) return await this.#origin.fetchRun(frames, signal, options);
    await mapBounded(frames, runFramesInFlight, async (frame) => {
      const plain = this.fetchFrame(frame, signal, {
        isSound: checkOf(frame),
        get background() {
          return options.background;
        },
      });
      options.onFrame(frame, plain);
      await plain.catch(() => undefined); // told to who waits for the frame
    });
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
    return `the site, then ${this.#origin}`;
  }
}

/** Undefined if it is not what the frame should be. */
async function decoded(
  frame: Frame,
  wire: Buffer | undefined,
  isSound: (plain: Buffer) => boolean,
) {
  if (wire?.length !== frame.length) return undefined;
  try {
    const plain = await decodeFrame(frame, wire);
    return isSound(plain) ? plain : undefined;
  } catch (error) {
    if (isThinError(error)) return undefined;
    throw error;
  }
}
