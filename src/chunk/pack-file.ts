import { createHash, randomBytes } from 'node:crypto';
import { type FileHandle, open, rename, rm } from 'node:fs/promises';
import { availableParallelism } from 'node:os';
import { digestFromBytes } from '../digest.js';
import { fromSystemError } from '../errors.js';
import { compressFrame, encodedBytesMax, frameBytesMax } from './codec.js';
import type { Frame, Pack } from './frame.js';

/** Frames that are compressed or wait for their turn to be written: all cores stay busy. */
const framesInFlightMax = 2 * availableParallelism() + 2;

/**
 * A pack while it is written. Frames are compressed concurrently on the libuv pool and written in the
 * order in which they were added, under a temporary name beside `path`, which `finish` replaces.
 */
export class PackFile {
  readonly #path: string;
  readonly #temporary: string;
  readonly #file: FileHandle;
  readonly #level: number;
  readonly #hash = createHash('sha256');
  readonly #written: Omit<Frame, 'pack'>[] = [];
  /** Buffers to use again: new ones of this size make the garbage collector run all the time. */
  readonly #freeBuffers: Buffer[] = [];
  readonly #freeOutputs: Buffer[] = [];
  /** Writes that have not ended or were not looked at yet, oldest first. */
  readonly #writes: Promise<void>[] = [];
  #size: number = 0;

  private constructor(path: string, temporary: string, file: FileHandle, level: number) {
    this.#path = path;
    this.#temporary = temporary;
    this.#file = file;
    this.#level = level;
  }

  /** @throws ThinError for what the file system says: `not-found`, `denied`, `no-space` */
  static async create(path: string, level: number): Promise<PackFile> {
    const temporary = `${path}.${randomBytes(6).toString('hex')}.tmp`;
    try {
      return new PackFile(path, temporary, await open(temporary, 'wx', 0o644), level);
    } catch (error) {
      throw fromSystemError(`Cannot create pack ${path}`, error);
    }
  }

  /** {@link frameBytesMax} bytes to fill with a frame; `add` takes them back. */
  takeBuffer(): Buffer {
    return this.#freeBuffers.pop() ?? Buffer.allocUnsafeSlow(frameBytesMax);
  }

  /**
   * Adds the first `length` bytes of a buffer that `takeBuffer` gave, as the next frame. Waits while
   * too many frames are in flight; errors of earlier frames come out here or in `finish`.
   */
  async add(buffer: Buffer, length: number): Promise<void> {
    const write = this.#encodeAndWrite(buffer, length, this.#writes.at(-1));
    this.#writes.push(write);
    write.catch(() => undefined); // reported to whoever awaits it below
    if (this.#writes.length > framesInFlightMax) await this.#writes.shift();
  }

  /** Makes the pack whole and visible; no frames, no pack. */
  async finish(): Promise<{ pack: Pack | undefined; frames: Frame[] }> {
    await Promise.all(this.#writes);
    if (this.#written.length === 0) {
      await this.abort();
      return { pack: undefined, frames: [] };
    }
    try {
      await this.#file.close();
      await rename(this.#temporary, this.#path);
    } catch (error) {
      throw fromSystemError(`Cannot write pack ${this.#path}`, error);
    }
    const digest = digestFromBytes(this.#hash.digest());
    const frames = this.#written.map((frame) => ({ pack: digest, ...frame }));
    return { pack: { digest, size: this.#size }, frames };
  }

  /** Removes what was written. Idempotent, and without effect after `finish`. */
  async abort(): Promise<void> {
    await Promise.allSettled(this.#writes);
    await this.#file.close();
    await rm(this.#temporary, { force: true });
  }

  async #encodeAndWrite(
    buffer: Buffer,
    plainLength: number,
    previous: Promise<void> | undefined,
  ): Promise<void> {
    const output = this.#freeOutputs.pop() ?? Buffer.allocUnsafeSlow(encodedBytesMax());
    const encoding = compressFrame(buffer.subarray(0, plainLength), this.#level, output);
    const [{ codec, bytes }] = await Promise.all([encoding, previous]);
    await this.#append(bytes);
    this.#written.push({ offset: this.#size, length: bytes.length, plainLength, codec });
    this.#size += bytes.length;
    this.#freeBuffers.push(buffer);
    this.#freeOutputs.push(output);
  }

  async #write(bytes: Buffer): Promise<void> {
    for (let at = 0; at < bytes.length; ) {
      const { bytesWritten } = await this.#file.write(bytes, at);
      at += bytesWritten;
    }
  }

  async #append(bytes: Buffer): Promise<void> {
    const writing = this.#write(bytes);
    this.#hash.update(bytes);
    try {
      await writing;
    } catch (error) {
      throw fromSystemError(`Cannot write pack ${this.#path}`, error);
    }
  }
}
