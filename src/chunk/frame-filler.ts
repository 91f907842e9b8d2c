import { type FrameFill, type GroupedFile, isSmall, joinsFrame } from './frame-grouping.js';
import type { PackFile } from './pack-file.js';

/** Stands for a frame until its pack is whole. */
export interface FrameTicket {
  /** Place among the frames of the pack; set when the frame is closed. */
  number: number | undefined;
}

/** Where a chunk was put. */
export interface Place {
  readonly ticket: FrameTicket;
  readonly offsetInFrame: number;
}

interface OpenFrame {
  readonly ticket: FrameTicket;
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
  #closedCount: number = 0;

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

  /** Closes what is open. */
  async finish(): Promise<void> {
    await this.#close('small');
    await this.#close('large');
  }

  async #placeInNext(kind: 'small' | 'large', file: GroupedFile, bytes: Buffer): Promise<Place> {
    await this.#close(kind);
    const open: OpenFrame = {
      ticket: { number: undefined },
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
    open.ticket.number = this.#closedCount++;
    await this.#pack.add(open.buffer, open.fill.length);
  }
}

function put(open: OpenFrame, file: GroupedFile, bytes: Buffer): Place {
  const offsetInFrame = open.fill.length;
  bytes.copy(open.buffer, offsetInFrame);
  open.fill = { length: offsetInFrame + bytes.length, lastFile: file };
  return { ticket: open.ticket, offsetInFrame };
}
