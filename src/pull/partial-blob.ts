import { createHash } from 'node:crypto';
import { constants, createReadStream } from 'node:fs';
import { type FileHandle, mkdir, open, readdir, rm, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { fromSystemError } from '../errors.js';

/** Bytes that are written at once: a call for each piece of the network costs a tenth of a pull. */
const batchBytes = 512 * 1024;
/** Batches kept for the next use: one that grows and one that is written, of two layers. */
const freeMax = 4;
/**
 * Of all layers. What comes is copied: the network's buffers, held until they are written, would grow old,
 * and V8 lets some tens of MiB of those gather.
 */
const free: Buffer[] = [];
let blobsOpen = 0;
/** Bytes that wait to be written; where the disk cannot keep up, the blob is kept no further. */
const backlogMax = 2 * 1024 * 1024;
/** Bytes read at once. */
const readBytes = 256 * 1024;
/** Milliseconds for which the beginning of a blob is kept for the next pull of it. */
const keptMs = 7 * 24 * 3600 * 1000;

/**
 * The beginning of a layer's compressed bytes, as far as they came: what is here is not downloaded
 * again by the next pull, after whatever ended this one. It is removed with the layer's last byte, most
 * often before the kernel has written any of it to the disk.
 */
export class PartialBlob implements AsyncDisposable {
  readonly #path: string;
  readonly #file: FileHandle;
  #length: number;
  #backlog = 0;
  #batch: Buffer | undefined;
  #batchLength = 0;
  #writing: Promise<void> = Promise.resolve();
  /** `growing` until something is not kept: what comes after a gap is of no use. */
  #state: 'growing' | 'stopped' = 'growing';

  /**
   * @param key one of its own for each blob that may be open at the same time
   * @throws ThinError `no-space`, `unavailable`
   */
  static async open(folder: string, key: string): Promise<PartialBlob> {
    const path = join(folder, createHash('sha256').update(key).digest('hex'));
    try {
      const file = await open(path, constants.O_RDWR | constants.O_CREAT, 0o600);
      return new PartialBlob(path, file, (await file.stat()).size);
    } catch (error) {
      throw fromSystemError(`Cannot keep blob in ${path}`, error);
    }
  }

  private constructor(path: string, file: FileHandle, length: number) {
    this.#path = path;
    this.#file = file;
    this.#length = length;
    blobsOpen += 1;
  }

  /** Bytes that are here, those on their way to the disk included. */
  get length(): number {
    return this.#length;
  }

  /** The bytes that are here; all that came is to be `settled`. */
  read(): AsyncIterable<Buffer> {
    const end = this.#length;
    if (end === 0) return noBytes();
    return createReadStream(this.#path, { end: end - 1, highWaterMark: readBytes });
  }

  /**
   * Keeps the next bytes if the disk keeps up, behind the caller's back.
   */
  offer(bytes: Buffer): void {
    if (this.#state === 'stopped') return;
    if (this.#backlog > backlogMax) this.#state = 'stopped';
    else this.#add(bytes);
  }

  /** Keeps the next bytes. @throws ThinError `no-space`, `unavailable` */
  async append(bytes: Buffer): Promise<void> {
    this.#add(bytes);
    if (this.#backlog > batchBytes) await this.settled();
  }

  /** All that came is here. @throws ThinError `no-space`, `unavailable` if some of it is not */
  settled(): Promise<void> {
    this.#writeBatch();
    return this.#writing;
  }

  #add(bytes: Buffer): void {
    for (let at = 0; at < bytes.length; ) {
      this.#batch ??= free.pop() ?? Buffer.allocUnsafeSlow(batchBytes);
      const length = bytes.copy(this.#batch, this.#batchLength, at);
      at += length;
      this.#length += length;
      this.#backlog += length;
      this.#batchLength += length;
      if (this.#batchLength === batchBytes) this.#writeBatch();
    }
  }

  #writeBatch(): void {
    const [batch, length] = [this.#batch, this.#batchLength];
    if (batch === undefined) return;
    const at = this.#length - length;
    this.#batch = undefined;
    this.#batchLength = 0;
    this.#writing = this.#writing
      .then(() => this.#write(batch, at, length))
      .finally(() => giveBack(batch));
    this.#writing.catch(() => undefined); // is thrown where it is awaited
  }

  async #write(batch: Buffer, at: number, length: number): Promise<void> {
    try {
      // A disk that takes less than it is given is full: the next write says so.
      for (let done = 0; done < length; ) {
        const { bytesWritten } = await this.#file.write(batch, done, length - done, at + done);
        done += bytesWritten;
      }
    } catch (error) {
      this.#state = 'stopped';
      throw fromSystemError('Cannot keep blob', error);
    } finally {
      this.#backlog -= length;
    }
  }

  /** Its bytes are wrong, or not needed any more. */
  async remove(): Promise<void> {
    this.#state = 'stopped';
    if (this.#batch !== undefined) giveBack(this.#batch);
    this.#batch = undefined;
    this.#batchLength = 0;
    await rm(this.#path, { force: true });
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.settled().catch(() => undefined);
    await this.#file.close().catch(() => undefined); // what was written is of use, or not, all the same
    blobsOpen -= 1;
    if (blobsOpen === 0) free.length = 0;
  }
}

function giveBack(batch: Buffer): void {
  if (free.length < freeMax) free.push(batch);
}

async function* noBytes(): AsyncGenerator<Buffer, void> {}

/** Makes the folder of partial blobs, and removes those that nobody came back for. */
export async function preparePartialBlobs(folder: string, now: number): Promise<void> {
  await mkdir(folder, { recursive: true, mode: 0o700 });
  for (const name of await readdir(folder)) {
    const path = join(folder, name);
    const { mtimeMs } = await stat(path);
    if (mtimeMs < now - keptMs) await rm(path, { force: true });
  }
}
