import type { Frame } from '../chunk/frame.js';
import type { CacheLedger } from './cache-ledger.js';
import type { ChunkTable } from './chunk-table.js';
import type { FileOrigin } from './file-origin.js';
import type { FrameFlights } from './frame-flights.js';
import type { PartialFile } from './partial-file.js';

/*
 * Measured starts of Python, R and nginx: of files of several chunks and up to 8 MiB nearly all is read,
 * of larger ones a tenth; of small files, those that the converter has put beside one that is read are
 * mostly read too. A frame in vain takes 5 ms of a line of 100 Mbit/s, a read that waits takes 25.
 */
const wholeBytesMax = 8 * 1024 * 1024;
/** Chunks of a larger file that are brought behind one that is read. */
const largeChunksAhead = 2;
/** Frames in the pack before and behind one of small files. */
const framesBefore = 2;
const framesBehind = 4;
/** Compressed bytes on their way: what somebody waits for shares the line with them. */
const flyingBytesMax = 1024 * 1024;
/** Of one request. */
const runBytesMax = 512 * 1024;
/** Requests that wait for others: what was read longest ago is given up. */
const waitingMax = 64;
/**
 * Compressed bytes of a start that nobody has read of yet: at first, and for each byte that was read of.
 * What a start fetches stays below 1.5 times what it touches from 550 KiB on, while it is a small one.
 */
const unreadBytesMin = 192 * 1024;
const unreadShare = 0.15;
/** Who has read so much waits long already: the more for each further byte. */
const largeStartBytes = 6 * 1024 * 1024;
const unreadShareOfLarge = 0.6;
/** Chunks before a read that are looked at: who has read them goes on, for as many. */
const chunksBefore = 32;

/** What was brought ahead of the reads of one image. */
interface Track {
  /** While it is learned what is read, what was brought or read, by name: whether somebody has read of it. */
  readonly brought: Map<string, boolean>;
  /** Compressed. */
  unreadBytes: number;
  readBytes: number;
  flyingBytes: number;
  /** What is to be asked for, the last one first. */
  readonly waiting: (readonly Frame[])[];
}

export interface Missed {
  readonly table: ChunkTable;
  readonly partial: PartialFile | undefined;
  /** Chunks that are read. */
  readonly first: number;
  readonly last: number;
}

/**
 * Brings what is likely to be read next, behind what somebody waits for: what follows in a file that is
 * read in order; and, while nothing is known of what a start reads, the rest of the file, or what lies
 * beside it in the pack. That is seen being read then, and goes on as far as it is.
 */
export class ReadAhead implements Disposable {
  readonly #flights: FrameFlights;
  readonly #ledger: Pick<CacheLedger, 'hasRoom'>;
  readonly #closing = new AbortController();
  readonly #tracks = new WeakMap<FileOrigin, Track>();

  constructor(flights: FrameFlights, ledger: Pick<CacheLedger, 'hasRoom'>) {
    this.#flights = flights;
    this.#ledger = ledger;
  }

  /** Nothing is read any more. */
  [Symbol.dispose](): void {
    this.#closing.abort();
  }

  /** Somebody reads what is not here. Returns at once. */
  missed(origin: FileOrigin, missed: Missed): void {
    const { table, first, last } = missed;
    if (!origin.framesAround || this.#closing.signal.aborted) return;
    if (origin.nearer?.(table.chunk(first))) return; // it is known what is read
    const track = this.#trackOf(origin);
    const read = framesOf(table, first, last);
    const learning = origin.isLearning?.() === true;
    for (const frame of read) markRead(track, frame, learning);
    const wanted = learning ? besides(origin, missed) : behind(missed);
    const names = new Set(read.map(nameOf));
    const fresh = wanted.filter((frame) => {
      const name = nameOf(frame);
      if (names.has(name) || track.brought.has(name)) return false;
      names.add(name);
      return !this.#flights.isKnown(origin, frame, 0);
    });
    this.#plan(track, fresh, learning);
    this.#bring(origin, track);
  }

  /** What was planned last comes first, in its order. */
  #plan(track: Track, frames: readonly Frame[], learning: boolean): void {
    const chosen = learning ? affordable(track, frames) : frames;
    track.waiting.push(...runsOf(chosen).reverse());
    for (const run of track.waiting.splice(0, track.waiting.length - waitingMax)) {
      for (const frame of run) this.#giveUp(track, frame);
    }
  }

