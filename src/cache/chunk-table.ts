import { createHash } from 'node:crypto';
import type { Chunk } from '../chunk/frame.js';
import { digestBytes, digestHex, digestOf } from '../digest.js';
import { ThinError } from '../errors.js';
import type { FileRef } from './file-origin.js';

/** A file's chunks with their offsets: answers which chunks a range needs. */
export class ChunkTable {
  readonly chunks: readonly Chunk[];
  /** Where chunk `i` begins; one more entry at the end for the file's size. */
  readonly #starts: Float64Array;

  /** @throws ThinError `corrupt` if the chunks are not the file's size, or there is an empty one */
  constructor(file: FileRef, chunks: readonly Chunk[]) {
    this.chunks = chunks;
    this.#starts = new Float64Array(chunks.length + 1);
    let at = 0;
    for (const [index, chunk] of chunks.entries()) {
      if (!(chunk.length > 0)) throw contradiction(file, `chunk ${index} is empty`);
      at += chunk.length;
      this.#starts[index + 1] = at;
    }
    if (at !== file.size) throw contradiction(file, `its chunks are ${at} bytes`);
    if (chunks.length === 1 && chunks[0]?.digest !== file.content) {
      throw contradiction(file, `its only chunk is ${chunks[0]?.digest}`);
    }
  }

  /** Bytes of the file before chunk `index`; at `chunks.length`, the file's size. */
  start(index: number): number {
    return this.#starts[index] ?? Number.NaN;
  }

  /** All of `start`, the file's size last, where other threads can read it. */
  sharedStarts(): Float64Array {
    const shared = new Float64Array(new SharedArrayBuffer(this.#starts.byteLength));
    shared.set(this.#starts);
    return shared;
  }

  chunk(index: number): Chunk {
    const chunk = this.chunks[index];
    if (chunk === undefined) throw new RangeError(`No chunk ${index} of ${this.chunks.length}`);
    return chunk;
  }

  /** Index of the chunk that holds byte `offset`, which is inside the file. */
  indexAt(offset: number): number {
    let low = 0;
    let high = this.chunks.length - 1;
    while (low < high) {
      const middle = (low + high + 1) >> 1;
      if (this.start(middle) <= offset) low = middle;
      else high = middle - 1;
    }
    return low;
  }

  /**
   * Names the file *and* its chunk list (64 hex digits). A partial file is kept under this name:
   * an image whose chunk map lies about a content digest can fill only a file of its own.
   */
  key(file: FileRef): string {
    const hash = createHash('sha256').update('thinfs partial file 1\n');
    hash.update(`${digestHex(file.content)} ${file.size}\n`);
    for (const chunk of this.chunks)
      hash.update(digestBytes(chunk.digest)).update(`${chunk.length} `);
    return hash.digest('hex');
  }
}

/** True if `bytes` are the chunk. */
export function isChunk(chunk: Chunk, bytes: Buffer): boolean {
  return bytes.length === chunk.length && digestOf(bytes) === chunk.digest;
}

function contradiction(file: FileRef, what: string): ThinError {
  return new ThinError(
    'corrupt',
    `Cannot read file ${file.content} of ${file.size} bytes: the image's chunk map contradicts it: ${what}`,
  );
}
