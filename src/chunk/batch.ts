import type { Run } from '../../native-bindings/cut-and-hash.js';
import { uncutBytesMax } from './cutter.js';

/** Bytes that one call of the addon cuts: some milliseconds of work, and small against memory. */
export const batchBytesMax = 1024 * 1024;
/** Bytes of holes in one batch: some 30 ms of hashing zeros. */
const holeBytesMax = 64 * 1024 * 1024;
/** Stretches in one batch: bounds its bookkeeping where files are empty or tiny. */
const runsMax = 8192;

/** What a file must tell to be cut. */
export interface CutFile {
  /** Bytes, holes included. */
  readonly size: number;
}

/** Bytes of consecutive files on their way to the addon. The last one may go on in the next batch. */
export class Batch<File extends CutFile> {
  readonly runs: Run[] = [];
  readonly #storage = Buffer.allocUnsafeSlow(batchBytesMax);
  #used: number = 0;
  #holes: number = 0;
  #files: File[] = [];
  #endedCount: number = 0;

  /** The bytes of all runs that are no holes. */
  get bytes(): Buffer {
    return this.#storage.subarray(0, this.#used);
  }

  /** Files with bytes in this batch, in order: the first may go on here, the last go on later. */
  get files(): readonly File[] {
    return this.#files;
  }

  /** How many of the files end in this batch. */
  get endedCount(): number {
    return this.#endedCount;
  }

  /** Plain bytes that still go in; 0 says that the batch is full. */
  get room(): number {
    return this.runs.length < runsMax ? batchBytesMax - this.#used : 0;
  }

  get holeRoom(): number {
    return this.runs.length < runsMax ? holeBytesMax - this.#holes : 0;
  }

  /** Goes on with a file that began in an earlier batch. */
  resume(file: File): void {
    this.#files.push(file);
  }

  begin(file: File): void {
    this.#files.push(file);
    const begins = file.size <= uncutBytesMax ? 'uncut' : 'cut';
    this.runs.push({ length: 0, hole: false, begins, ends: false });
  }

  /** @param bytes at most {@link room} */
  append(bytes: Buffer): void {
    bytes.copy(this.#storage, this.#used);
    this.#used += bytes.length;
    this.#lastRun(false).length += bytes.length;
  }

  /** @param length at most {@link holeRoom} */
  appendHole(length: number): void {
    this.#holes += length;
    this.#lastRun(true).length += length;
  }

  end(): void {
    this.#lastRun(this.runs.at(-1)?.hole ?? false).ends = true;
    this.#endedCount++;
  }

  clear(): void {
    this.runs.length = 0;
    this.#used = 0;
    this.#holes = 0;
    this.#files = [];
    this.#endedCount = 0;
  }

  #lastRun(hole: boolean): Run {
    const last = this.runs.at(-1);
    if (last && !last.ends && last.hole === hole) return last;
    const run: Run = { length: 0, hole, begins: false, ends: false };
    this.runs.push(run);
    return run;
  }
}
