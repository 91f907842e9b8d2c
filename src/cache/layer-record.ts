import { createHash } from 'node:crypto';
import { statSync } from 'node:fs';
import type { ByteString } from '../byte-string.js';
import { type Digest, digestFromBytes, digestSize } from '../digest.js';
import { fromSystemError, ThinError } from '../errors.js';
import type { LayerEntry } from '../image/layer-entry.js';
import { decodeEntries, decodePaths, filePieces } from '../layer/entry-file.js';
import type { LayerSummary } from '../layer/read-layer.js';
import {
  headerFields,
  headerSize,
  magic,
  recordVersion,
  trailerFields,
  trailerSize,
} from './layer-record-format.js';
import { blocksOf } from './record-blocks.js';

/**
 * A layer's record on the disk, verified: see layer-record-format.ts. Of a layer with a million files
 * no more than some hundred of its entries are in memory.
 */
export class LayerRecordFile {
  readonly summary: LayerSummary;
  /** False if none of its entries is one. */
  readonly mayHaveWhiteouts: boolean;
  readonly #path: string;
  readonly #trailerAt: number;
  readonly #count: number;

  /**
   * Reads it once. Blocks, as going through its entries does.
   * @throws ThinError `not-found`; `corrupt` if it is no record, damaged, or of another version
   */
  static open(path: string): LayerRecordFile {
    const size = sizeOf(path);
    if (size < headerSize + trailerSize) throw damaged('it is too short');
    checkHeader(bytesOf(path, 0, headerSize));
    const trailer = bytesOf(path, size - trailerSize, size);
    const hash = createHash('sha256');
    for (const piece of filePieces(path, 0, size - digestSize)) hash.update(piece);
    if (!hash.digest().equals(trailer.subarray(trailerFields.checksum))) {
      throw damaged('its checksum is wrong');
    }
    return new LayerRecordFile(path, size - trailerSize, trailer);
  }

  private constructor(path: string, trailerAt: number, trailer: Buffer) {
    const field = trailerFields;
    this.mayHaveWhiteouts = trailer.readDoubleLE(field.whiteouts) > 0;
    this.#path = path;
    this.#trailerAt = trailerAt;
    this.#count = trailer.readDoubleLE(field.entries);
    this.summary = {
      digest: digestFromBytes(trailer, field.digest),
      diffId: digestFromBytes(trailer, field.diffId),
      compressedBytes: trailer.readDoubleLE(field.compressedBytes),
      plainBytes: trailer.readDoubleLE(field.plainBytes),
    };
  }

  /** May be gone through any number of times. @throws ThinError `corrupt`, `not-found` */
  get entries(): Iterable<LayerEntry> {
    return { [Symbol.iterator]: () => this.#decode() };
  }

  /** Their paths, for a fraction of the time. */
  get paths(): Iterable<ByteString> {
    return { [Symbol.iterator]: () => decodePaths(this.#entryPieces()) };
  }

  #entryPieces(): Generator<Buffer, void> {
    return blocksOf(this.#path, headerSize, this.#trailerAt);
  }

  *#decode(): Generator<LayerEntry, void> {
    let count = 0;
    for (const entry of decodeEntries(this.#entryPieces())) {
      count += 1;
      yield entry;
    }
    if (count !== this.#count) throw damaged(`it has ${count} entries (wanted ${this.#count})`);
  }
}

function sizeOf(path: string): number {
  try {
    return statSync(path).size;
  } catch (error) {
    throw fromSystemError(`Cannot read layer record ${path}`, error);
  }
}

/** A few bytes of it. */
function bytesOf(path: string, from: number, to: number): Buffer {
  return Buffer.concat([...filePieces(path, from, to)]);
}

function checkHeader(header: Buffer): void {
  if (!header.subarray(0, magic.length).equals(magic)) throw damaged('it does not begin as one');
  const version = header.readUInt32LE(headerFields.version);
  if (version !== recordVersion) throw damaged(`version ${version} (wanted ${recordVersion})`);
}

function damaged(what: string): ThinError {
  return new ThinError('corrupt', `Cannot read layer record: ${what}`);
}

/** A file of a record: what has to be in a tier for the record to stand for its layer. */
export interface RecordedFile {
  readonly content: Digest;
  readonly size: number;
}

/** The files of a record that have bytes, as often as the layer names them. */
export function* filesOf(record: LayerRecordFile): Generator<RecordedFile, void> {
  for (const entry of record.entries) {
    if (entry.type === 'file' && entry.size > 0) yield entry;
  }
}
