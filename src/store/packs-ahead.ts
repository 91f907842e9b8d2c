import { setMaxListeners } from 'node:events';
import { setImmediate as nextTurn } from 'node:timers/promises';
import { decodeFrame } from '../chunk/codec.js';
import type { Frame } from '../chunk/frame.js';
import type { Digest } from '../digest.js';
import { isThinError } from '../errors.js';
import type { RunOptions } from './frame-run.js';
import type { CountedFrameSource, FrameFetchOptions } from './frame-source.js';
import type { Bandwidth } from './paced-frames.js';
import { PackAhead } from './pack-ahead.js';
import type { Blob, Store } from './store.js';

/** Bytes of a pack that are asked for before it is known what of it is wanted, where background work is limited. */
const pacedBytesMax = 4 * 1024 * 1024;
/** Milliseconds for which they are kept while nobody reads: by then the image is open, or will not be. */
const keptMs = 30_000;
/** Images whose packs are asked for at a time: each takes 4 MiB of memory. */
const imagesMax = 4;

/**
 * Packs that are asked for while their image is still being opened, from their beginning. What of them
 * is not wanted, or does not come, costs nothing but the line.
 */
export class PacksAhead implements AsyncDisposable {
  readonly #bandwidth: Bandwidth | undefined;
  /** By manifest of the image. */
  readonly #packs = new Map<Digest, PackAhead>();

  /** @param bandwidth of background work; unlimited if not given */
  constructor(bandwidth: Bandwidth | undefined) {
    this.#bandwidth = bandwidth;
  }

  /** Returns at once. One pack of an image at a time: the first one stays. */
  begin(manifest: Digest, store: Store, pack: Blob): void {
    const isLate = (this.#bandwidth?.delayMs ?? 0) > 0;
    if (isLate || this.#packs.has(manifest) || this.#packs.size >= imagesMax) return;
    const bytes = this.#bandwidth ? Math.min(pack.size, pacedBytesMax) : pack.size;
    this.#bandwidth?.spend(bytes);
    const ahead = new PackAhead(store, pack, bytes, () => kept.refresh());
    const kept = setTimeout(() => void this.#forget(manifest, ahead), keptMs).unref();
    this.#packs.set(manifest, ahead);
  }

  /** Frames of an image that has been opened: those that were asked for ahead are taken from there. */
  frames(manifest: Digest, origin: CountedFrameSource): CountedFrameSource {
    const ahead = this.#packs.get(manifest);
    return ahead ? new AheadFrames(origin, ahead) : origin;
  }

  async #forget(manifest: Digest, ahead: PackAhead): Promise<void> {
    if (this.#packs.get(manifest) === ahead) this.#packs.delete(manifest);
    await ahead[Symbol.asyncDispose]();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const [manifest, ahead] of this.#packs) await this.#forget(manifest, ahead);
  }
}

/** What has not come ahead is asked for by itself. */
class AheadFrames implements CountedFrameSource {
  readonly #origin: CountedFrameSource;
  readonly #ahead: PackAhead;

  constructor(origin: CountedFrameSource, ahead: PackAhead) {
    this.#origin = origin;
    this.#ahead = ahead;
  }

  async fetchFrame(frame: Frame, signal: AbortSignal, options: FrameFetchOptions = {}) {
    if (!options.fresh && this.#ahead.has(frame)) {
      try {
        return await decodeFrame(frame, await this.#ahead.read(frame, signal));
      } catch (error) {
        if (!isThinError(error) || signal.aborted) throw error;
      }
    }
    return await this.#origin.fetchFrame(frame, signal, options);
  }

  async fetchRun(frames: readonly Frame[], signal: AbortSignal, options: RunOptions) {
    const here = frames.filter((frame) => this.#ahead.has(frame));
    const rest = frames.filter((frame) => !here.includes(frame));
    this.#ahead.passBy(rest);
    const runs = [this.#take(here, signal, options), this.#origin.fetchRun(rest, signal, options)];
    for (const run of await Promise.allSettled(runs)) {
      if (run.status === 'rejected') throw run.reason;
    }
  }

  /** What fails although it was to come is asked for at once, all that fails together by one request. */
  async #take(frames: readonly Frame[], signal: AbortSignal, options: RunOptions) {
    let failed: Frame[] = [];
    const takeOne = async (frame: Frame) => {
      try {
        const bytes = await this.#ahead.read(frame, signal);
        options.onFrame(frame, decodeFrame(frame, bytes));
      } catch (error) {
        if (!isThinError(error) || signal.aborted) throw error;
        failed.push(frame);
        if (failed.length > 1) return; // it goes with the first
        await nextTurn();
        const together = failed.sort((a, b) => a.offset - b.offset); // they fail in any order
        failed = [];
        await this.#origin.fetchRun(together, signal, options);
      }
    };
    setMaxListeners(0, signal); // that of a mount
    for (const one of await Promise.allSettled(frames.map(takeOne))) {
      if (one.status === 'rejected') throw one.reason;
    }
  }

  link() {
    return this.#origin.link();
  }

  counts() {
    return [...this.#origin.counts(), this.#ahead.counts];
  }

  trouble() {
    return this.#origin.trouble();
  }

  toString(): string {
    return this.#origin.toString();
  }
}
