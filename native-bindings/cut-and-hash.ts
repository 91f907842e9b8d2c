import { type Digest, digestFromBytes } from '../src/digest.js';
import { ThinError } from '../src/errors.js';
import { addon, type CutterHandle } from './addon.js';
import { fromNativeError } from './native-error.js';

/** What src/chunk/cutter.ts defines; sizes in bytes, masks and gear words of 32 bits. */
export interface CutterParameters {
  readonly gear: Uint32Array;
  readonly minimum: number;
  readonly normal: number;
  readonly maximum: number;
  /** A boundary is where the hash has none of these bits: below `normal` bytes, and above. */
  readonly maskBelow: number;
  readonly maskAbove: number;
}

/** A stretch of one file: the next `length` bytes of the buffer, or as many zeros. */
export interface Run {
  length: number;
  readonly hole: boolean;
  /** The file begins here. `uncut`: it is one chunk, whatever its bytes. */
  readonly begins: false | 'cut' | 'uncut';
  ends: boolean;
}

/** In the order of the bytes. A file's digest comes after all its chunks; an empty file has none. */
export type CutRecord =
  | { readonly type: 'chunk'; readonly length: number; readonly digest: Digest }
  | { readonly type: 'file'; readonly digest: Digest };

/** Bytes of all runs of one call, holes included: the answer must fit into memory. */
const bytesPerCallMax = 64 * 1024 ** 3;
const runSize = 16; // two doubles
const flag = { begins: 1, ends: 2, hole: 4, uncut: 8 } as const;
const recordSize = 40; // kind u32, length u32, SHA-256
const digestAt = 8;
const chunkKind = 1;

/**
 * Cuts and hashes a sequence of files on the libuv pool: chunk boundaries, SHA-256 of every chunk and
 * of every file. A file may go on over any number of calls.
 */
export class NativeCutter {
  readonly #handle: CutterHandle;
  readonly #parameters: CutterParameters;

  constructor(parameters: CutterParameters) {
    const { gear, minimum, normal, maximum, maskBelow, maskAbove } = parameters;
    if (!(0 < minimum && minimum <= normal && normal <= maximum && maximum < 2 ** 31)) {
      throw new ThinError(
        'invalid',
        `Cannot cut chunks of ${minimum}, ${normal}, ${maximum} bytes`,
      );
    }
    this.#parameters = parameters;
    const words = Buffer.from(gear.buffer, gear.byteOffset, gear.byteLength);
    this.#handle = addon().cutterOpen(words, minimum, normal, maximum, maskBelow, maskAbove);
  }

  /**
   * @param bytes those of all runs that are no holes, in order; must not change until the promise
   *   is settled. One call at a time.
   */
  async cut(bytes: Buffer, runs: readonly Run[]): Promise<CutRecord[]> {
    checkRuns(runs);
    const records = Buffer.allocUnsafeSlow(this.#recordsMax(runs) * recordSize);
    try {
      const count = await addon().cutAndHash(this.#handle, bytes, encodeRuns(runs), records);
      return decodeRecords(records.subarray(0, count * recordSize));
    } catch (error) {
      throw fromNativeError('Cannot cut chunks', error);
    }
  }

  #recordsMax(runs: readonly Run[]): number {
    const total = runs.reduce((sum, run) => sum + run.length, 0);
    return Math.ceil(total / this.#parameters.minimum) + 2 * runs.length + 1;
  }
}

function checkRuns(runs: readonly Run[]): void {
  let total = 0;
  for (const { length } of runs) {
    total += length;
    if (!Number.isSafeInteger(length) || length < 0 || total > bytesPerCallMax) {
      throw new ThinError('invalid', `Cannot cut a run of ${length} bytes`);
    }
  }
}

function encodeRuns(runs: readonly Run[]): Buffer {
  const words = new Float64Array(runs.length * 2);
  runs.forEach((run, index) => {
    words[index * 2] = run.length;
    words[index * 2 + 1] =
      (run.begins ? flag.begins : 0) |
      (run.begins === 'uncut' ? flag.uncut : 0) |
      (run.ends ? flag.ends : 0) |
      (run.hole ? flag.hole : 0);
  });
  return Buffer.from(words.buffer, 0, runs.length * runSize);
}

function decodeRecords(records: Buffer): CutRecord[] {
  const decoded: CutRecord[] = [];
  for (let at = 0; at < records.length; at += recordSize) {
    const digest = digestFromBytes(records, at + digestAt);
    const isChunk = records.readUInt32LE(at) === chunkKind;
    decoded.push(
      isChunk
        ? { type: 'chunk', length: records.readUInt32LE(at + 4), digest }
        : { type: 'file', digest },
    );
  }
  return decoded;
}
