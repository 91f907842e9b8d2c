import { closeSync, openSync, writeSync } from 'node:fs';
import { fromSystemError, type ThinError } from '../src/errors.js';
import type { LayerEntry } from '../src/image/layer-entry.js';
import { encodeEntry, entrySize } from '../src/layer/entry-codec.js';
import { decodeEntries, filePieces } from '../src/layer/entry-file.js';

/** Bytes of one write: the file is in the page cache, so the calls block nobody for long. */
const pieceBytes = 256 * 1024;

/**
 * The entries of a layer, in the order of its archive, in a file of the spool: an image may have
 * millions, and they are wanted again only at the end, once each.
 */
export class LayerEntries implements Iterable<LayerEntry> {
  readonly #path: string;

  constructor(path: string) {
    this.#path = path;
  }

  /** The file's bytes. A piece is valid until the next one is asked for. */
  pieces(): Generator<Buffer, void> {
    return filePieces(this.#path);
  }

  /** @throws ThinError `corrupt` if they came malformed out of the conversion index */
  [Symbol.iterator](): Generator<LayerEntry, void> {
    return decodeEntries(this.pieces());
  }

  /** Reads them once. @throws ThinError `corrupt` if they are malformed */
  check(): void {
    const entries = this[Symbol.iterator]();
    while (entries.next().done !== true);
  }
}

/** Writes the file of {@link LayerEntries}. */
export class EntriesWriter implements Disposable {
  readonly #path: string;
  readonly #file: number;
  #buffer = Buffer.allocUnsafeSlow(pieceBytes);
  #used: number = 0;
  #open: boolean = true;
  /** A write that failed has left a part: nothing may follow it. */
  #failure: ThinError | undefined;

  private constructor(path: string, file: number) {
    this.#path = path;
    this.#file = file;
  }

  static create(path: string): EntriesWriter {
    try {
      return new EntriesWriter(path, openSync(path, 'wx', 0o600));
    } catch (error) {
      throw fromSystemError(`Cannot create ${path}`, error);
    }
  }

  add(entry: LayerEntry): void {
    const size = entrySize(entry);
    if (size > this.#buffer.length - this.#used) this.#flush();
    if (size > this.#buffer.length) this.#buffer = Buffer.allocUnsafeSlow(size);
    this.#used = encodeEntry(entry, this.#buffer, this.#used);
  }

  /** Pieces of another such file. */
  addBytes(bytes: Buffer): void {
    this.#flush();
    this.#write(bytes);
  }

  finish(): LayerEntries {
    this.#flush();
    this[Symbol.dispose]();
    return new LayerEntries(this.#path);
  }

  [Symbol.dispose](): void {
    if (this.#open) closeSync(this.#file);
    this.#open = false;
  }

  #flush(): void {
    this.#write(this.#buffer.subarray(0, this.#used));
    this.#used = 0;
  }

  #write(bytes: Buffer): void {
    if (this.#failure) throw this.#failure;
    try {
      for (let at = 0; at < bytes.length; ) at += writeSync(this.#file, bytes, at);
    } catch (error) {
      this.#failure = fromSystemError(`Cannot write ${this.#path}`, error);
      throw this.#failure;
    }
  }
}
