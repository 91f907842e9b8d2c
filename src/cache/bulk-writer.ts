import type { Digest } from '../digest.js';
import type { AnyDigest } from './digest-set.js';
import type { FileHold } from './file-use.js';
import { type PackedFile, packFiles, unpackFiles, unpackRawFiles } from './packed-files.js';

/** Where files go that the cache does not write itself. */
export interface BulkPlace {
  /** Of the tier: `xx/<64 hex>` below it. */
  readonly directory: string;
  /** On the same file system, emptied when the cache is opened. */
  readonly incoming: string;
  /** The directories of other tiers: what is there need not be stored. */
  readonly others: readonly string[];
}

/** What a bulk writer asks of the cache, and tells it. */
export interface BulkEvents {
  /** Room for `bytes`, if there is plenty of it. */
  admitEasily(bytes: number): boolean;
  /** @throws ThinError `no-space` */
  reserve(bytes: number): Promise<void>;
  written(bytes: number): void;
  /** A file that was stored now: its bytes need not be verified before they are read. */
  verified(content: AnyDigest): void;
  /** Removes a file unless somebody holds it or has read it a moment ago. True: it is removed. */
  discard(content: Digest): Promise<boolean>;
  /** Files that are in the tier, as packed-files.ts has them. */
  placed(files: readonly Buffer[]): void;
}

/** Bytes that are granted at once where there is room. */
const grantBytes = 32 * 1024 * 1024;
/** A disk takes whole blocks. */
const blockBytes = 4096;

/**
 * The cache's books for files of one layer that a worker thread stores by itself, thousands in a
 * second: it asks for room first, and tells afterwards what is there. All of that the hold keeps. The
 * index learns of it at the end, when there is time; until then nothing but the hold knows the files.
 */
export class BulkWriter implements Disposable {
  readonly place: BulkPlace;
  readonly #hold: FileHold;
  readonly #events: BulkEvents;
  readonly #stored: Buffer[] = [];
  /** Bytes granted that the budget counts as on their way. */
  #granted = 0;

  constructor(place: BulkPlace, hold: FileHold, events: BulkEvents) {
    this.place = place;
    this.#hold = hold;
    this.#events = events;
  }

  /**
   * Grants room for `bytes` and more, where there is plenty.
   * @returns what was granted; 0 where room is scarce: `reserve` what is really needed then
   */
  grant(bytes: number): number {
    const wanted = Math.max(bytes, grantBytes);
    const granted = this.#events.admitEasily(wanted) ? wanted : 0;
    this.#granted += granted;
    return granted;
  }

  /**
   * Makes room for exactly `bytes`, whole blocks of each file.
   * @throws ThinError `no-space` if there is none, and nothing may go
   */
  async reserve(bytes: number): Promise<void> {
    await this.#events.reserve(bytes);
    this.#granted += bytes;
  }

  /**
   * Files that are in the tier, as packed-files.ts has them. One that was here may have been removed
   * in this moment: look again when all are told.
   * @returns bytes of disk that were taken for them
   */
  stored(files: Buffer): number {
    let taken = 0;
    for (const { digest, size, allocated } of unpackRawFiles(files)) {
      this.#hold.add(digest);
      taken += allocated ?? 0;
      if (allocated !== undefined) this.#events.verified(digest);
      else this.#giveBack(Math.ceil(size / blockBytes) * blockBytes);
    }
    this.#stored.push(files);
    return taken;
  }

  /**
   * Removes the files that were stored now, unless somebody else has come to need them: those, and
   * what cannot be removed, the index is told of. Never fails.
   */
  async discard(): Promise<void> {
    for (const files of this.#stored.splice(0)) {
      const kept: PackedFile[] = [];
      for (const file of unpackFiles(files)) {
        if (file.allocated === undefined) continue;
        const removed = await this.#events.discard(file.content).catch(() => false);
        if (!removed) kept.push(file);
      }
      if (kept.length > 0) this.#stored.push(packFiles(kept, kept.length));
    }
  }

  /** Tells the index, and gives back what was granted and not used. */
  [Symbol.dispose](): void {
    this.#events.placed(this.#stored.splice(0));
    this.#giveBack(this.#granted);
  }

  #giveBack(bytes: number): void {
    const given = Math.min(bytes, this.#granted);
    this.#granted -= given;
    this.#events.written(given);
  }
}
