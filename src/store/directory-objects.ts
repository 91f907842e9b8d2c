import { randomUUID } from 'node:crypto';
import { type FileHandle, open, readdir, rename, rm, stat } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { isThinError, ThinError } from '../errors.js';
import { makeFolder } from '../make-folder.js';
import { collect, exactly } from './byte-stream.js';
import type { ObjectRange, ObjectWriter } from './objects.js';
import { storeError } from './store-error.js';

/** Bytes of one read. */
const pieceBytes = 256 * 1024;
/** Milliseconds after which a temporary file has lost its writer: no upload takes that long. */
const temporaryAgeMax = 24 * 60 * 60 * 1000;
const temporaryFolder = 'tmp';

/**
 * Files under a folder. Any number of processes may write at once, without locks: a file is written
 * under a name of its own in `tmp/`, made durable, and renamed.
 */
export class DirectoryObjects implements ObjectWriter {
  readonly #root: string;

  constructor(root: string) {
    this.#root = root;
  }

  /** Removes what writers that were killed have left in `tmp/`. */
  async removeLeftovers(signal: AbortSignal): Promise<void> {
    const folder = join(this.#root, temporaryFolder);
    const oldest = Date.now() - temporaryAgeMax;
    for (const name of await namesIn(folder)) {
      signal.throwIfAborted();
      const path = join(folder, name);
      const { mtimeMs } = await stat(path).catch(() => ({ mtimeMs: Number.POSITIVE_INFINITY }));
      if (mtimeMs < oldest) await rm(path, { force: true });
    }
  }

  async *openRange(path: string, range: ObjectRange, signal: AbortSignal): AsyncGenerator<Buffer> {
    const action = `Cannot read ${path} of ${this}`;
    try {
      await using file = await openFile(join(this.#root, path), 'r');
      const { size } = await file.handle.stat();
      if (size !== range.size) {
        throw new ThinError('corrupt', `${action}: ${size} bytes (wanted ${range.size})`);
      }
      yield* exactly(readPieces(file.handle, range, signal), range.length, `${path} of ${this}`);
    } catch (error) {
      throw storeError(action, error, signal);
    }
  }

  async readSmall(path: string, bytesMax: number, signal: AbortSignal) {
    const action = `Cannot read ${path} of ${this}`;
    try {
      await using file = await openFile(join(this.#root, path), 'r');
      const { size } = await file.handle.stat();
      if (size > bytesMax) {
        throw new ThinError('corrupt', `${action}: ${size} bytes (wanted at most ${bytesMax})`);
      }
      const range = { offset: 0, length: size };
      return await collect(readPieces(file.handle, range, signal), size, `${path} of ${this}`);
    } catch (error) {
      const converted = storeError(action, error, signal);
      if (isThinError(converted, 'not-found')) return undefined;
      throw converted;
    }
  }

  async has(path: string, size: number, signal: AbortSignal): Promise<boolean> {
    try {
      signal.throwIfAborted();
      return (await stat(join(this.#root, path))).size === size;
    } catch (error) {
      const converted = storeError(`Cannot look for ${path} in ${this}`, error, signal);
      if (isThinError(converted, 'not-found')) return false;
      throw converted;
    }
  }

  async put(path: string, size: number, source: AsyncIterable<Buffer>, signal: AbortSignal) {
    const temporary = join(this.#root, temporaryFolder, randomUUID());
    const target = join(this.#root, path);
    try {
      signal.throwIfAborted();
      await makeDurableFolder(dirname(temporary));
      await writeFile(temporary, exactly(source, size, path), signal);
      await makeDurableFolder(dirname(target));
      await rename(temporary, target);
      await syncFolder(dirname(target));
    } catch (error) {
      await rm(temporary, { force: true });
      throw storeError(`Cannot write ${path} to ${this}`, error, signal);
    }
  }

  async adopt(path: string, size: number, file: string, signal: AbortSignal): Promise<boolean> {
    const target = join(this.#root, path);
    const action = `Cannot move ${file} to ${path} of ${this}`;
    try {
      signal.throwIfAborted();
      await checkAndSync(file, size, action);
      await makeDurableFolder(dirname(target));
      await rename(file, target);
      await syncFolder(dirname(target));
      return true;
    } catch (error) {
      if (isOtherFileSystem(error)) return false;
      throw storeError(action, error, signal);
    }
  }

  toString(): string {
    return `dir:${this.#root}`;
  }
}

async function openFile(path: string, flags: string) {
  const handle = await open(path, flags);
  return { handle, [Symbol.asyncDispose]: () => handle.close() };
}

async function namesIn(folder: string): Promise<string[]> {
  return await readdir(folder).catch(() => []);
}

async function* readPieces(
  file: FileHandle,
  range: { readonly offset: number; readonly length: number },
  signal: AbortSignal,
): AsyncGenerator<Buffer> {
  const end = range.offset + range.length;
  for (let at = range.offset; at < end; ) {
    signal.throwIfAborted();
    const piece = Buffer.allocUnsafe(Math.min(pieceBytes, end - at));
    const { bytesRead } = await file.read(piece, 0, piece.length, at);
    if (bytesRead === 0) return;
    at += bytesRead;
    yield piece.subarray(0, bytesRead);
  }
}

async function writeFile(path: string, source: AsyncIterable<Buffer>, signal: AbortSignal) {
  await using file = await openFile(path, 'wx');
  for await (const bytes of source) {
    signal.throwIfAborted();
    await file.handle.appendFile(bytes);
  }
  await file.handle.sync();
}

function isOtherFileSystem(error: unknown): boolean {
  return error instanceof Error && 'code' in error && error.code === 'EXDEV';
}

async function checkAndSync(path: string, size: number, action: string): Promise<void> {
  await using file = await openFile(path, 'r');
  const found = await file.handle.stat();
  if (found.size !== size) {
    throw new ThinError('corrupt', `${action}: ${found.size} bytes (wanted ${size})`);
  }
  await file.handle.sync();
}

/** Makes a folder and those above it, so that they are still there after a power cut. */
async function makeDurableFolder(path: string): Promise<void> {
  const first = await makeFolder(path);
  if (first === undefined) return;
  for (let at = path; at.length >= first.length; at = dirname(at)) await syncFolder(dirname(at));
}

async function syncFolder(path: string): Promise<void> {
  await using folder = await openFile(path, 'r');
  await folder.handle.sync();
}
