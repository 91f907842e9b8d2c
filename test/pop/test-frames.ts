import { createHash } from 'node:crypto';
import type { Frame } from '../../src/chunk/frame.js';
import { parseDigest } from '../../src/digest.js';
import { ThinError } from '../../src/errors.js';
import type { CountedFrameSource } from '../../src/store/frame-source.js';

const pack = parseDigest(`sha256:${'ab'.repeat(32)}`);
export const frameBytes = 20_000;

export function frameAt(index: number): Frame {
  const length = frameBytes;
  return { pack, offset: index * length, length, plainLength: length, codec: 'stored' };
}

/** What the frame holds: the same wherever it comes from. */
export function bytesOf({ offset }: Frame): Buffer {
  const seed = createHash('sha256').update(`frame ${offset}`).digest();
  return Buffer.alloc(frameBytes, seed);
}

/** An origin that is some way off, and counts. */
export class TestOrigin implements CountedFrameSource {
  /** Milliseconds of each fetch. */
  delayMs: number;
  readonly fetched: Frame[] = [];
  /** No fetch ends before it does. */
  opened: Promise<void> = Promise.resolve();

  constructor(delayMs: number) {
    this.delayMs = delayMs;
  }

  async fetchFrame(
    frame: Frame,
    signal: AbortSignal,
    options: Parameters<CountedFrameSource['fetchFrame']>[2] = {},
  ): Promise<Buffer> {
    this.fetched.push(frame);
    await new Promise((resolve) => setTimeout(resolve, this.delayMs));
    await this.opened;
    if (signal.aborted) throw new ThinError('canceled', 'the reader gave up');
    const bytes = bytesOf(frame);
    options.onWire?.(bytes);
    return bytes;
  }

  async fetchRun(): Promise<void> {}

  link() {
    return { roundTripMs: this.delayMs, bytesPerSecond: undefined };
  }

  counts() {
    return [];
  }

  trouble() {
    return undefined;
  }
}
