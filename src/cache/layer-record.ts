import { createHash } from 'node:crypto';
import { type Digest, digestFromBytes, digestSize } from '../digest.js';
import { ThinError } from '../errors.js';
import type { LayerEntry } from '../image/layer-entry.js';
import { EntryDecoder } from '../layer/entry-codec.js';
import type { LayerSummary } from '../layer/read-layer.js';
import {
  headerFields,
  headerSize,
  magic,
  recordVersion,
  trailerFields,
  trailerSize,
} from './layer-record-format.js';

/** A layer's record in memory, verified: see layer-record-format.ts. Entries are decoded one by one. */
export class LayerRecordFile {
  readonly summary: LayerSummary;
  readonly #bytes: Buffer;
  readonly #count: number;

  /** @throws ThinError `corrupt` if the bytes are no record, damaged, or of a newer version */
  constructor(bytes: Buffer) {
    checkWhole(bytes);
    const trailer = bytes.subarray(bytes.length - trailerSize);
    const field = trailerFields;
    this.#bytes = bytes.subarray(0, bytes.length - trailerSize);
    this.#count = trailer.readDoubleLE(field.entries);
    this.summary = {
      digest: digestFromBytes(trailer, field.digest),
      diffId: digestFromBytes(trailer, field.diffId),
      compressedBytes: trailer.readDoubleLE(field.compressedBytes),
      plainBytes: trailer.readDoubleLE(field.plainBytes),
    };
  }

  /** May be gone through any number of times. @throws ThinError `corrupt` */
  get entries(): Iterable<LayerEntry> {
    return { [Symbol.iterator]: () => this.#decode() };
  }

  *#decode(): Generator<LayerEntry, void> {
    const decoder = new EntryDecoder();
    const bytes = this.#bytes;
    let at = headerSize;
    for (let left = this.#count; left > 0; left--) {
      const length = EntryDecoder.lengthAt(bytes, at);
      if (length === undefined || length > bytes.length - at)
        throw damaged('it ends inside an entry');
      yield decoder.decode(bytes.subarray(at, at + length));
      at += length;
    }
    if (at !== bytes.length) throw damaged('more than its entries is in it');
  }
}

function checkWhole(bytes: Buffer): void {
  if (bytes.length < headerSize + trailerSize || !bytes.subarray(0, magic.length).equals(magic)) {
    throw damaged('it does not begin as one');
  }
  const version = bytes.readUInt32LE(headerFields.version);
  if (version !== recordVersion) throw damaged(`version ${version} (wanted ${recordVersion})`);
  const end = bytes.length - digestSize;
  const sum = createHash('sha256').update(bytes.subarray(0, end)).digest();
  if (!sum.equals(bytes.subarray(end))) throw damaged('its checksum is wrong');
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
