import { Bitmap } from './bitmap.js';
import type { ChunkTable } from './chunk-table.js';
import { Descriptor } from './descriptor.js';
import type { Disk } from './disk.js';
import type { FileRef } from './file-origin.js';
import { bitmapAt, encodeTrailer, parseTrailer, trailerSize } from './partial-trailer.js';
import type { PartialView } from './partial-view.js';
import { SharedBitmap } from './shared-bitmap.js';
import { hashFile, readVerified } from './verified-read.js';

/** A file as one image has it: its chunks, and the name of its partial file. */
export interface ChunkedFile {
  readonly file: FileRef;
  readonly table: ChunkTable;
  /** 64 hex digits. */
  readonly key: string;
}

/** Plain bytes of one chunk that were verified. */
export interface ChunkBytes {
  readonly index: number;
  readonly bytes: Buffer;
}

/**
 * A large file that is being filled chunk by chunk, open. `present` chunks are on the disk; of
 * those, the ones in `verified` were verified since the file was opened. Phases: filling →
 * finished (cut to size, ready to be renamed into a tier; the chunks are still readable).
 */
export class PartialFile {
  readonly file: FileRef;
  readonly table: ChunkTable;
  readonly key: string;
  readonly #descriptor: Descriptor;
  readonly #present: Bitmap;
  readonly #verified: SharedBitmap;
  #mismatched: boolean;
  #finished: boolean;
  /** Bytes of disk taken, as of the last trailer. */
  #allocated: number;
  /** Writes of the trailer, and the cut that ends them, one after the other. */
  #trailer: Promise<void> = Promise.resolve();
  #writers = 0;

  /** @param flags `openOrCreate`, or `openToWrite` for a file that must be there */
  static async open(
    disk: Disk,
    path: string,
    flags: number,
    { file, table, key }: ChunkedFile,
  ): Promise<PartialFile> {
    const descriptor = new Descriptor(disk, await disk.open(path, flags));
    try {
      const count = table.chunks.length;
      const { size, allocated } = await descriptor.use((on, fd) => on.stat(fd));
      const bytes = Buffer.alloc(trailerSize(count));
      if (size === bitmapAt(file.size) + bytes.length) {
        await descriptor.read(bytes, bitmapAt(file.size));
      }
      const found = parseTrailer(bytes, file, count);
      // A file that is cut to size was finished when its process died: the chunks tell.
      const present = found?.present ?? new Bitmap(count);
      if (found === undefined && size === file.size) present.setAll();
      const mismatched = found?.mismatched ?? false;
      return new PartialFile({ descriptor, file, table, key, present, mismatched, allocated });
    } catch (error) {
      await descriptor.retire();
      throw error;
    }
  }

  private constructor(state: {
    descriptor: Descriptor;
    file: FileRef;
    table: ChunkTable;
    key: string;
    present: Bitmap;
    mismatched: boolean;
    allocated: number;
  }) {
    this.#descriptor = state.descriptor;
    this.file = state.file;
    this.table = state.table;
    this.key = state.key;
    this.#present = state.present;
    this.#finished = false;
    this.#verified = new SharedBitmap(state.present.length);
    this.#mismatched = state.mismatched;
    this.#allocated = state.allocated;
  }

  get busy(): boolean {
    return this.#writers > 0 || this.#descriptor.busy;
  }

  /** True where no chunk is here. */
  get empty(): boolean {
    return this.#present.count === 0;
  }

  get allocated(): number {
    return this.#allocated;
  }

  /** True where all chunks are here and the whole may be tried as the file that it claims to be. */
  get ready(): boolean {
    return this.#present.full && !this.#mismatched && !this.#finished;
  }

  /** For other threads; `verified` grows for as long as this object fills the file. */
  view(path: string): PartialView {
    const { content, size } = this.file;
    const verified = this.#verified.words;
    const named = new Int32Array(new SharedArrayBuffer(Int32Array.BYTES_PER_ELEMENT)).fill(1);
    return { content, size, path, named, starts: this.table.sharedStarts(), verified };
  }

  has(index: number): boolean {
    return this.#present.has(index);
  }

