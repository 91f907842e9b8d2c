import type { Frame } from '../src/chunk/frame.js';

/** A frame, and its bytes as they are in the pack. */
export interface CutFrame {
  readonly frame: Frame;
  readonly bytes: Buffer;
}

/** Cuts the frames out of a pack that comes as a stream; what no frame covers is passed over. */
export class FrameCutter {
  readonly #frames: readonly Frame[];
  #next = 0;
  /** Offset in the pack of the first byte of `#kept`. */
  #offset = 0;
  #kept: Buffer = Buffer.alloc(0);

  /** @param frames of one pack, sorted by offset, none of which overlap */
  constructor(frames: readonly Frame[]) {
    this.#frames = frames;
  }

  /** @returns the frames that are whole with these bytes */
  push(bytes: Buffer): CutFrame[] {
    this.#kept = this.#kept.length === 0 ? bytes : Buffer.concat([this.#kept, bytes]);
    const end = this.#offset + this.#kept.length;
    const cut: CutFrame[] = [];
    for (let frame = this.#frames[this.#next]; frame; frame = this.#frames[this.#next]) {
      if (frame.offset + frame.length > end) break;
      const at = frame.offset - this.#offset;
      cut.push({ frame, bytes: this.#kept.subarray(at, at + frame.length) });
      this.#next += 1;
    }
    const keepFrom = Math.min(this.#frames[this.#next]?.offset ?? end, end);
    this.#kept = this.#kept.subarray(keepFrom - this.#offset);
    this.#offset = keepFrom;
    return cut;
  }
}
