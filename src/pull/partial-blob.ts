import { createHash } from 'node:crypto';
import { constants, createReadStream } from 'node:fs';
import { type FileHandle, mkdir, open, readdir, rm, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { fromSystemError } from '../errors.js';

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
  }

  /** Bytes that are here, those on their way to the disk included. */
  get length(): number {
    return this.#length;
  }

  /** The bytes that are here. */
  read(): AsyncIterable<Buffer> {
    const end = this.#length;
    if (end === 0) return noBytes();
    return createReadStream(this.#path, { end: end - 1, highWaterMark: readBytes });
  }

  /**
   * Keeps the next bytes if the disk keeps up, behind the caller's back.
   * @param bytes must not change
   */
  offer(bytes: Buffer): void {
    if (this.#state === 'stopped') return;
    if (this.#backlog > backlogMax) this.#state = 'stopped';
    else void this.append(bytes).catch(() => undefined);
  }

  /** Keeps the next bytes. @throws ThinError `no-space`, `unavailable` */
  append(bytes: Buffer): Promise<void> {
    const at = this.#length;
    this.#length += bytes.length;
    this.#backlog += bytes.length;
    this.#writing = this.#writing.then(() => this.#write(bytes, at));
    return this.#writing;
  }

  async #write(bytes: Buffer, at: number): Promise<void> {
    try {
      for (let done = 0; done < bytes.length; ) {
        const { bytesWritten } = await this.#file.write(bytes, done, undefined, at + done);
        done += bytesWritten;
      }
    } catch (error) {
      this.#state = 'stopped';
      throw fromSystemError('Cannot keep blob', error);
    } finally {
      this.#backlog -= bytes.length;
    }
  }

  /** Its bytes are wrong, or not needed any more. */
  async remove(): Promise<void> {
    this.#state = 'stopped';
    await rm(this.#path, { force: true });
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#writing.catch(() => undefined);
    await this.#file.close().catch(() => undefined); // what was written is of use, or not, all the same
  }
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
