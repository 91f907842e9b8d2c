import type { Digest } from '../digest.js';
import { ThinError } from '../errors.js';
import { NumberColumn } from '../number-column.js';
import { DigestTable } from './digest-table.js';
import type { Chunk, FileChunks, Frame } from './frame.js';

/**
 * Contents of files and the chunks that they are made of, each once, in columns: about 70 bytes a
 * chunk and 60 a file, a fifth of what objects take. Iterating makes the objects, one file at a time,
 * in the order in which the files were added.
 */
export class ContentTable implements Iterable<FileChunks> {
  readonly #chunks = new DigestTable();
  readonly #lengths = new NumberColumn();
  readonly #offsets = new NumberColumn();
  readonly #frameOfChunk = new NumberColumn();
  readonly #frames: (Frame | undefined)[] = [];
  /** By pack, then by offset: rows of `#frames`. */
  readonly #frameRows = new Map<Digest, Map<number, number>>();
  readonly #files = new DigestTable();
  /** Of each file, where its chunks begin in `#references`. */
  readonly #firstReferences = new NumberColumn();
  readonly #references = new NumberColumn();

  get chunkCount(): number {
    return this.#chunks.size;
  }

  get frameCount(): number {
    return this.#frames.length;
  }

  get fileCount(): number {
    return this.#files.size;
  }

  /** Raw digests of all chunks, row by row. Valid until the next one is added. */
  get chunkDigests(): Buffer {
    return this.#chunks.bytes;
  }

  /** @returns the row of a chunk, or -1 */
  findChunk(digest: Digest): number {
    return this.#chunks.find(digest);
  }

  /** A chunk that is not there yet, in the frame of row `frame`. @returns its row */
  addChunk(digest: Digest, length: number, frame: number, offsetInFrame: number): number {
    this.#lengths.push(length);
    this.#offsets.push(offsetInFrame);
    this.#frameOfChunk.push(frame);
    return this.#chunks.add(digest);
  }

  lengthOf(chunk: number): number {
    return this.#lengths.at(chunk);
  }

  offsetOf(chunk: number): number {
    return this.#offsets.at(chunk);
  }

  /** The row of the frame that a chunk is in. */
  frameOf(chunk: number): number {
    return this.#frameOfChunk.at(chunk);
  }

  chunkAt(row: number): Chunk {
    return {
      digest: this.#chunks.at(row),
      length: this.lengthOf(row),
      frame: this.frameAt(this.frameOf(row)),
      offsetInFrame: this.offsetOf(row),
    };
  }

  /** @throws ThinError `invalid` if its place is not known yet */
  frameAt(row: number): Frame {
    const frame = this.#frames[row];
    if (frame) return frame;
    throw new ThinError('invalid', `Cannot place frame ${row}: it was not written`);
  }

  /** A frame whose place will be told by {@link placeFrame}. @returns its row */
  reserveFrame(): number {
    return this.#frames.push(undefined) - 1;
  }

  placeFrame(row: number, frame: Frame): void {
    this.#frames[row] = frame;
  }

  /**
   * The row of a frame, a new one if it was not there.
   * @throws ThinError `invalid` if another frame is at its place
   */
  addFrame(frame: Frame): number {
    const rows = this.#frameRows.get(frame.pack) ?? new Map<number, number>();
    this.#frameRows.set(frame.pack, rows);
    const row = rows.get(frame.offset);
    if (row === undefined) {
      rows.set(frame.offset, this.#frames.length);
      return this.#frames.push(frame) - 1;
    }
    if (isSame(this.frameAt(row), frame)) return row;
    throw new ThinError(
      'invalid',
      `Cannot place chunks: two different frames at ${frame.offset} of pack ${frame.pack}`,
    );
  }

  /**
   * The row of a chunk, a new one if it was not there; where it was known before wins.
   * @throws ThinError `invalid` if it was known to have another length
   */
  takeChunk({ digest, length, frame, offsetInFrame }: Chunk): number {
    const row = this.findChunk(digest);
    if (row >= 0 && this.lengthOf(row) !== length) {
      throw new ThinError('invalid', `Cannot place chunks: chunk ${digest} has two lengths`);
    }
    if (row >= 0) return row;
    return this.addChunk(digest, length, this.addFrame(frame), offsetInFrame);
  }

  /** @returns the row of a content, or -1 */
  findFile(content: Digest): number {
    return this.#files.find(content);
  }

  /** A content of these chunks; one that is there already is passed over. */
  addFile(content: Digest, chunks: Iterable<number>): void {
    const before = this.#files.size;
    if (this.#files.add(content) < before) return;
    this.#firstReferences.push(this.#references.length);
    for (const chunk of chunks) this.#references.push(chunk);
  }

  /** The same with the chunks themselves. */
  takeFile({ content, chunks }: FileChunks): void {
    if (this.findFile(content) >= 0) return;
    const rows = chunks.map((chunk) => this.takeChunk(chunk));
    this.addFile(content, rows);
  }

  contentOf(file: number): Digest {
    return this.#files.at(file);
  }

  /** As `sort` wants it: by digest. */
  compareContents(a: number, b: number): number {
    return this.#files.compare(a, b);
  }

  chunkCountOf(file: number): number {
    return this.#endOf(file) - this.#firstReferences.at(file);
  }

  /** Rows of the chunks of a file. */
  *chunksOf(file: number): Generator<number, void> {
    const end = this.#endOf(file);
    for (let at = this.#firstReferences.at(file); at < end; at++) yield this.#references.at(at);
  }

  #endOf(file: number): number {
    const isLast = file + 1 === this.#files.size;
    return isLast ? this.#references.length : this.#firstReferences.at(file + 1);
  }

  fileAt(row: number): FileChunks {
    const chunks = Array.from(this.chunksOf(row), (chunk) => this.chunkAt(chunk));
    const size = chunks.reduce((sum, { length }) => sum + length, 0);
    return { content: this.contentOf(row), size, chunks };
  }

  *[Symbol.iterator](): Generator<FileChunks, void> {
    for (let row = 0; row < this.#files.size; row++) yield this.fileAt(row);
  }
}

function isSame(a: Frame, b: Frame): boolean {
  return a.length === b.length && a.plainLength === b.plainLength && a.codec === b.codec;
}