  #giveUp(track: Track, frame: Frame): void {
    if (track.brought.get(nameOf(frame)) === false) track.unreadBytes -= frame.length;
    track.brought.delete(nameOf(frame));
  }

  /** As much as the line takes beside what somebody waits for, each run by one request. */
  #bring(origin: FileOrigin, track: Track): void {
    while (track.flyingBytes < flyingBytesMax && !this.#closing.signal.aborted) {
      const run = track.waiting.pop();
      if (!run) return;
      const bytes = sum(run, 'length');
      track.flyingBytes += bytes;
      void this.#fetch(origin, run).finally(() => {
        track.flyingBytes -= bytes;
        this.#bring(origin, track);
      });
    }
  }

  /** Who reads what has not come is told why, not we. */
  async #fetch(origin: FileOrigin, run: readonly Frame[]): Promise<void> {
    if (!(await this.#ledger.hasRoom(sum(run, 'plainLength')))) return;
    const nobody = { onArrival: () => {}, onLanded: () => {} };
    await this.#flights.prefetchRun(origin, run, this.#closing.signal, nobody);
  }

  #trackOf(origin: FileOrigin): Track {
    const known = this.#tracks.get(origin);
    if (known) return known;
    const counts = { unreadBytes: 0, readBytes: 0, flyingBytes: 0 };
    const track: Track = { brought: new Map(), ...counts, waiting: [] };
    this.#tracks.set(origin, track);
    return track;
  }
}

/** Those of the likeliest that do not make too much of what nobody has read; they count from now on. */
function affordable(track: Track, frames: readonly Frame[]): Frame[] {
  const { readBytes } = track;
  const beyond = Math.max(0, readBytes - largeStartBytes);
  const most = unreadBytesMin + unreadShare * readBytes + unreadShareOfLarge * beyond;
  const taken: Frame[] = [];
  for (const frame of frames) {
    if (track.unreadBytes + frame.length > most) break;
    track.unreadBytes += frame.length;
    track.brought.set(nameOf(frame), false);
    taken.push(frame);
  }
  return taken;
}

function markRead(track: Track, frame: Frame, learning: boolean): void {
  const wasRead = track.brought.get(nameOf(frame));
  if (wasRead === true || (wasRead === undefined && !learning)) return;
  if (wasRead === false) track.unreadBytes -= frame.length;
  track.brought.set(nameOf(frame), true);
  track.readBytes += frame.length;
}

/** What a start is likely to read beside this, the likeliest first. */
function besides(origin: FileOrigin, { table, first, last }: Missed): Frame[] {
  const count = table.chunks.length;
  if (count === 1) {
    return [...(origin.framesAround?.(table.chunk(0).frame, framesBefore, framesBehind) ?? [])];
  }
  if (table.start(count) > wholeBytesMax) {
    return framesOf(table, last + 1, Math.min(last + largeChunksAhead, count - 1));
  }
  return [...framesOf(table, last + 1, count - 1), ...framesOf(table, 0, first - 1)];
}

/** What follows in a file of which the chunks before are here: as many as those. */
function behind({ table, partial, first, last }: Missed): Frame[] {
  let before = 0;
  while (before < chunksBefore && partial?.has(first - before - 1) === true) before += 1;
  let end = last;
  const most = Math.min(last + before, table.chunks.length - 1);
  while (end < most && partial?.has(end + 1) !== true) end += 1;
  return framesOf(table, last + 1, end);
}

function framesOf(table: ChunkTable, first: number, last: number): Frame[] {
  const frames: Frame[] = [];
  for (let index = first; index <= last; index++) {
    const { frame } = table.chunk(index);
    const before = frames.at(-1);
    if (!before || nameOf(before) !== nameOf(frame)) frames.push(frame);
  }
  return frames;
}

/** Those that lie one behind the other in one pack, together. */
function runsOf(frames: readonly Frame[]): Frame[][] {
  const runs: Frame[][] = [];
  let before: Frame | undefined;
  for (const frame of frames) {
    const follows = before?.pack === frame.pack && before.offset + before.length === frame.offset;
    if (follows && sum(runs.at(-1) ?? [], 'length') < runBytesMax) runs.at(-1)?.push(frame);
    else runs.push([frame]);
    before = frame;
  }
  return runs;
}

function sum(frames: readonly Frame[], of: 'length' | 'plainLength'): number {
  return frames.reduce((total, frame) => total + frame[of], 0);
}

function nameOf({ pack, offset }: Frame): string {
  return `${pack} ${offset}`;
}
