import type { Frame } from '../chunk/frame.js';
import type { Digest } from '../digest.js';
import { ThinError } from '../errors.js';
import { type OnItsWay, onItsWay } from '../on-its-way.js';
import { systemClock } from './clock.js';
import { type FetchCounts, fetchCounts } from './counted-frames.js';
import { fetchRun } from './frame-run.js';
import { healthOf } from './source-health.js';
import type { Blob, Store } from './store.js';
import { storeError } from './store-error.js';

/** Bytes of one request: several begin at the same time, as connections begin slowly. */
const partBytes = 2 * 1024 * 1024;
/** Bytes that are handed on together. */
const pieceBytes = 64 * 1024;

/** The beginning of a pack, on its way or in memory: raw bytes, until it is known what is in them. */
export class PackAhead implements AsyncDisposable {
  readonly counts: FetchCounts;
  readonly #pack: Digest;
  readonly #length: number;
  readonly #pieces: OnItsWay<Buffer>[] = [];
  /** Those that will not come. */
  readonly #failed = new Set<OnItsWay<Buffer>>();
  readonly #abort = new AbortController();
  readonly #fetches: Promise<void>[] = [];

  /** @param length bytes that are asked for, at once */
  constructor(store: Store, pack: Blob, length: number) {
    this.counts = fetchCounts(store.toString());
    this.#pack = pack.digest;
    this.#length = length;
    for (let at = 0; at < length; at += pieceBytes) {
      const piece = onItsWay<Buffer>();
      piece.promise.catch(() => this.#failed.add(piece));
      this.#pieces.push(piece);
    }
    for (let at = 0; at < length; at += partBytes) {
      this.#fetches.push(this.#fetch(store, pack, at, Math.min(at + partBytes, length)));
    }
  }

  /** Whether all of a frame was asked for, has not failed, and is not forgotten. */
  has(frame: Frame): boolean {
    const isOurs = frame.pack === this.#pack && frame.offset + frame.length <= this.#length;
    if (this.#abort.signal.aborted || !isOurs) return false;
    return !this.#piecesOf(frame).some((piece) => this.#failed.has(piece));
  }

  #piecesOf({ offset, length }: Frame): readonly OnItsWay<Buffer>[] {
    const first = Math.floor(offset / pieceBytes);
    return this.#pieces.slice(first, Math.ceil((offset + length) / pieceBytes));
  }

  /**
   * A frame's bytes as they are in the pack, not verified, when they have come.
   * @throws ThinError why they have not; `canceled`
   */
  async read(frame: Frame, signal: AbortSignal): Promise<Buffer> {
    const bytes = Buffer.concat(await unlessAborted(this.#piecesOf(frame), signal));
    const start = frame.offset % pieceBytes;
    return bytes.subarray(start, start + frame.length);
  }

  /** Never fails: who waits for the bytes is told. */
  async #fetch(store: Store, pack: Blob, start: number, end: number): Promise<void> {
    const frames: Frame[] = [];
    for (let offset = start; offset < end; offset += pieceBytes) {
      const length = Math.min(pieceBytes, end - offset);
      const place = { pack: pack.digest, offset, length, plainLength: length };
      frames.push({ ...place, codec: 'stored' });
    }
    const source = { store, health: healthOf(store, systemClock), counts: this.counts };
    const of = ({ offset }: Frame) => this.#pieces[offset / pieceBytes];
    try {
      await fetchRun(source, pack, frames, this.#abort.signal, {
        background: false,
        onFrame: (frame, bytes) => of(frame)?.resolve(bytes),
      });
    } catch (error) {
      for (const frame of frames) of(frame)?.reject(error);
    }
  }

  /** Frees the memory. */
  async [Symbol.asyncDispose](): Promise<void> {
    this.#abort.abort(new ThinError('canceled', 'Cannot fetch ahead: it is no longer wanted'));
    await Promise.all(this.#fetches);
    this.#pieces.length = 0;
  }
}

function unlessAborted(
  pieces: readonly OnItsWay<Buffer>[],
  signal: AbortSignal,
): Promise<Buffer[]> {
  return new Promise((resolve, reject) => {
    const giveUp = () => reject(storeError('Cannot fetch frame', signal.reason, signal));
    if (signal.aborted) return giveUp();
    signal.addEventListener('abort', giveUp, { once: true });
    Promise.all(pieces.map(({ promise }) => promise))
      .finally(() => signal.removeEventListener('abort', giveUp))
      .then(resolve, reject);
  });
}
