import { type Digest, digestFromBytes, digestHex, digestSize } from '../src/digest.js';
import { ThinError } from '../src/errors.js';
import type { FileColumns } from '../src/file-columns.js';
import { addon, type FileStoreHandle, type SpoolHandle } from './addon.js';
import { fromNativeError } from './native-error.js';

/** Where files are stored: `xx/<64 hex>` in a directory whose 256 folders exist. */
export interface FileStorePlace {
  readonly directory: string;
  /** On the same file system, for files on their way where those cannot be without a name. */
  readonly incoming: string;
  /** Other directories of the same form: what is there is not stored again. */
  readonly others: readonly string[];
}

/** A file in a buffer. */
export interface FileSpan {
  readonly offset: number;
  readonly length: number;
}

export interface StoredFile {
  readonly content: Digest;
  /** False if the same content was here. */
  readonly isNew: boolean;
  /** Bytes of disk that it takes, if it is new. */
  readonly allocated: number;
}

const recordSize = 48; // outcome u32, reserved u32, allocated f64, SHA-256
const allocatedAt = 8;
const digestAt = 16;
const storedNew = 1;
const wasHere = 2;
const nothing = Buffer.alloc(0);
const action = 'Cannot store files';
/** Zeros of one call, which cannot be stopped: 0.1 s of hashing. */
const holeBytesMax = 256 * 1024 * 1024;

/**
 * Stores files under the SHA-256 of their content, on other threads: hash, write, name. A file
 * appears whole or not at all; none is synced. Any number of calls may run at once.
 */
export class FileStore {
  readonly #handle: FileStoreHandle;

  /** @throws ThinError `not-found`, `denied` if a directory cannot be used */
  constructor({ directory, incoming, others }: FileStorePlace) {
    const list = others.map((other) => `${other}\0`).join('');
    try {
      const [at, on] = [Buffer.from(directory), Buffer.from(incoming)];
      this.#handle = addon().fileStoreOpen(at, on, Buffer.from(list));
    } catch (error) {
      throw fromNativeError(`Cannot store files in ${directory}`, error);
    }
  }

  /**
   * Stores files that are whole in `bytes`.
   * @param bytes must not change until the promise is settled
   * @throws ThinError `no-space`, `denied`, `unavailable`; some may be stored then
   */
  async store(bytes: Buffer, files: readonly FileSpan[]): Promise<StoredFile[]> {
    const records = await this.#each(bytes, files, false);
    return files.map((_, index) => decodeRecord(records, index * recordSize));
  }

  /** Hashes files that are whole in `bytes`, and tells which of them are here. */
  async find(bytes: Buffer, files: readonly FileSpan[]): Promise<boolean[]> {
    const records = await this.#each(bytes, files, true);
    return files.map((_, index) => records.readUInt32LE(index * recordSize) === wasHere);
  }

  async #each(bytes: Buffer, files: readonly FileSpan[], find: boolean): Promise<Buffer> {
    const spans = new Float64Array(files.length * 2);
    files.forEach(({ offset, length }, index) => {
      spans[2 * index] = offset;
      spans[2 * index + 1] = length;
    });
    const records = Buffer.alloc(files.length * recordSize);
    try {
      const [list, only] = [Buffer.from(spans.buffer), find ? 1 : 0];
      await addon().storeFiles(this.#handle, bytes, list, records, only);
      return records;
    } catch (error) {
      throw fromNativeError(action, error);
    }
  }

  /** The contents that are in none of the directories. */
  async missing(contents: readonly Digest[]): Promise<Digest[]> {
    const digests = Buffer.allocUnsafe(contents.length * digestSize);
    contents.forEach((content, at) => {
      digests.write(digestHex(content), at * digestSize, 'hex');
    });
    const found = Buffer.alloc(contents.length);
    await addon().findFiles(this.#handle, digests, found);
    return contents.filter((_, at) => found[at] === 0);
  }

  /**
   * Brings files into the order of their digests, each once.
   * @param files not to be touched until the promise is settled; they share their memory with the result
   * @returns the files, and how many of them are in none of the directories
   */
  async sorted({ digests, sizes }: FileColumns): Promise<{ files: FileColumns; missing: number }> {
    const counts = new Float64Array(2);
    const bytes = Buffer.from(sizes.buffer, sizes.byteOffset, sizes.byteLength);
    await addon().sortFiles(this.#handle, digests, bytes, Buffer.from(counts.buffer));
    const [count = 0, missing = 0] = counts;
    const files = {
      digests: digests.subarray(0, count * digestSize),
      sizes: sizes.subarray(0, count),
    };
    return { files, missing };
  }

  /** For a file too large to be held in memory. */
  spool(): FileSpool {
    return new FileSpool(addon().spoolOpen(this.#handle));
  }
}

/** One file in pieces. One call at a time; one that is not committed leaves nothing. */
export class FileSpool {
  readonly #handle: SpoolHandle;

  constructor(handle: SpoolHandle) {
    this.#handle = handle;
  }

  /**
   * @param hole zeros in front of `bytes`, which take no disk; at most 2^53
   * @param bytes must not change until the promise is settled
   * @throws ThinError `no-space`, `denied`, `unavailable`
   */
  async write(hole: number, bytes: Buffer): Promise<void> {
    if (!Number.isSafeInteger(hole) || hole < 0) {
      throw new ThinError('invalid', `${action}: a hole has ${hole} bytes`);
    }
    try {
      let left = hole;
      for (; left > holeBytesMax; left -= holeBytesMax) {
        await addon().spoolWrite(this.#handle, holeBytesMax, nothing);
      }
      await addon().spoolWrite(this.#handle, left, bytes);
    } catch (error) {
      throw fromNativeError(action, error);
    }
  }

  /** Gives the file its name, or drops it if its content was here. */
  async commit(): Promise<StoredFile> {
    const record = Buffer.alloc(recordSize);
    try {
      await addon().spoolCommit(this.#handle, record);
    } catch (error) {
      throw fromNativeError(action, error);
    }
    return decodeRecord(record, 0);
  }
}

function decodeRecord(records: Buffer, at: number): StoredFile {
  return {
    content: digestFromBytes(records, at + digestAt),
    isNew: records.readUInt32LE(at) === storedNew,
    allocated: records.readDoubleLE(at + allocatedAt),
  };
}
