import { createHash } from 'node:crypto';
import { closeSync, openSync, renameSync, rmSync, writeSync } from 'node:fs';
import { type Digest, digestHex } from '../digest.js';
import { fromSystemError } from '../errors.js';
import { type LayerEntry, whiteoutPrefix } from '../image/layer-entry.js';
import { encodeEntry, entrySize } from '../layer/entry-codec.js';
import type { LayerSummary } from '../layer/read-layer.js';
import {
  headerFields,
  headerSize,
  magic,
  recordVersion,
  trailerFields,
  trailerSize,
} from './layer-record-format.js';
import { BlockWriter } from './record-blocks.js';

/** Bytes of entries gathered before they are compressed and written. */
const bufferBytes = 256 * 1024;

/**
 * Writes a layer's record while the layer is read: memory does not grow with it. For a worker thread:
 * its calls block.
 */
export class LayerRecordWriter implements Disposable {
  readonly #path: string;
  readonly #fd: number;
  readonly #hash = createHash('sha256');
  #buffer = Buffer.allocUnsafe(bufferBytes);
  #filled = 0;
  readonly #blocks = new BlockWriter();
  #entries = 0;
  #whiteouts = 0;
  #phase: 'open' | 'closed' = 'open';

  /** @param path of a file that does not exist yet; it is removed if the record is not finished */
  constructor(path: string) {
    this.#path = path;
    try {
      this.#fd = openSync(path, 'wx', 0o600);
    } catch (error) {
      throw fromSystemError(`Cannot write layer record ${path}`, error);
    }
    const header = Buffer.alloc(headerSize);
    magic.copy(header);
    header.writeUInt32LE(recordVersion, headerFields.version);
    this.#write(header);
  }

  /** In the order of the archive. @throws ThinError `no-space` */
  add(entry: LayerEntry): void {
    this.#entries += 1;
    if (entry.path.includes(whiteoutPrefix)) this.#whiteouts += 1;
    encodeEntry(entry, this.#space(entrySize(entry)), 0);
  }

  /** The record is whole, and gets its name; not synced. */
  finish(name: string, { digest, diffId, compressedBytes, plainBytes }: LayerSummary): void {
    this.#flush();
    const trailer = Buffer.alloc(trailerSize);
    const field = trailerFields;
    trailer.writeDoubleLE(this.#entries, field.entries);
    trailer.writeDoubleLE(compressedBytes, field.compressedBytes);
    trailer.writeDoubleLE(plainBytes, field.plainBytes);
    trailer.writeDoubleLE(this.#whiteouts, field.whiteouts);
    writeDigest(trailer, digest, field.digest);
    writeDigest(trailer, diffId, field.diffId);
    this.#write(trailer.subarray(0, field.checksum)); // all that it is the sum of
    try {
      writeFully(this.#fd, this.#hash.digest());
      this.#close();
      renameSync(this.#path, name);
    } catch (error) {
      throw fromSystemError(`Cannot write layer record ${this.#path}`, error);
    }
  }

  /** Removes what was not finished. */
  [Symbol.dispose](): void {
    if (this.#phase === 'closed') return;
    this.#close();
    rmSync(this.#path, { force: true });
  }

  /** Room for the next `length` bytes. */
  #space(length: number): Buffer {
    if (this.#filled + length > this.#buffer.length) this.#flush();
    if (length > this.#buffer.length) this.#buffer = Buffer.allocUnsafe(length);
    const at = this.#filled;
    this.#filled += length;
    return this.#buffer.subarray(at, this.#filled);
  }

  #flush(): void {
    const bytes = this.#buffer.subarray(0, this.#filled);
    this.#filled = 0;
    this.#blocks.write(bytes, (block) => this.#write(block));
  }

  #write(bytes: Buffer): void {
    this.#hash.update(bytes);
    try {
      writeFully(this.#fd, bytes);
    } catch (error) {
      throw fromSystemError(`Cannot write layer record ${this.#path}`, error);
    }
  }

  #close(): void {
    this.#phase = 'closed';
    closeSync(this.#fd);
  }
}

function writeDigest(into: Buffer, digest: Digest, at: number): void {
  into.write(digestHex(digest), at, 'hex');
}

function writeFully(fd: number, bytes: Buffer): void {
  for (let at = 0; at < bytes.length; ) at += writeSync(fd, bytes, at);
}
