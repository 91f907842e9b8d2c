import type { ByteString } from '../byte-string.js';
import type { Digest } from '../digest.js';
import { ThinError } from '../errors.js';
import { limits } from '../limits.js';
import { type ChunkSink, FileCutter } from './file-cutter.js';
import type { Chunk, FileChunks, Pack } from './frame.js';
import { FrameFiller, type Place } from './frame-filler.js';
import type { GroupedFile } from './frame-grouping.js';
import { PackContents, type PackStats } from './pack-contents.js';
import { PackFile } from './pack-file.js';

/**
 * zstd level. Measured over two layers of Debian's /usr (570 MB of libraries, 510 MB of small files):
 * pack bytes relative to `gzip -6` of the tar, and CPU seconds of the whole way from the gzip layer to
 * the pack relative to those of `zcat | zstd -3 -T2`, which conversion may exceed by half:
 *
 *     level            3      4      5      6      7
 *     libraries     0.940  0.927  0.920  0.909  0.889     1.05  1.19  1.29  1.45
 *     small files   0.820  0.802  0.794  0.785  0.774     1.05  1.27  1.40  1.65
 *
 * Real images come to 0.96 to 0.97 of their gzip layers at level 3 and to 0.94 to 0.96 at level 4, which
 * takes a tenth more CPU: the time is worth more.
 */
const defaultLevel = 3;

export type FindKnown = (digest: Digest) => Chunk | undefined | Promise<Chunk | undefined>;

export interface PackWriterOptions {
  /** Where the pack appears, whole, when `finish` has ended; its folder must exist. */
  readonly path: string;
  /** zstd level, 1 to 19; default 3. */
  readonly level?: number;
  /**
   * Where a chunk is already, in another pack: it is referenced there and not written again. Asked
   * once for a chunk that is found; the writer waits for an answer that takes time.
   */
  readonly known?: FindKnown;
  readonly signal: AbortSignal;
}

export interface PackResult {
  /** Undefined if every chunk was known: then there is no file either. */
  readonly pack: Pack | undefined;
  /** One for each distinct content, in the order of first appearance; none for empty files. */
  readonly files: Iterable<FileChunks>;
  readonly stats: PackStats;
}

/** Identity of a file's content. */
export interface FileContent {
  readonly content: Digest;
  readonly size: number;
}

interface PackedFile extends GroupedFile {
  /** Their numbers in the pack's contents. */
  readonly chunks: number[];
}

/** Who waits for the digest of a file. */
interface Waiter {
  resolve(content: FileContent): void;
  reject(error: unknown): void;
}

/**
 * Where the writer is:
 * - `between` files;
 * - `in-file`: `left` bytes of `file` are still to come;
 * - `over`: finished, aborted or failed; `error` is what later calls get.
 */
type Phase =
  | { readonly name: 'between' }
  | { readonly name: 'in-file'; readonly file: PackedFile; left: number }
  | { readonly name: 'over'; readonly error: unknown };

/**
 * Makes a pack of the files of one layer.
 *
 *     write ─ copy → batch ─ pool: cut, hash → new chunks ─ copy → frame ─ pool: zstd → file
 *
 * The main thread copies each byte twice and looks each chunk up; everything else is on the libuv pool.
 * Memory is bounded by two batches and the frames in flight, some 20 MB, besides the result. The same
 * files, level, `known` and libzstd give the same bytes, whatever the sizes of writes and the timing.
 *
 * Await each `beginFile`, `write` and `hole` before the next call: that is how the writer slows its
 * caller down. Do not await `endFile` before the next file: its answer comes when a batch of files was
 * hashed. Any error ends the writer and removes its file; the last word is `finish` or `abort`.
 */
export class PackWriter {
  readonly #path: string;
  readonly #pack: PackFile;
  readonly #contents = new PackContents();
  readonly #known: FindKnown;
  readonly #frames: FrameFiller;
  readonly #cutter: FileCutter<PackedFile>;
  readonly #signal: AbortSignal;
  readonly #waiting = new Map<PackedFile, Waiter>();
  #phase: Phase = { name: 'between' };
  #busy: boolean = false;
  #cleanup: Promise<void> | undefined;

  private constructor(pack: PackFile, options: PackWriterOptions) {
    this.#path = options.path;
    this.#pack = pack;
    this.#signal = options.signal;
    this.#known = options.known ?? (() => undefined);
    this.#frames = new FrameFiller(pack);
    this.#cutter = new FileCutter(this.#sink());
  }

  /** @throws ThinError for what the file system says about a temporary file beside `path` */
  static async create(options: PackWriterOptions): Promise<PackWriter> {
    const pack = await PackFile.create(options.path, options.level ?? defaultLevel);
    return new PackWriter(pack, options);
  }

