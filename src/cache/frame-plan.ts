import type { Frame } from '../chunk/frame.js';

/** What is assumed of a source until it has been measured: a line of 100 Mbit/s over some 20 ms. */
const unmeasured = { roundTripMs: 20, bytesPerSecond: 12_500_000 };
/** Bytes of one request: large enough to be worth it, small enough to be worth waiting for. */
const runBytesMin = 256 * 1024;
const runBytesMax = 2 * 1024 * 1024;
/** Bytes asked for that have not come: at least so many, and twice what the line holds. */
const outstandingMin = 128 * 1024;
const outstandingMax = 8 * 1024 * 1024;
/** Requests among which the cost of a round trip is shared, as they are under way together. */
const together = 8;
/** Bytes of a gap that are always cheaper than a request's own headers and handling. */
const gapBytesMin = 4096;
const gapBytesMax = 256 * 1024;

export interface MeasuredLink {
  /** Milliseconds from a request to the first byte of its answer; undefined if not known. */
  readonly roundTripMs: number | undefined;
  readonly bytesPerSecond: number | undefined;
}

/** How to ask over a link. All in bytes. */
export interface FetchPlan {
  /** Of one request. */
  readonly runBytes: number;
  /** Between two frames that are better fetched with what is between them. */
  readonly gapBytes: number;
  /** More is asked for while no more than this is under way. */
  readonly outstandingBytes: number;
}

/**
 * From what a link holds (round trip times rate): less under way leaves it idle, more makes what is
 * asked for last wait; a gap is worth fetching when it takes less time than its share of a round trip.
 */
export function fetchPlan(link: MeasuredLink): FetchPlan {
  const { roundTripMs = unmeasured.roundTripMs } = link;
  const { bytesPerSecond = unmeasured.bytesPerSecond } = link;
  const held = (roundTripMs * bytesPerSecond) / 1000;
  return {
    runBytes: between(runBytesMin, 4 * held, runBytesMax),
    gapBytes: between(gapBytesMin, held / together, gapBytesMax),
    outstandingBytes: between(outstandingMin, 2 * held, outstandingMax),
  };
}

function between(min: number, value: number, max: number): number {
  return Math.round(Math.max(min, Math.min(value, max)));
}

/**
 * The next request: the first of the frames, and those of the others that lie near it in the same
 * pack, before or behind it.
 * @param frames in the order in which they are wanted
 * @returns `run` ascending; `rest` in the order of `frames`
 */
export function nextRun(
  frames: readonly Frame[],
  { runBytes, gapBytes }: Pick<FetchPlan, 'runBytes' | 'gapBytes'>,
): { readonly run: readonly Frame[]; readonly rest: readonly Frame[] } {
  const [first] = frames;
  if (!first) return { run: [], rest: [] };
  const near = frames.filter(({ pack }) => pack === first.pack);
  near.sort((a, b) => a.offset - b.offset);
  let from = near.indexOf(first);
  let to = from;
  for (let grown = true; grown; ) {
    grown = false;
    const [before, behind] = [near[from - 1], near[to + 1]];
    const [low, high] = [near[from] ?? first, near[to] ?? first];
    if (behind && fits(high, behind, gapBytes) && endOf(behind) - low.offset <= runBytes) {
      to += 1;
      grown = true;
    } else if (before && fits(before, low, gapBytes) && endOf(high) - before.offset <= runBytes) {
      from -= 1;
      grown = true;
    }
  }
  const run = near.slice(from, to + 1);
  const taken = new Set(run);
  return { run, rest: frames.filter((frame) => !taken.has(frame)) };
}

function fits(a: Frame, b: Frame, gapBytes: number): boolean {
  return b.offset >= endOf(a) && b.offset - endOf(a) <= gapBytes;
}

/** Bytes of all of some frames. */
export function sum(frames: readonly Frame[], of: 'length' | 'plainLength'): number {
  return frames.reduce((total, frame) => total + frame[of], 0);
}

function endOf({ offset, length }: Frame): number {
  return offset + length;
}
