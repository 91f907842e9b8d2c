import { createHash } from 'node:crypto';
import { setImmediate as yieldToLoop } from 'node:timers/promises';
import type { Digest } from '../digest.js';
import { fromSystemError, ThinError } from '../errors.js';
import { createNew, type Disk } from './disk.js';
import type { FileRef } from './file-origin.js';
import type { FileHold } from './file-use.js';
import type { TierFiles } from './tier-files.js';

/** Files up to this many bytes are hashed in memory first, and not written if they are here. */
const bufferedBytesMax = 1024 * 1024;
/** Bytes of a hole that are hashed before other work gets its turn: 0.5 ms. */
const holeStepBytes = 1024 * 1024;

const zeros = Buffer.alloc(holeStepBytes);

/** What a writer asks of the cache, and tells it. */
export interface WriterEvents {
  /** Makes room for `bytes`. @throws ThinError `no-space` if there is none */
  reserve(bytes: number): Promise<void>;
  written(bytes: number): void;
  completed(file: FileRef, allocated?: number): void;
}

/**
 * Takes one file whose digest is not known yet. Phases: buffered (in memory) → spilled (in a file on
 * its way) → committed or aborted. Calls are made one after the other.
 */
export class FileWriter {
  readonly #tier: TierFiles;
  readonly #disk: Disk;
  readonly #hold: FileHold;
  readonly #events: WriterEvents;
  readonly #hash = createHash('sha256');
  #buffered: Buffer[] = [];
  #size = 0;
  #spill: { readonly path: string; readonly fd: number } | undefined;
  #reserved = 0;

  constructor(tier: TierFiles, disk: Disk, hold: FileHold, events: WriterEvents) {
    this.#tier = tier;
    this.#disk = disk;
    this.#hold = hold;
    this.#events = events;
  }

  /** `bytes` must not change afterwards. @throws ThinError `no-space` */
  async write(bytes: Buffer): Promise<void> {
    this.#hash.update(bytes);
    const at = this.#size;
    this.#size += bytes.length;
    if (this.#spill === undefined && this.#size <= bufferedBytesMax) this.#buffered.push(bytes);
    else await this.#put(bytes, at);
  }

  /** `length` zeros that take no disk where they are many. */
  async hole(length: number): Promise<void> {
    if (this.#spill === undefined && this.#size + length <= bufferedBytesMax) {
      return this.write(zeros.subarray(0, length));
    }
    await this.#startSpill();
    this.#size += length;
    for (let left = length; left > 0; left -= holeStepBytes) {
      this.#hash.update(zeros.subarray(0, Math.min(left, holeStepBytes)));
      await yieldToLoop();
    }
  }

  /** Gives the file its name, unless it is here under it already. */
  async commit(): Promise<FileRef> {
    const content = `sha256:${this.#hash.digest('hex')}` as Digest;
    const file = { content, size: this.#size };
    this.#hold.add(content);
    try {
      if (this.#spill === undefined) await this.#commitBuffered(file);
      else await this.#commitSpill(file, this.#spill);
    } catch (error) {
      throw fromSystemError('Cannot store file in the cache', error);
    } finally {
      await this.abort();
    }
    return file;
  }

  /** Leaves nothing behind; does nothing after `commit`. */
  async abort(): Promise<void> {
    const spill = this.#spill;
    this.#spill = undefined;
    this.#buffered = [];
    this.#events.written(this.#reserved);
    this.#reserved = 0;
    if (spill === undefined) return;
    await this.#disk.close(spill.fd).catch(() => undefined);
    await this.#disk.unlink(spill.path).catch(() => undefined); // renamed, if it was committed
  }

  async #commitBuffered(file: FileRef): Promise<void> {
    const bytes = Buffer.concat(this.#buffered);
    if (await this.#tier.has(file.content)) return;
    await this.#reserve(bytes.length);
    await this.#tier.place(file.content, bytes);
    this.#events.completed(file);
  }

  async #commitSpill(file: FileRef, spill: { path: string; fd: number }): Promise<void> {
    if (await this.#tier.has(file.content)) return;
    await this.#disk.truncate(spill.fd, file.size); // a hole at the end
    const { allocated } = await this.#disk.stat(spill.fd);
    await this.#tier.adopt(spill.path, file.content);
    this.#events.completed(file, allocated);
  }

  async #put(bytes: Buffer, at: number): Promise<void> {
    const spill = await this.#startSpill();
    await this.#reserve(bytes.length);
    await this.#toDisk(() => this.#disk.write(spill.fd, bytes, at));
  }

  async #startSpill(): Promise<{ readonly path: string; readonly fd: number }> {
    if (this.#spill !== undefined) return this.#spill;
    const path = this.#tier.incomingPath();
    const bytes = Buffer.concat(this.#buffered);
    await this.#reserve(bytes.length);
    const fd = await this.#toDisk(() => this.#disk.open(path, createNew));
    this.#spill = { path, fd };
    this.#buffered = [];
    await this.#toDisk(() => this.#disk.write(fd, bytes, 0));
    return this.#spill;
  }

  async #reserve(bytes: number): Promise<void> {
    await this.#events.reserve(bytes);
    this.#reserved += bytes;
  }

  async #toDisk<T>(work: () => Promise<T>): Promise<T> {
    try {
      return await work();
    } catch (error) {
      if (error instanceof ThinError) throw error;
      throw fromSystemError('Cannot store file in the cache', error);
    }
  }
}
