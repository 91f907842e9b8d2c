import type { FileOrigin, FileRef, Placement } from '../../src/cache/file-origin.js';
import type { Chunk, Frame } from '../../src/chunk/frame.js';
import { type Digest, digestOf } from '../../src/digest.js';
import { ThinError } from '../../src/errors.js';

/** An image in memory: files cut into chunks of fixed size, grouped into stored frames. */
export class MemoryOrigin implements FileOrigin {
  readonly id: string;
  readonly files = new Map<Digest, Buffer>();
  readonly chunks = new Map<Digest, Chunk[]>();
  readonly #frames = new Map<number, Buffer>();
  readonly #placements = new Map<number, Placement[]>();
  /** Frames asked for, by offset. */
  readonly fetched: number[] = [];
  /** Called for every fetch; what it returns arrives. */
  tamper: (bytes: Buffer, frame: Frame, signal: AbortSignal) => Buffer | Promise<Buffer> = (
    bytes,
  ) => bytes;

  constructor(id: string, files: readonly Buffer[], chunkBytes: number, frameBytes: number) {
    this.id = id;
    const pack = digestOf(Buffer.from(id));
    let open: { bytes: Buffer; content: Digest; size: number; offsetInFile: number }[] = [];
    let offset = 0;
    const flush = () => {
      const plain = Buffer.concat(open.map(({ bytes }) => bytes));
      if (plain.length === 0) return;
      const frame: Frame = {
        pack,
        offset,
        length: plain.length,
        plainLength: plain.length,
        codec: 'stored',
      };
      let offsetInFrame = 0;
      const placements = open.map(({ bytes, content, size, offsetInFile }) => {
        const chunk = { digest: digestOf(bytes), length: bytes.length, frame, offsetInFrame };
        offsetInFrame += bytes.length;
        this.chunks.get(content)?.push(chunk);
        return { content, size, offsetInFile, chunk };
      });
      this.#frames.set(offset, plain);
      this.#placements.set(offset, placements);
      offset += plain.length;
      open = [];
    };
    for (const bytes of files) {
      const content = digestOf(bytes);
      if (this.files.has(content)) continue;
      this.files.set(content, bytes);
      this.chunks.set(content, []);
      for (let at = 0; at < bytes.length; at += chunkBytes) {
        const piece = bytes.subarray(at, at + chunkBytes);
        const held = open.reduce((sum, one) => sum + one.bytes.length, 0);
        if (held > 0 && held + piece.length > frameBytes) flush();
        open.push({ bytes: piece, content, size: bytes.length, offsetInFile: at });
      }
    }
    flush();
  }

  refs(): FileRef[] {
    return [...this.files].map(([content, bytes]) => ({ content, size: bytes.length }));
  }

  bytesOf({ content }: { content: Digest }): Buffer {
    const bytes = this.files.get(content);
    if (bytes === undefined) throw new ThinError('not-found', `Cannot find ${content}`);
    return bytes;
  }

  chunksOf(content: Digest): readonly Chunk[] | undefined {
    return this.chunks.get(content);
  }

  /** A near one: 256 KiB are asked for together. */
  link() {
    return { roundTripMs: 1, bytesPerSecond: 12_500_000 };
  }

  placementsIn(frame: Frame): readonly Placement[] {
    return this.#placements.get(frame.offset) ?? [];
  }

  async fetchFrame(frame: Frame, signal: AbortSignal): Promise<Buffer> {
    this.fetched.push(frame.offset);
    const bytes = this.#frames.get(frame.offset);
    if (bytes === undefined) throw new ThinError('not-found', `Cannot find frame ${frame.offset}`);
    return this.tamper(Buffer.from(bytes), frame, signal);
  }
}
