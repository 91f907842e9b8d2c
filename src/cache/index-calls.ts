import { rmSync } from 'node:fs';
import type { Database } from 'better-sqlite3';
import { isThinError } from '../errors.js';
import type { FileRef } from './file-origin.js';
import { evictionCalls } from './index-eviction.js';
import { fileCalls, type IndexTotals } from './index-files.js';
import { imageCalls } from './index-images.js';
import { packedCalls } from './index-packed.js';
import { hasSuspects, recover } from './index-recovery.js';
import { type IndexState, openIndex, setState, translated } from './index-schema.js';
import type { CacheLayout } from './layout.js';
import { readPinFiles, removePinFile, writePinFile } from './pin-files.js';

/** How the index was found. */
export interface IndexStart {
  readonly totals: IndexTotals;
  readonly state: IndexState;
  /** Some files were set aside and wait to be verified. */
  readonly suspects: boolean;
  /** False where a full disk has no room for the index: it is in memory, and made anew next time. */
  readonly onDisk: boolean;
}

export type IndexCalls = ReturnType<typeof openIndexCalls>;
export type IndexMethod = keyof IndexCalls;

/**
 * Opens the index and gives the calls that the cache makes. All of them block: they run in a thread
 * of their own (index-worker.ts), so that neither a hanging disk nor a large transaction stops reads.
 * A lost or damaged index is made anew; where even that fails, or the disk is full, it is kept in
 * memory.
 */
export function openIndexCalls(layout: CacheLayout) {
  for (let attempt = 1; attempt <= 2; attempt++) {
    try {
      return translated(() => startIndex(layout, layout.index));
    } catch (error) {
      if (!isThinError(error)) throw error;
      if (error.code === 'no-space') break; // it is whole, and is used again when there is room
      for (const suffix of ['', '-wal', '-shm', '-journal']) {
        rmSync(layout.index + suffix, { force: true });
      }
    }
  }
  return translated(() => startIndex(layout, ':memory:'));
}

function startIndex(layout: CacheLayout, path: string) {
  const { database, state } = openIndex(path);
  try {
    return indexCalls(layout, database, state, path !== ':memory:');
  } catch (error) {
    database.close();
    throw error;
  }
}

function indexCalls(layout: CacheLayout, database: Database, state: IndexState, onDisk: boolean) {
  const files = fileCalls(database);
  const images = imageCalls(database);
  const packed = packedCalls(database);
  const found = recover(database, layout, state, (placed) => {
    files.apply({ placed, removed: [], touched: [], chunks: [] });
  });
  // Whose files these are was lost with the index; of an empty cache there is nothing to know.
  const empty = found.suspects + found.partialFiles === 0;
  if (state === 'lost' && !empty) setState(database, 'known', 0);
  restorePins(layout, images);
  const suspects = hasSuspects(layout);
  const start: IndexStart = { totals: files.totals(), state, suspects, onDisk };
  return {
    ...files,
    ...images,
    ...evictionCalls(database),

    /** Adds files to an image's. */
    addPackedMembers: packed.addMembers,

    /** Records complete files that were placed in a tier. */
    placePacked: (tier: string, placed: Uint8Array): IndexTotals => {
      packed.place(tier, placed);
      return files.totals();
    },

    start: (): IndexStart => start,

    /** Makes an image whose files were added one that keeps them. @param metadata path of its tree */
    pinImage: (image: string, metadata: string): void => {
      writePinFile(layout.pinned, image, metadata);
      images.pin(image);
    },

    unpinImage: (image: string): void => {
      removePinFile(layout.pinned, image);
      images.unpin(image);
    },

    /** @param clean whether all that is on the disk is recorded and durable */
    close: (clean: boolean): void => {
      if (clean && onDisk) setState(database, 'clean', 1);
      database.close();
    },
  };
}

/** The lists on the disk are what counts: what the tables lost, or have too much, follows them. */
function restorePins(layout: CacheLayout, images: ReturnType<typeof imageCalls>): void {
  const inTables = new Set(images.pinnedImages());
  for (const { image, files } of readPinFiles(layout.pinned)) {
    if (inTables.delete(image)) continue;
    const known = filesOfPinned(files);
    if (known === undefined) continue;
    images.addMembers(image, known);
    images.completeMembers(image);
    images.pin(image);
  }
  for (const image of inTables) images.unpin(image);
}

/** Undefined if they cannot be known any more. */
function filesOfPinned(files: () => FileRef[]): FileRef[] | undefined {
  try {
    return files();
  } catch (error) {
    if (isThinError(error, 'corrupt', 'invalid')) return undefined;
    throw error;
  }
}
