import { createHash } from 'node:crypto';
import { setImmediate as yieldToLoop } from 'node:timers/promises';
import type { Digest } from '../digest.js';
import { fromSystemError } from '../errors.js';
import { createNew } from './disk.js';
import type { FileRef } from './file-origin.js';
import type { FileHold } from './file-use.js';
import type { PlacedFile } from './frame-keeper.js';
import type { TierFiles } from './tier-files.js';
import type { TierSpace } from './tier-space.js';

/** Files up to this many bytes are hashed in memory first, and not written if they are here. */
const bufferedBytesMax = 1024 * 1024;
/** Bytes of a hole that are hashed before other work gets its turn: 0.5 ms. */
const holeStepBytes = 1024 * 1024;

const zeros = Buffer.alloc(holeStepBytes);

/** What a writer tells the cache. */
export interface WriterEvents {
  completed(file: FileRef, placed: PlacedFile): void;
}

/** Where a file goes while its digest is not known. */
interface Spill {
  readonly space: TierSpace;
  readonly path: string;
  readonly fd: number;
}

/**
 * Takes one file whose digest is not known yet. Phases: buffered (in memory) → spilled (in a file on
 * its way) → committed or aborted. Calls are made one after the other. A tier that has no room gives
 * the file to the next one.
 */
export class FileWriter {
  readonly #files: TierFiles;
  readonly #spaces: TierSpace[];
  readonly #hold: FileHold;
  readonly #events: WriterEvents;
  readonly #hash = createHash('sha256');
  #buffered: Buffer[] = [];
  #size = 0;
  #spill: Spill | undefined;
  /** Bytes reserved of each space. */
  readonly #reserved = new Map<TierSpace, number>();

  /** @param spaces of the tiers that may have the file, the preferred one first */
  constructor(
    files: TierFiles,
    spaces: readonly TierSpace[],
    hold: FileHold,
    events: WriterEvents,
  ) {
    this.#files = files;
    this.#spaces = [...spaces];
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
    for (const [space, bytes] of this.#reserved) space.written(bytes);
    this.#reserved.clear();
    if (spill !== undefined) await discard(spill);
  }

  async #commitBuffered(file: FileRef): Promise<void> {
    if (await this.#files.has(file.content)) return;
    const bytes = Buffer.concat(this.#buffered);
    const { tier } = await this.#somewhere(async (space) => {
      await this.#reserve(space, bytes.length);
      await this.#files.place(space.tier, file.content, bytes);
      return space;
    });
    this.#events.completed(file, { tier: tier.name });
  }

  async #commitSpill(file: FileRef, { space: { tier }, path, fd }: Spill): Promise<void> {
    if (await this.#files.has(file.content)) return;
    await tier.disk.truncate(fd, file.size); // a hole at the end
    const { allocated } = await tier.disk.stat(fd);
    await this.#files.adopt(tier, path, file.content);
    this.#events.completed(file, { tier: tier.name, allocated });
  }

  /** Writes to the file on its way, which moves on to the next tier where there is no room. */
  async #put(bytes: Buffer, at: number): Promise<void> {
    await this.#startSpill();
    await this.#somewhere(async (space) => {
      const spill = await this.#spillIn(space, at);
      await this.#reserve(space, bytes.length);
      await space.tier.disk.write(spill.fd, bytes, at);
    });
  }

  async #startSpill(): Promise<void> {
    if (this.#spill !== undefined) return;
    const bytes = Buffer.concat(this.#buffered);
    await this.#somewhere(async (space) => {
      const spill = await this.#spillIn(space, 0);
      await this.#reserve(space, bytes.length);
      await space.tier.disk.write(spill.fd, bytes, 0);
    });
    this.#buffered = [];
  }

  /** The file on its way in a space, with the first `size` bytes of what was written so far. */
  async #spillIn(space: TierSpace, size: number): Promise<Spill> {
    const before = this.#spill;
    if (before?.space === space) return before;
    const path = space.tier.incomingPath();
    const fd = await space.tier.disk.open(path, createNew);
    const spill = { space, path, fd };
    try {
      if (before !== undefined) await this.#copy(before, spill, size);
    } catch (error) {
      await discard(spill);
      throw error;
    }
    this.#spill = spill;
    if (before !== undefined) await discard(before);
    return spill;
  }

  /** Holes are told by their zeros, as far as whole steps go. */
  async #copy(from: Spill, to: Spill, size: number): Promise<void> {
    const step = Buffer.allocUnsafe(holeStepBytes);
    for (let at = 0; at < size; at += step.length) {
      const piece = step.subarray(0, Math.min(step.length, size - at));
      piece.fill(0);
      await from.space.tier.disk.read(from.fd, piece, at);
      if (piece.equals(zeros.subarray(0, piece.length))) continue;
      await this.#reserve(to.space, piece.length);
      await to.space.tier.disk.write(to.fd, piece, at);
    }
  }

  /** Does it in the first space that has room; those before it are not tried again. */
  async #somewhere<T>(work: (space: TierSpace) => Promise<T>): Promise<T> {
    for (;;) {
      const [space] = this.#spaces;
      if (space === undefined) throw new RangeError('a writer without a tier');
      try {
        return await work(space);
      } catch (error) {
        const cause = fromSystemError('Cannot store file in the cache', error);
        if (cause.code !== 'no-space' || this.#spaces.length === 1) throw cause;
        this.#spaces.shift();
      }
    }
  }

  async #reserve(space: TierSpace, bytes: number): Promise<void> {
    await space.reserve(bytes);
    this.#reserved.set(space, (this.#reserved.get(space) ?? 0) + bytes);
  }
}

async function discard({ space: { tier }, path, fd }: Spill): Promise<void> {
  await tier.disk.close(fd).catch(() => undefined);
  await tier.disk.unlink(path).catch(() => undefined); // renamed, if it was committed
}