  /**
   * Bytes `offset` to `end`.
   * @returns undefined where a chunk of the range is missing (or turned out to be wrong: it is
   *   missing from now on)
   */
  async read(offset: number, end: number): Promise<Buffer | undefined> {
    const { table } = this;
    if (!this.#present.hasAll(table.indexAt(offset), table.indexAt(end - 1))) return undefined;
    return readVerified(this.#descriptor, table, this.#verified, offset, end, (index) => {
      // What was written while it was read is good.
      if (!this.#verified.has(index)) this.#present.clear(index);
    });
  }

  readChunk(index: number): Promise<Buffer | undefined> {
    return this.read(this.table.start(index), this.table.start(index + 1));
  }

  /** Keeps chunks that were verified; neighbours in `chunks` go to the disk together. */
  async write(chunks: readonly ChunkBytes[]): Promise<void> {
    const wanted = chunks.filter(({ index }) => !this.#present.has(index));
    if (wanted.length === 0 || this.#finished) return;
    this.#writers++;
    try {
      for (const run of neighbours(wanted)) await this.#writeRun(run);
      await this.#writeTrailer();
    } finally {
      this.#writers--;
    }
  }

  async #writeRun(run: readonly ChunkBytes[]): Promise<void> {
    const [first] = run;
    if (first === undefined) return;
    const bytes = run.length === 1 ? first.bytes : Buffer.concat(run.map((chunk) => chunk.bytes));
    const at = this.table.start(first.index);
    await this.#descriptor.use((disk, fd) => disk.write(fd, bytes, at));
    for (const { index } of run) {
      this.#present.set(index);
      this.#verified.set(index);
    }
  }

  #writeTrailer(): Promise<void> {
    return this.#inOrder(async (disk, fd) => {
      if (this.#finished) return;
      const bytes = encodeTrailer({
        file: this.file,
        present: this.#present,
        mismatched: this.#mismatched,
      });
      await disk.write(fd, bytes, bitmapAt(this.file.size));
      this.#allocated = (await disk.stat(fd)).allocated;
    });
  }

  #inOrder(work: (disk: Disk, fd: number) => Promise<void>): Promise<void> {
    const next = this.#trailer.then(() => this.#descriptor.use(work));
    this.#trailer = next.catch(() => undefined);
    return next;
  }

  /**
   * Where all chunks are here: verifies the whole and cuts the trailer off. Chunks that turn out to
   * be wrong are missing afterwards; if none is, the chunk list lies about the content, and the file
   * stays as it is, of use to the image that it came from and to no other.
   * @returns true if the file is what its digest says, and may get its final name
   */
  async finish(): Promise<boolean> {
    this.#writers++;
    try {
      if (!(await this.#isWhole())) return false;
      // Behind every trailer that is being written: one that came later would make the file longer.
      await this.#inOrder(async (disk, fd) => {
        this.#finished = true;
        await disk.truncate(fd, this.file.size);
      });
      return true;
    } finally {
      this.#writers--;
    }
  }

  async #isWhole(): Promise<boolean> {
    while (this.ready) {
      const allVerified = this.#verified.full;
      const { content, size } = this.file;
      if ((await hashFile(this.#descriptor, size)) === content) return true;
      if (allVerified) {
        this.#mismatched = true;
        await this.#writeTrailer();
      } else {
        for (let index = 0; index < this.table.chunks.length; index++) await this.#check(index);
      }
    }
    return false;
  }

  async #check(index: number): Promise<void> {
    if (this.#present.has(index)) await this.readChunk(index);
  }

  async close(): Promise<void> {
    await this.#trailer;
    await this.#descriptor.retire();
  }
}

/** Cuts a list of chunks into runs that lie one behind the other in the file. */
function neighbours(chunks: readonly ChunkBytes[]): ChunkBytes[][] {
  const runs: ChunkBytes[][] = [];
  for (const chunk of [...chunks].sort((a, b) => a.index - b.index)) {
    const run = runs.at(-1);
    const previous = run?.at(-1)?.index;
    if (run !== undefined && previous === chunk.index - 1) run.push(chunk);
    else if (previous !== chunk.index) runs.push([chunk]);
  }
  return runs;
}
