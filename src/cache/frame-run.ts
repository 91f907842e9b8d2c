import type { Frame } from '../chunk/frame.js';
import { ThinError } from '../errors.js';
import { type OnItsWay, onItsWay } from '../on-its-way.js';
import type { FileOrigin } from './file-origin.js';

/** Frames that come by one request: a promise for each, and the request that keeps or breaks them. */
export class FrameRun {
  readonly #origin: FileOrigin;
  readonly #frames: readonly Frame[];
  readonly #signal: AbortSignal;
  /** By offset: they are of one pack. */
  readonly #coming = new Map<number, OnItsWay<Buffer>>();

  constructor(origin: FileOrigin, frames: readonly Frame[], signal: AbortSignal) {
    this.#origin = origin;
    this.#frames = frames;
    this.#signal = signal;
    for (const { offset } of frames) this.#coming.set(offset, onItsWay());
  }

  /** Undefined for a frame that is not of this run. */
  frame({ offset }: Frame): Promise<Buffer> | undefined {
    return this.#coming.get(offset)?.promise;
  }

  /**
   * Ends, and never fails, when the request is over.
   * @param isUrgent whether somebody waits
   * @param onBytes told of each frame when its bytes are here, before they are decoded
   */
  async fetch(isUrgent: () => boolean, onBytes: (frame: Frame) => void): Promise<void> {
    try {
      await this.#origin.fetchRun?.(this.#frames, this.#signal, {
        get background() {
          return !isUrgent();
        },
        onFrame: (frame, plain) => {
          this.#coming.get(frame.offset)?.resolve(plain);
          onBytes(frame);
        },
      });
      this.#rejectAll(new ThinError('unavailable', 'Cannot fetch frame: it was not in the answer'));
    } catch (error) {
      this.#rejectAll(error);
    }
  }

  /** Those that have come are past this. */
  #rejectAll(error: unknown): void {
    for (const { reject } of this.#coming.values()) reject(error);
  }
}