  /**
   * @param path of the file in the layer: files of one directory share frames
   * @param size plain bytes that `write` and `hole` will bring
   */
  beginFile(path: ByteString, size: number): Promise<void> {
    return this.#step(() => {
      if (this.#phase.name !== 'between') throw this.#misuse('the last file has not ended');
      if (!Number.isSafeInteger(size) || size < 0 || size > limits.fileBytesMax) {
        throw this.#misuse(`${size} bytes of a file (wanted at most ${limits.fileBytesMax})`);
      }
      const file = { path, size, chunks: [] };
      this.#phase = { name: 'in-file', file, left: size };
      return this.#cutter.begin(file);
    });
  }

  /** @param bytes must not change until the promise is settled */
  write(bytes: Buffer): Promise<void> {
    return this.#step(() => {
      this.#take(bytes.length);
      return this.#cutter.append(bytes);
    });
  }

  /** `length` zero bytes. */
  hole(length: number): Promise<void> {
    return this.#step(() => {
      this.#take(length);
      return this.#cutter.appendHole(length);
    });
  }

  /**
   * The digest of the whole file: for a file of one chunk that of the chunk. Not awaiting it is no
   * unhandled rejection, as `finish` fails too.
   */
  endFile(): Promise<FileContent> {
    const ended = this.#guard(() => this.#endFile());
    ended.catch(() => undefined);
    return ended;
  }

  /** Makes the pack visible under its path. It is not durable: the store that takes it sees to that. */
  finish(): Promise<PackResult> {
    return this.#step(async () => {
      if (this.#phase.name !== 'between') throw this.#misuse('the last file has not ended');
      await this.#cutter.drain();
      const tickets = await this.#frames.finish();
      const { pack, frames } = await this.#pack.finish();
      this.#phase = { name: 'over', error: this.#misuse('it is finished') };
      return { pack, files: this.#contents.resolve(frames, tickets), stats: this.#contents.stats };
    });
  }

  /** Gives up and leaves no file. Idempotent, and without effect after `finish`. */
  async abort(): Promise<void> {
    await this.#end(new ThinError('canceled', `Cannot write pack ${this.#path}: it was aborted`));
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.abort();
  }

  #endFile(): Promise<FileContent> {
    if (this.#phase.name !== 'in-file') throw this.#misuse('no file has begun');
    const { file, left } = this.#phase;
    if (left > 0) throw this.#misuse(`the file ends ${left} bytes before its size ${file.size}`);
    this.#phase = { name: 'between' };
    return new Promise((resolve, reject) => {
      this.#waiting.set(file, { resolve, reject });
      this.#cutter.end();
    });
  }

  #take(length: number): void {
    const phase = this.#phase;
    if (phase.name !== 'in-file') throw this.#misuse('no file has begun');
    if (!Number.isSafeInteger(length) || length < 0 || length > phase.left) {
      throw this.#misuse(`${length} bytes more of a file of which ${phase.left} were left`);
    }
    phase.left -= length;
  }

  #sink(): ChunkSink<PackedFile> {
    return {
      chunk: (file, digest, bytes) => this.#chunk(file, digest, bytes),
      fileEnded: (file, content) => {
        this.#contents.addFile(content, file.size, file.chunks);
        this.#waiting.get(file)?.resolve({ content, size: file.size });
        this.#waiting.delete(file);
      },
      failed: (error) => this.#rejectWaiting(error),
    };
  }

  #chunk(file: PackedFile, digest: Digest, bytes: Buffer): Promise<void> | undefined {
    this.#checkSignal();
    const number = this.#contents.find(digest);
    if (number !== undefined) {
      file.chunks.push(number);
      return undefined;
    }
    const known = this.#known(digest);
    if (!(known instanceof Promise)) return this.#newChunk(file, digest, bytes, known);
    return known.then((chunk) => this.#newChunk(file, digest, bytes, chunk));
  }

  /** The first of its content here. @param known is not believed if it has another length */
  #newChunk(
    file: PackedFile,
    digest: Digest,
    bytes: Buffer,
    known: Chunk | undefined,
  ): Promise<void> | undefined {
    if (known?.length === bytes.length) {
      file.chunks.push(this.#contents.addKnown(known));
      return undefined;
    }
    const put = (place: Place) => {
      file.chunks.push(this.#contents.add(digest, bytes.length, place));
    };
    const place = this.#frames.place(file, bytes);
    if (place instanceof Promise) return place.then(put);
    put(place);
    return undefined;
  }

  /** One call at a time: the next one would overtake a call that waits for room. */
  async #step<T>(action: () => Promise<T>): Promise<T> {
    return await this.#guard(async () => {
      if (this.#busy) throw this.#misuse('the last call has not ended');
      this.#busy = true;
      try {
        return await action();
      } finally {
        this.#busy = false;
      }
    });
  }

  async #guard<T>(action: () => Promise<T>): Promise<T> {
    try {
      if (this.#phase.name === 'over') throw this.#phase.error;
      this.#checkSignal();
      return await action();
    } catch (error) {
      throw await this.#end(error);
    }
  }

  /** Ends the writer with its first error, and returns that. */
  async #end(error: unknown): Promise<unknown> {
    if (this.#phase.name !== 'over') {
      this.#phase = { name: 'over', error };
      this.#rejectWaiting(error);
      this.#cleanup = this.#cutter.stop(error).then(() => this.#pack.abort());
    }
    await this.#cleanup;
    return this.#phase.error;
  }

  #rejectWaiting(error: unknown): void {
    for (const waiter of this.#waiting.values()) waiter.reject(error);
    this.#waiting.clear();
  }

  #checkSignal(): void {
    if (!this.#signal.aborted) return;
    throw new ThinError('canceled', `Cannot write pack ${this.#path}: it was canceled`, {
      cause: this.#signal.reason,
    });
  }

  #misuse(reason: string): ThinError {
    return new ThinError('invalid', `Cannot write pack ${this.#path}: ${reason}`);
  }
}
