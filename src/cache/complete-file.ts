import type { Chunk } from '../chunk/frame.js';
import { Bitmap } from './bitmap.js';
import { ChunkTable } from './chunk-table.js';
import { Descriptor } from './descriptor.js';
import { type Disk, openToRead } from './disk.js';
import type { FileRef } from './file-origin.js';
import { hashFile, readVerified } from './verified-read.js';

/**
 * Up to here a file is verified as a whole at its first use: 0.5 ms. A larger one is verified chunk
 * by chunk as it is read, where the image tells its chunks.
 */
const wholeBytesMax = 1024 * 1024;

/** A chunk list, and which of its chunks were verified. */
interface Chunked {
  readonly table: ChunkTable;
  readonly verified: Bitmap;
}

/** What a complete file turned out to be when it was read. */
export type CompleteRead = Buffer | 'wrong';

/**
 * A complete file of a tier, open. Disks lose and change bytes, so nothing is served before it was
 * verified once since the cache was opened; after that the page cache is trusted.
 */
export class CompleteFile {
  readonly file: FileRef;
  readonly #descriptor: Descriptor;
  #wholeVerified: boolean;
  #verifying: Promise<boolean> | undefined;
  #chunked: Chunked | undefined;

  /** The file at `path`, whose size is what the disk says. */
  static async open(
    disk: Disk,
    path: string,
    content: FileRef['content'],
    verified: boolean,
  ): Promise<CompleteFile> {
    const fd = await disk.open(path, openToRead);
    const descriptor = new Descriptor(disk, fd);
    try {
      const { size } = await disk.stat(fd);
      return new CompleteFile(descriptor, { content, size }, verified);
    } catch (error) {
      await descriptor.retire();
      throw error;
    }
  }

  private constructor(descriptor: Descriptor, file: FileRef, verified: boolean) {
    this.#descriptor = descriptor;
    this.file = file;
    this.#wholeVerified = verified;
  }

  get busy(): boolean {
    return this.#descriptor.busy;
  }

  /** True where verifying the whole costs no more than a read. */
  get small(): boolean {
    return this.file.size <= wholeBytesMax;
  }

  get verified(): boolean {
    return this.#wholeVerified;
  }

  /**
   * Bytes `offset` to `end`, or `wrong` if the file is not what its name says.
   * @param chunksOf asked only if the file is large and not verified yet
   */
  async read(
    offset: number,
    end: number,
    chunksOf: () => readonly Chunk[] | undefined,
  ): Promise<CompleteRead> {
    if (!this.#wholeVerified) {
      const checked = await this.#readChunks(offset, end, chunksOf);
      if (checked !== undefined) return checked;
      if (!(await this.verify())) return 'wrong';
    }
    const bytes = Buffer.allocUnsafe(end - offset);
    return (await this.#descriptor.read(bytes, offset)) === bytes.length ? bytes : 'wrong';
  }

  /** Bytes that the caller verifies; fewer where the file ends before. */
  async readUnverified(offset: number, length: number): Promise<Buffer> {
    const bytes = Buffer.allocUnsafe(length);
    return bytes.subarray(0, await this.#descriptor.read(bytes, offset));
  }

  /** Undefined where chunks do not tell: no chunk list, a small file, or a list that it is not. */
  async #readChunks(
    offset: number,
    end: number,
    chunksOf: () => readonly Chunk[] | undefined,
  ): Promise<Buffer | undefined> {
    if (this.small) return undefined;
    const chunked = this.#chunked ?? this.#useChunks(chunksOf());
    if (chunked === undefined) return undefined;
    const { table, verified } = chunked;
    return readVerified(this.#descriptor, table, verified, offset, end, () => undefined);
  }

  #useChunks(chunks: readonly Chunk[] | undefined): Chunked | undefined {
    if (chunks === undefined) return undefined;
    const table = new ChunkTable(this.file, chunks);
    this.#chunked = { table, verified: new Bitmap(chunks.length) };
    return this.#chunked;
  }

  /** Verifies the whole file, once for all who wait. False: it is not what its name says. */
  verify(): Promise<boolean> {
    if (this.#wholeVerified) return Promise.resolve(true);
    this.#verifying ??= this.#verify().finally(() => {
      this.#verifying = undefined;
    });
    return this.#verifying;
  }

  async #verify(): Promise<boolean> {
    this.#wholeVerified = (await hashFile(this.#descriptor, this.file.size)) === this.file.content;
    return this.#wholeVerified;
  }

  close(): Promise<void> {
    return this.#descriptor.retire();
  }
}
