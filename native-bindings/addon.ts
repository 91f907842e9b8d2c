import { existsSync } from 'node:fs';
import { createRequire } from 'node:module';
import { fileURLToPath } from 'node:url';
import { ThinError } from '../src/errors.js';

/** Of the exports below; src/entry.cc has the same number. */
const interfaceVersion = 10;

declare const handleOf: unique symbol;
/** State that C++ keeps between calls; freed when it is collected. */
interface Handle<Kind extends string> {
  readonly [handleOf]: Kind;
}
export type ZstdInflaterHandle = Handle<'zstd-inflater'>;
export type GzipInflaterHandle = Handle<'gzip-inflater'>;
export type CutterHandle = Handle<'cutter'>;
export type FileStoreHandle = Handle<'file-store'>;
export type SpoolHandle = Handle<'spool'>;
export type HashHandle = Handle<'hash'>;
/** Bytes taken from the input, bytes put into the output, and whether the input may end here. */
export type InflateStep = readonly [consumed: number, produced: number, complete: boolean];

/**
 * What C++ exports. Only the files of this folder call it: they validate and convert errors.
 * Buffers given to a call that returns a promise are read and written until it is settled.
 */
export interface Addon {
  readonly interfaceVersion: number;
  zstdCompressBound(length: number): number;
  zstdCompress(input: Buffer, output: Buffer, level: number, prefix: Buffer): Promise<number>;
  zstdCompressNow(input: Buffer, output: Buffer, level: number): number;
  zstdDecompress(input: Buffer, output: Buffer, prefix: Buffer): Promise<void>;
  zstdDecompressNow(input: Buffer, output: Buffer): void;
  zstdInflaterOpen(windowLogMax: number): ZstdInflaterHandle;
  zstdInflaterStep(handle: ZstdInflaterHandle, input: Buffer, output: Buffer): Promise<InflateStep>;
  gzipInflaterOpen(): GzipInflaterHandle;
  gzipInflaterStep(handle: GzipInflaterHandle, input: Buffer, output: Buffer): Promise<InflateStep>;
  cutterOpen(
    gear: Buffer,
    minimum: number,
    normal: number,
    maximum: number,
    maskBelow: number,
    maskAbove: number,
  ): CutterHandle;
  cutAndHash(handle: CutterHandle, bytes: Buffer, runs: Buffer, records: Buffer): Promise<number>;
  fileStoreOpen(directory: Buffer, incoming: Buffer, others: Buffer): FileStoreHandle;
  storeFiles(
    store: FileStoreHandle,
    bytes: Buffer,
    spans: Buffer,
    records: Buffer,
    find: number,
  ): Promise<void>;
  findFiles(store: FileStoreHandle, digests: Buffer, found: Buffer): Promise<void>;
  sortFiles(store: FileStoreHandle, digests: Buffer, sizes: Buffer, counts: Buffer): Promise<void>;
  spoolOpen(store: FileStoreHandle): SpoolHandle;
  spoolWrite(spool: SpoolHandle, hole: number, bytes: Buffer): Promise<void>;
  spoolCommit(spool: SpoolHandle, record: Buffer): Promise<void>;
  hashOpen(): HashHandle;
  hashUpdate(hash: HashHandle, bytes: Buffer): Promise<void>;
  hashDigest(hash: HashHandle, digest: Buffer): void;
  copyVerified(
    source: Buffer,
    incoming: Buffer,
    target: Buffer,
    digest: Buffer,
    size: number,
    wanted: Buffer,
    offset: number,
  ): Promise<number>;
  trimMemory(): void;
  residentMemory(bytes: number): Buffer;
  listXattrs(path: Buffer): Promise<Buffer>;
  getXattr(path: Buffer, name: Buffer): Promise<Buffer | undefined>;
  setXattr(path: Buffer, name: Buffer, value: Buffer): Promise<void>;
  mount(source: Buffer, target: Buffer, type: Buffer, flags: number, data: Buffer): Promise<void>;
  unmount(target: Buffer, flags: number): Promise<void>;
  mountWithSettings(
    type: Buffer,
    settings: Buffer,
    attributes: number,
    target: Buffer,
  ): Promise<void>;
  reconfigureMount(target: Buffer, settings: Buffer): Promise<void>;
  attachLoop(path: Buffer, blockSize: number, directIo: number): Promise<[number, number]>;
  syncFileSystem(path: Buffer): Promise<void>;
  setTime(path: Buffer, seconds: number, nanoseconds: number): Promise<void>;
  socketPair(): [number, number];
  receiveFd(socket: number, timeoutMs: number): Promise<number>;
}

/** This folder, seen from its sources and from `dist/native-bindings/`; a prebuilt one first. */
const candidates = ['./', '../../native-bindings/'].flatMap((folder) =>
  [`prebuilds/${process.platform}-${process.arch}`, 'build/Release'].map((place) =>
    fileURLToPath(new URL(`${folder}${place}/thinfs.node`, import.meta.url)),
  ),
);

let loaded: Addon | undefined;

/**
 * The addon, loaded at the first call in each thread.
 * @throws ThinError `unavailable`, with what to run, if it was not built or does not fit this Node
 */
export function addon(): Addon {
  loaded ??= loadAddon(candidates);
  return loaded;
}

/** @param paths where to look, best first: the first that exists is used. */
export function loadAddon(paths: readonly string[]): Addon {
  const path = paths.find((candidate) => existsSync(candidate));
  if (path === undefined) throw unusable('it was not built');
  try {
    const found: Addon = createRequire(import.meta.url)(path);
    if (found.interfaceVersion === interfaceVersion) return found;
  } catch (error) {
    throw unusable(`${path} does not fit this system`, error);
  }
  throw unusable(`${path} was built from other sources`);
}

function unusable(reason: string, cause?: unknown): ThinError {
  return new ThinError(
    'unavailable',
    `Cannot load the native addon: ${reason} (Node ${process.version}, ${process.platform}-` +
      `${process.arch}); run "npm run build:native", which needs libzstd-dev and libisal-dev`,
    { cause },
  );
}
