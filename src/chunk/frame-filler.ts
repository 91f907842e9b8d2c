import { type FrameFill, type GroupedFile, isSmall, joinsFrame } from './frame-grouping.js';
import type { PackFile } from './pack-file.js';

/** Where a chunk was put. */
export interface Place {
  /** Stands for a frame until its pack is whole: its number in the order in which frames began. */
  readonly ticket: number;
  readonly offsetInFrame: number;
}

interface OpenFrame {
  readonly ticket: number;
  readonly buffer: Buffer;
  fill: FrameFill;
}

/**
 * Puts chunks into frames. Two are open at a time, one for small files and one for a large file, so
 * that a large file in the middle of a directory does not part its small files.
 */
export class FrameFiller {
  readonly #pack: PackFile;
  readonly #open: { small?: OpenFrame; large?: OpenFrame } = {};
  #opened: number = 0;
  readonly #closed: number[] = [];

  constructor(pack: PackFile) {
    this.#pack = pack;
  }

  /** The place of the next chunk of `file`, or a promise of it while too much is in flight. */
  place(file: GroupedFile, bytes: Buffer): Place | Promise<Place> {
    const kind = isSmall(file) ? 'small' : 'large';
    const open = this.#open[kind];
    if (open && joinsFrame(open.fill, file, bytes.length)) return put(open, file, bytes);
    return this.#placeInNext(kind, file, bytes);
  }

  /** Closes what is open. @returns the tickets of all frames, in the order of the pack */
  async finish(): Promise<readonly number[]> {
    await this.#close('small');
    await this.#close('large');
    return this.#closed;
  }

  async #placeInNext(kind: 'small' | 'large', file: GroupedFile, bytes: Buffer): Promise<Place> {
    await this.#close(kind);
    const open: OpenFrame = {
      ticket: this.#opened++,
      buffer: this.#pack.takeBuffer(),
      fill: { length: 0, lastFile: file },
    };
    this.#open[kind] = open;
    return put(open, file, bytes);
  }

  async #close(kind: 'small' | 'large'): Promise<void> {
    const open = this.#open[kind];
    if (!open) return;
    delete this.#open[kind];
    this.#closed.push(open.ticket);
    await this.#pack.add(open.buffer, open.fill.length);
  }
}

function put(open: OpenFrame, file: GroupedFile, bytes: Buffer): Place {
  const offsetInFrame = open.fill.length;
  bytes.copy(open.buffer, offsetInFrame);
  open.fill = { length: offsetInFrame + bytes.length, lastFile: file };
  return { ticket: open.ticket, offsetInFrame };
}
