import * as fs from 'node:fs';
import {
  type FileSpan,
  FileStore,
  type FileStorePlace,
  type StoredFile,
} from '../../native-bindings/file-store.js';
import { syncFileSystem } from '../../native-bindings/sync-file-system.js';
import type { Digest } from '../digest.js';

/** What `stat` tells that the cache uses. `allocated`: bytes of disk taken (st_blocks). */
export interface DiskStat {
  readonly size: number;
  readonly allocated: number;
}

/** Room on a file system, as `statfs` tells it. */
export interface DiskSpace {
  readonly freeBytes: number;
  /** `Infinity` where the file system makes inodes as needed (btrfs tells 0 of 0). */
  readonly freeInodes: number;
}

/**
 * The file-system calls by which the cache touches its files, and no others: tests count them, fail
 * them and kill the process at each of them. Errors are those of Node (`code` is the errno's name).
 */
export interface Disk {
  open(path: string, flags: number): Promise<number>;
  close(fd: number): Promise<void>;
  /** Fills `into` from `position`; fewer bytes only at the end of the file. */
  read(fd: number, into: Buffer, position: number): Promise<number>;
  /** Writes all of `bytes` at `position`. */
  write(fd: number, bytes: Buffer, position: number): Promise<void>;
  truncate(fd: number, size: number): Promise<void>;
  stat(fd: number): Promise<DiskStat>;
  exists(path: string): Promise<boolean>;
  rename(from: string, to: string): Promise<void>;
  unlink(path: string): Promise<void>;
  space(path: string): Promise<DiskSpace>;
  /**
   * Opens the directories of a place that will be asked for files, at once: it waits for them as nothing
   * else here does. @throws ThinError `not-found`, `denied` if one of them cannot be used
   */
  openPlace(place: FileStorePlace): void;
  /** The contents that are in no directory of a place, by one call. */
  missing(place: FileStorePlace, contents: readonly Digest[]): Promise<readonly Digest[]>;
  /** Files that are whole in `bytes`, named by what they are; all by one call, as most files are small. */
  storeAll(
    place: FileStorePlace,
    bytes: Buffer,
    files: readonly FileSpan[],
  ): Promise<readonly StoredFile[]>;
  /** Makes everything written so far to the file system that holds `path` durable (syncfs). */
  sync(path: string): Promise<void>;
}

/** Opens for reading and writing, never through a symbolic link. */
export const openToWrite = fs.constants.O_RDWR | fs.constants.O_NOFOLLOW;
/** The same, and makes the file if it is missing. */
export const openOrCreate = openToWrite | fs.constants.O_CREAT;
/** Creates a file that must not exist. */
export const createNew = openOrCreate | fs.constants.O_EXCL;
export const openToRead = fs.constants.O_RDONLY | fs.constants.O_NOFOLLOW;

/** Everybody may read a tier's file (the root directory is closed); nobody changes it. */
const fileMode = 0o644;

/** The errno's name of a system error, or an empty string. */
export function errnoName(error: unknown): string {
  return error instanceof Error && 'code' in error ? String(error.code) : '';
}

/** The real disk, through Node's thread pool: plain descriptors, as FileHandle costs more a call. */
export const nodeDisk: Disk = {
  open: (path, flags) => settled<number>((done) => fs.open(path, flags, fileMode, done)),
  close: (fd) => settled<void>((done) => fs.close(fd, done)),
  read: readFully,
  write: writeFully,
  truncate: (fd, size) => settled<void>((done) => fs.ftruncate(fd, size, done)),
  stat: async (fd) => {
    const { size, blocks } = await settled<fs.Stats>((done) => fs.fstat(fd, done));
    return { size, allocated: blocks * 512 };
  },
  exists: (path) =>
    new Promise((resolve) => {
      fs.access(path, (error) => resolve(error === null));
    }),
  rename: (from, to) => settled<void>((done) => fs.rename(from, to, done)),
  unlink: (path) => settled<void>((done) => fs.unlink(path, done)),
  space: async (path) => {
    const found = await settled<fs.StatsFs>((done) => fs.statfs(path, done));
    return {
      freeBytes: found.bavail * found.bsize,
      freeInodes: found.files === 0 ? Number.POSITIVE_INFINITY : found.ffree,
    };
  },
  openPlace: storeAt,
  missing: async (place, contents) => await storeAt(place).missing(contents),
  storeAll,
  sync: syncFileSystem,
};

const stores = new WeakMap<FileStorePlace, FileStore>();

function storeAt(place: FileStorePlace): FileStore {
  const store = stores.get(place) ?? new FileStore(place);
  stores.set(place, store);
  return store;
}

async function storeAll(place: FileStorePlace, bytes: Buffer, files: readonly FileSpan[]) {
  try {
    return await storeAt(place).store(bytes, files);
  } catch (error) {
    throw error instanceof Error && error.cause !== undefined ? error.cause : error; // that of Node
  }
}

type Done<T> = (error: Error | null, value?: T) => void;

/** A promise of a callback's value; the calls that use it always give one unless they fail. */
function settled<T>(start: (done: Done<T>) => void): Promise<T> {
  return new Promise((resolve, reject) => {
    start((error, value) => (error === null ? resolve(value as T) : reject(error)));
  });
}

function readFully(fd: number, into: Buffer, position: number): Promise<number> {
  return new Promise((resolve, reject) => {
    const next = (filled: number) => {
      fs.read(fd, into, filled, into.length - filled, position + filled, (error, count) => {
        if (error !== null) reject(error);
        else if (count === 0 || filled + count === into.length) resolve(filled + count);
        else next(filled + count);
      });
    };
    next(0);
  });
}

function writeFully(fd: number, bytes: Buffer, position: number): Promise<void> {
  return new Promise((resolve, reject) => {
    const next = (written: number) => {
      fs.write(fd, bytes, written, bytes.length - written, position + written, (error, count) => {
        if (error !== null) reject(error);
        else if (written + count === bytes.length) resolve();
        else next(written + count);
      });
    };
    if (bytes.length === 0) resolve();
    else next(0);
  });
}
