import { closeSync, openSync, readSync, writeSync } from 'node:fs';
import { fromSystemError, type ThinError } from '../src/errors.js';
import type { LayerEntry } from '../src/image/layer-entry.js';
import { EntryDecoder, encodeEntry, entrySize, malformed } from '../src/layer/entry-codec.js';

/** Bytes of one read or write: the file is in the page cache, so the calls block nobody for long. */
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
  *pieces(): Generator<Buffer, void> {
    const file = this.#open();
    const piece = Buffer.allocUnsafeSlow(pieceBytes);
    try {
      for (let read = readSync(file, piece); read > 0; read = readSync(file, piece)) {
        yield piece.subarray(0, read);
      }
    } catch (error) {
      throw fromSystemError(`Cannot read ${this.#path}`, error);
    } finally {
      closeSync(file);
    }
  }

  /** @throws ThinError `corrupt` if they came malformed out of the conversion index */
  *[Symbol.iterator](): Generator<LayerEntry, void> {
    const decoder = new EntryDecoder();
    let rest: Buffer = Buffer.alloc(0);
    for (const piece of this.pieces()) {
      const bytes = rest.length === 0 ? piece : Buffer.concat([rest, piece]);
      let at = 0;
      for (;;) {
        const length = EntryDecoder.lengthAt(bytes, at);
        if (length === undefined || length > bytes.length - at) break;
        yield decoder.decode(bytes.subarray(at, at + length));
        at += length;
      }
      rest = Buffer.from(bytes.subarray(at));
    }
    if (rest.length > 0) throw malformed();
  }

  /** Reads them once. @throws ThinError `corrupt` if they are malformed */
  check(): void {
    const entries = this[Symbol.iterator]();
    while (entries.next().done !== true);
  }

  #open(): number {
    try {
      return openSync(this.#path, 'r');
    } catch (error) {
      throw fromSystemError(`Cannot read ${this.#path}`, error);
    }
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
