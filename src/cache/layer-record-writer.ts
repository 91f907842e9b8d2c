import { createHash } from 'node:crypto';
import { closeSync, openSync, renameSync, rmSync, writeSync } from 'node:fs';
import { type Digest, digestHex } from '../digest.js';
import { fromSystemError } from '../errors.js';
import type { LayerEntry } from '../image/layer-entry.js';
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

/** Bytes gathered before they are written. */
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
  #entries = 0;
  #phase: 'open' | 'closed' = 'open';

  /** @param path of a file that does not exist yet; it is removed if the record is not finished */
  constructor(path: string) {
    this.#path = path;
    try {
      this.#fd = openSync(path, 'wx', 0o600);
    } catch (error) {
      throw fromSystemError(`Cannot write layer record ${path}`, error);
    }
    const header = this.#space(headerSize);
    magic.copy(header);
    header.writeUInt32LE(recordVersion, headerFields.version);
    header.writeUInt32LE(0, headerFields.version + 4);
  }

  /** In the order of the archive. @throws ThinError `no-space` */
  add(entry: LayerEntry): void {
    this.#entries += 1;
    encodeEntry(entry, this.#space(entrySize(entry)), 0);
  }

  /** The record is whole, and gets its name; not synced. */
  finish(name: string, { digest, diffId, compressedBytes, plainBytes }: LayerSummary): void {
    const trailer = this.#space(trailerSize);
    const field = trailerFields;
    trailer.writeDoubleLE(this.#entries, field.entries);
    trailer.writeDoubleLE(compressedBytes, field.compressedBytes);
    trailer.writeDoubleLE(plainBytes, field.plainBytes);
    writeDigest(trailer, digest, field.digest);
    writeDigest(trailer, diffId, field.diffId);
    this.#filled -= trailerSize - field.checksum; // is not part of what it is the sum of
    this.#flush();
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
