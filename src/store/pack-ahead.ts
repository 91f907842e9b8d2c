import type { Frame } from '../chunk/frame.js';
import { ThinError } from '../errors.js';
import { type OnItsWay, onItsWay } from '../on-its-way.js';
import { systemClock } from './clock.js';
import { type FetchCounts, fetchCounts } from './counted-frames.js';
import { fetchRun } from './frame-run.js';
import { healthOf } from './source-health.js';
import type { Blob, Store } from './store.js';
import { storeError } from './store-error.js';

/** Bytes of one request: what is in several that are under way comes out of order. */
const partBytes = 1024 * 1024;
/**
 * Requests at a time: a connection begins slowly, and pauses between two answers. With more of them what
 * is touched first comes later, and the program waits: python's start took 2.01 s in place of 1.78 s
 * with four and twice as many bytes ahead, over 100 Mbit/s and 20 ms.
 */
const partsMax = 2;
/** Bytes that are handed on together. */
const pieceBytes = 64 * 1024;
/**
 * Bytes in memory and on their way: what a line of 100 Mbit/s brings while an image is opened. What a
 * program waits for stands behind them in the line.
 */
const heldBytesMax = 4 * 1024 * 1024;

interface Piece extends OnItsWay<Buffer> {
  readonly length: number;
  /** Bytes that nobody has read. */
  unread: number;
}

/**
 * A pack on its way from its beginning, as far ahead of who reads it as memory allows: raw bytes, until
 * it is known what is in them. What was read is let go of, and as much more is asked for.
 */
export class PackAhead implements AsyncDisposable {
  readonly counts: FetchCounts;
  readonly #store: Store;
  readonly #pack: Blob;
  readonly #onRead: () => void;
  /** By number; absent before it is asked for, when all of it was read, and when it will not come. */
  readonly #pieces = new Map<number, Piece>();
  readonly #abort = new AbortController();
  readonly #fetches = new Set<Promise<void>>();
  /** By offset. */
  readonly #read = new Set<number>();
  /** Bytes from the beginning that were asked for. */
  #asked = 0;
  /** Bytes from the beginning that will be. */
  #end: number;
  /** Bytes of all pieces. */
  #held = 0;

  /**
   * @param bytesMax from the beginning of the pack: no more of it is asked for
   * @param onRead told of each frame that was read
   */
  constructor(store: Store, pack: Blob, bytesMax: number, onRead: () => void = () => {}) {
    this.counts = fetchCounts(store.toString());
    this.#store = store;
    this.#pack = pack;
    this.#onRead = onRead;
    this.#end = Math.min(pack.size, bytesMax);
    this.#ask();
  }

  /** Whether all of a frame is here, on its way, or can be asked for now: not what was read before. */
  has(frame: Frame): boolean {
    if (frame.pack !== this.#pack.digest) return false;
    if (this.#held + endOf(frame) - this.#asked <= heldBytesMax) this.#ask(endOf(frame));
    return piecesOf(frame).every((at) => this.#pieces.has(at));
  }

  /**
   * A frame's bytes as they are in the pack, not verified, when they have come. To be read once.
   * @throws ThinError why they have not; `canceled`
   */
  async read(frame: Frame, signal: AbortSignal): Promise<Buffer> {
    const pieces = piecesOf(frame).map((at) => this.#pieces.get(at)?.promise ?? gone());
    const bytes = Buffer.concat(await unlessAborted(pieces, signal));
    this.#wasRead(frame);
    const start = frame.offset % pieceBytes;
    return bytes.subarray(start, start + frame.length);
  }

  /** Frames that come another way: if they are of what is to be asked for yet, all that is does. */
  passBy(frames: readonly Frame[]): void {
    const isAhead = (frame: Frame) =>
      frame.pack === this.#pack.digest && endOf(frame) > this.#asked;
    if (frames.some(isAhead)) this.#end = this.#asked;
  }

  #wasRead(frame: Frame): void {
    this.#onRead();
    if (this.#read.has(frame.offset)) return;
    this.#read.add(frame.offset);
    for (const at of piecesOf(frame)) {
      const piece = this.#pieces.get(at);
      if (!piece) continue;
      const start = at * pieceBytes;
      const end = Math.min(endOf(frame), start + piece.length);
      piece.unread -= end - Math.max(frame.offset, start);
      if (piece.unread === 0) this.#drop(at);
    }
    this.#ask();
  }

  #drop(at: number): void {
    this.#held -= this.#pieces.get(at)?.length ?? 0;
    this.#pieces.delete(at);
  }

  /** As far as there is room. @param wanted bytes from the beginning that somebody waits for */
  #ask(wanted = 0): void {
    while (this.#asked < this.#end && (this.#fetches.size < partsMax || this.#asked < wanted)) {
      const length = Math.min(partBytes, this.#end - this.#asked);
      if (this.#held + length > heldBytesMax || this.#abort.signal.aborted) return;
      const fetch = this.#fetch(this.#asked, length).finally(() => {
        this.#fetches.delete(fetch);
        this.#ask();
      });
      this.#fetches.add(fetch);
      this.#asked += length;
      this.#held += length;
    }
  }

  /** Never fails: who waits for the bytes is told. After a failure no more is asked for. */
  async #fetch(start: number, length: number): Promise<void> {
    const frames: Frame[] = [];
    const { digest: pack } = this.#pack;
    for (let offset = start; offset < start + length; offset += pieceBytes) {
      const size = Math.min(pieceBytes, start + length - offset);
      frames.push({ pack, offset, length: size, plainLength: size, codec: 'stored' });
      this.#pieces.set(offset / pieceBytes, { ...onItsWay(), length: size, unread: size });
    }
    const [store, { counts }] = [this.#store, this];
    const source = { store, health: healthOf(store, systemClock), counts };
    const of = ({ offset }: Frame) => this.#pieces.get(offset / pieceBytes);
    try {
      await fetchRun(source, this.#pack, frames, this.#abort.signal, {
        background: false,
        onFrame: (frame, bytes) => of(frame)?.resolve(bytes),
      });
    } catch (error) {
      this.#end = this.#asked;
      for (const frame of frames) {
        of(frame)?.reject(error);
        this.#drop(frame.offset / pieceBytes);
      }
    }
  }

  /** Frees the memory. */
  async [Symbol.asyncDispose](): Promise<void> {
    this.#abort.abort(new ThinError('canceled', 'Cannot fetch ahead: it is no longer wanted'));
    await Promise.all(this.#fetches);
    this.#pieces.clear();
  }
}

function endOf({ offset, length }: Frame): number {
  return offset + length;
}

/** The numbers of those that a frame is in. */
function piecesOf(frame: Frame): number[] {
  const first = Math.floor(frame.offset / pieceBytes);
  const count = Math.ceil(endOf(frame) / pieceBytes) - first;
  return Array.from({ length: count }, (_, at) => first + at);
}

function gone(): Promise<Buffer> {
  return Promise.reject(new ThinError('not-found', 'Cannot read frame: it was let go of'));
}

function unlessAborted(pieces: readonly Promise<Buffer>[], signal: AbortSignal): Promise<Buffer[]> {
  return new Promise((resolve, reject) => {
    const giveUp = () => reject(storeError('Cannot fetch frame', signal.reason, signal));
    if (signal.aborted) return giveUp();
    signal.addEventListener('abort', giveUp, { once: true });
    Promise.all(pieces)
      .finally(() => signal.removeEventListener('abort', giveUp))
      .then(resolve, reject);
  });
}
