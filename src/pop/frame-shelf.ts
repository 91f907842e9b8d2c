import { createHash, randomBytes } from 'node:crypto';
import { mkdir, readdir, readFile, rename, rm, stat, statfs, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { LRUCache } from 'lru-cache';
import { mapBounded } from '../cache/bounded.js';
import { fromSystemError, isThinError } from '../errors.js';
import type { ReplacementPolicy } from '../pop-option.js';
import type { FetchName } from './pop-keys.js';
import { type Replacement, replacement } from './replacement.js';
import { type Voucher, voucherBytes } from './voucher.js';

/** Bytes of frames in memory: what was just fetched, and the others are about to ask for. */
const recentBytesMax = 32 * 1024 * 1024;
/** Milliseconds for which they stay: as long as the others are told of them (leases.ts). */
const recentMs = 60_000;
/** Bytes at the end of a file: who vouches for it, or zeros; and the SHA-256 of all before. */
const trailerBytes = voucherBytes + 32;
const nobody = Buffer.alloc(voucherBytes);
/** Before what is hashed: files of other versions are wrong. */
const hashedFirst = 'thinfs shelf 2';
/** Bytes being written; beyond it frames are not kept. */
const writingBytesMax = 16 * 1024 * 1024;
/** Milliseconds for which what is known of the free space is believed. */
const spaceLifeMs = 1000;
/** Files that are looked at together at the start: there may be 50 000. */
const looksInFlight = 32;
const fileForm = /^[0-9a-f]{32}$/;

export interface ShelfOptions {
  /** Of our own; made if it is missing. */
  readonly folder: string;
  /** Bytes that its files may have. */
  readonly quotaBytes: number;
  /** What leaves first where they are more. */
  readonly policy: ReplacementPolicy;
  /** Bytes that stay free on its file system. */
  readonly freeSpaceFloorBytes: number;
}

/** A frame; without a voucher this node has verified it itself. */
export interface ShelvedFrame {
  readonly bytes: Buffer;
  readonly voucher: Voucher | undefined;
}

/**
 * Frames, compressed as they came, that this node has for the others of its site: the latest in
 * memory, those that it is home to on disk. Files are not
 * synced: what a power cut tears is found by its trailer, and removed.
 */
export class FrameShelf {
  readonly #options: ShelfOptions;
  readonly #recent = new LRUCache<FetchName, ShelvedFrame>({
    maxSize: recentBytesMax,
    sizeCalculation: ({ bytes }) => bytes.length + trailerBytes,
    ttl: recentMs,
    ttlAutopurge: true,
  });
  /** The files, with their bytes. */
  readonly #kept: Replacement<FetchName>;
  /** Being written, with the path; what is removed meanwhile is not in here any more. */
  readonly #writing = new Map<FetchName, string>();
  #writingBytes = 0;
  #failures = 0;
  #space = { at: Number.NEGATIVE_INFINITY, freeBytes: 0 };

  /** @throws ThinError `denied`, `no-space`, `unavailable` if the folder cannot be used */
  static async open(options: ShelfOptions): Promise<FrameShelf> {
    const shelf = new FrameShelf(options);
    try {
      await mkdir(options.folder, { recursive: true, mode: 0o700 });
      await shelf.#find();
    } catch (error) {
      throw fromSystemError(`Cannot keep frames in ${options.folder}`, error);
    }
    return shelf;
  }

  private constructor(options: ShelfOptions) {
    this.#options = options;
    this.#kept = replacement(options.policy);
  }

  /** What it takes, and what it could not do. */
  get usage(): { readonly frames: number; readonly bytes: number; readonly failures: number } {
    return {
      frames: this.#kept.count,
      bytes: this.#kept.bytes,
      failures: this.#failures,
    };
  }

  /** The frame if it is here and whole. */
  async get(name: FetchName): Promise<ShelvedFrame | undefined> {
    const recent = this.#recent.get(name);
    const size = this.#kept.sizeOf(name);
    if (size !== undefined) this.#kept.used(name, size);
    if (recent || size === undefined) return recent;
    const read = await this.#read(name);
    if (read === 'gone') await this.remove(name);
    return typeof read === 'object' ? read : undefined;
  }

  /** `gone`: what is there is of no use; `unread`: that is not known, and another try may do. */
  async #read(name: FetchName): Promise<ShelvedFrame | 'gone' | 'unread'> {
    try {
      const file = await readFile(this.#path(name));
      const size = Math.max(file.length - trailerBytes, 0);
      const [bytes, voucher] = [file.subarray(0, size), file.subarray(size, size + voucherBytes)];
      if (file.subarray(size + voucherBytes).equals(hashOf(bytes, voucher))) {
        return { bytes, voucher: voucher.equals(nobody) ? undefined : (voucher as Voucher) };
      }
      this.#failures += 1;
      return 'gone';
    } catch (error) {
      this.#failures += 1;
      return isThinError(fromSystemError('', error), 'not-found') ? 'gone' : 'unread';
    }
  }

  has(name: FetchName): boolean {
    return this.sizeOf(name) !== undefined;
  }

  /** Bytes of the frame, as far as it is known to be here. */
  sizeOf(name: FetchName): number | undefined {
    const recent = this.#recent.peek(name);
    if (recent) return recent.bytes.length;
    const size = this.#kept.sizeOf(name);
    return size === undefined ? undefined : Math.max(size - trailerBytes, 0);
  }

  /** Keeps it in memory for a while. @param voucher of who gave it, where it was not verified here */
  remember(name: FetchName, bytes: Buffer, voucher?: Voucher): void {
    this.#recent.set(name, { bytes, voucher });
  }

  /** Keeps it on disk where there is room. Never fails. */
  async keep(name: FetchName, bytes: Buffer, voucher?: Voucher): Promise<void> {
    const size = bytes.length + trailerBytes;
    if (this.#kept.sizeOf(name) !== undefined || this.#writing.has(name)) return;
    if (this.#writingBytes + size > writingBytesMax) return;
    const incoming = join(this.#options.folder, `.${randomBytes(8).toString('hex')}`);
    const isWanted = () => this.#writing.get(name) === incoming;
    this.#writing.set(name, incoming);
    this.#writingBytes += size;
    try {
      if (!(await this.#hasRoom(size))) return;
      const trailer = voucher ?? nobody;
      const file = Buffer.concat([bytes, trailer, hashOf(bytes, trailer)]);
      await writeFile(incoming, file, { mode: 0o600, flag: 'wx' });
      if (!isWanted()) return await rm(incoming);
      await rename(incoming, this.#path(name));
      this.#kept.used(name, size);
      if (!isWanted()) await this.#remove(name);
      await this.#makeRoom();
    } catch {
      this.#failures += 1;
      await rm(incoming, { force: true }).catch(() => undefined);
    } finally {
      if (isWanted()) this.#writing.delete(name);
      this.#writingBytes -= size;
    }
  }

  /** Somebody found it wrong. */
  async remove(name: FetchName): Promise<void> {
    this.#recent.delete(name);
    this.#writing.delete(name);
    if (this.#kept.sizeOf(name) !== undefined) await this.#remove(name);
  }

  async #makeRoom(): Promise<void> {
    while (this.#kept.bytes > this.#options.quotaBytes) {
      const name = this.#kept.victim();
      if (name === undefined) return;
      await this.#remove(name);
    }
  }

  async #remove(name: FetchName): Promise<void> {
    this.#kept.removed(name);
    await rm(this.#path(name), { force: true }).catch(() => {
      this.#failures += 1;
    });
  }

  async #hasRoom(bytes: number): Promise<boolean> {
    const now = performance.now();
    if (now - this.#space.at > spaceLifeMs) {
      const { bavail, bsize } = await statfs(this.#options.folder);
      this.#space = { at: now, freeBytes: bavail * bsize };
    }
    this.#space.freeBytes -= bytes;
    return this.#space.freeBytes >= this.#options.freeSpaceFloorBytes;
  }

  /** What earlier processes have left, the oldest first. */
  async #find(): Promise<void> {
    const { folder } = this.#options;
    const found: { name: FetchName; size: number; at: number }[] = [];
    await mapBounded(await readdir(folder), looksInFlight, async (file) => {
      if (fileForm.test(file)) {
        const { size, mtimeMs } = await stat(join(folder, file));
        found.push({ name: file as FetchName, size, at: mtimeMs });
      } else {
        await rm(join(folder, file), { recursive: true, force: true });
      }
    });
    found.sort((a, b) => a.at - b.at);
    for (const { name, size } of found) {
      if (size > trailerBytes) this.#kept.used(name, size);
      else await this.#remove(name);
    }
    await this.#makeRoom();
  }

  #path(name: FetchName): string {
    return join(this.#options.folder, name);
  }
}

function hashOf(bytes: Buffer, voucher: Buffer): Buffer {
  return createHash('sha256').update(hashedFirst).update(bytes).update(voucher).digest();
}
