/*
 * What containers of one image and command touched first. FORMAT.md tells how it is kept.
 */
import { z } from 'zod';
import type { FileRef } from '../cache/file-origin.js';
import { type Digest, isDigest } from '../digest.js';
import { describeError, ThinError } from '../errors.js';
import type { HotRange } from './static-guess.js';

/** Runs that are kept: the newest, as programs change with what they work on. */
export const runsMax = 8;
/** Touches of one run. */
export const touchesMax = 65_536;
/** Bytes of one list: 8 runs of 65 536 touches would be 20 MB; real ones have some 1000. */
export const hotListBytesMax = 32 * 1024 * 1024;
/** Runs are compared in blocks of this many bytes, less than most chunks have. */
const blockBytes = 16_384;
const version = 1;

/** Bytes `offset` to `offset + length` of a file, read for the first time in a run. */
export interface Touch extends FileRef {
  readonly offset: number;
  readonly length: number;
  /** Since the container was asked for. */
  readonly milliseconds: number;
}

/** One start of a container, from the command until it was ready. */
export interface HotRun {
  /** In their order. */
  readonly touches: readonly Touch[];
}

export interface HotList {
  /** Manifest of one platform's image. */
  readonly image: Digest;
  readonly platform: string;
  /** The command line, entry point first. */
  readonly args: readonly string[];
  /** The newest last. */
  readonly runs: readonly HotRun[];
}

const count = z.number().int().nonnegative().safe();
const digest = z.string().refine(isDigest);
const schema = z.object({
  version: z.literal(version),
  image: digest,
  platform: z.string(),
  args: z.array(z.string()),
  files: z.array(z.tuple([digest, count])),
  /** File by its place in `files`, offset, length, milliseconds. */
  runs: z.array(z.array(z.tuple([count, count, count, count])).max(touchesMax)).max(runsMax),
});
const versionSchema = z.object({ version: z.number() });

export function encodeHotList({ image, platform, args, runs }: HotList): Buffer {
  const files = new Map<Digest, readonly [number, number]>();
  const rows = runs.map(({ touches }) =>
    touches.map(({ content, size, offset, length, milliseconds }) => {
      const [place] = files.get(content) ?? [files.size];
      files.set(content, [place, size]);
      return [place, offset, length, milliseconds];
    }),
  );
  const sizes = [...files].map(([content, [, size]]) => [content, size]);
  return Buffer.from(JSON.stringify({ version, image, platform, args, files: sizes, runs: rows }));
}

/** @throws ThinError `corrupt`; `invalid` for a newer version */
export function decodeHotList(bytes: Buffer): HotList {
  const { image, platform, args, files, runs } = parse(bytes);
  const touchOf = ([place, offset, length, milliseconds]: readonly number[]): Touch => {
    const [content, size] = files[place ?? -1] ?? [];
    if (content === undefined || size === undefined) throw broken(`there is no file ${place}`);
    if (offset === undefined || length === undefined || offset + length > size) {
      throw broken(`bytes ${offset} to ${length} behind it of ${size}`);
    }
    return { content, size, offset, length, milliseconds: milliseconds ?? 0 };
  };
  return { image, platform, args, runs: runs.map((rows) => ({ touches: rows.map(touchOf) })) };
}

function parse(bytes: Buffer): z.infer<typeof schema> {
  let json: unknown;
  try {
    json = JSON.parse(bytes.toString('utf8'));
  } catch (error) {
    throw broken(describeError(error));
  }
  const stated = versionSchema.safeParse(json).data?.version;
  if (stated !== undefined && stated > version) {
    throw new ThinError(
      'invalid',
      `Cannot read hot list: it is of version ${stated} (wanted ${version}; a newer thin reads it)`,
    );
  }
  const { data, error } = schema.safeParse(json);
  if (data) return data;
  throw broken(z.prettifyError(error));
}

function broken(what: string): ThinError {
  return new ThinError('corrupt', `Cannot read hot list: ${what}`);
}

/** Lists of several commands of an image as one document: a line each. */
export function encodeHotLists(lists: readonly HotList[]): Buffer {
  return Buffer.concat(lists.flatMap((list) => [encodeHotList(list), Buffer.from('\n')]));
}

/** @throws ThinError `corrupt`; `invalid` for a newer version */
export function decodeHotLists(bytes: Buffer): HotList[] {
  const lists: HotList[] = [];
  for (let at = 0; at < bytes.length; ) {
    const end = bytes.indexOf(0x0a, at);
    if (end < 0) throw broken('its last line does not end');
    lists.push(decodeHotList(bytes.subarray(at, end)));
    at = end + 1;
  }
  return lists;
}

/** With some more runs, each once; the newest stay. */
export function withRuns(list: HotList, runs: readonly HotRun[]): HotList {
  const known = new Map(list.runs.map((run) => [JSON.stringify(run), run]));
  for (const run of runs) {
    const key = JSON.stringify(run);
    if (!known.has(key)) known.set(key, run);
  }
  return { ...list, runs: [...known.values()].slice(-runsMax) };
}

/** The last ones of some lists, as many as one document of so many bytes has room for. */
export function lastLists(lists: readonly HotList[], count: number, bytesMax: number): HotList[] {
  const taken: HotList[] = [];
  let bytes = 0;
  for (const list of lists.slice(-count).reverse()) {
    bytes += encodeHotList(list).length + 1;
    if (bytes > bytesMax) break;
    taken.unshift(list);
  }
  return taken;
}

/** Where a block was in each run that touched it. */
interface Block extends FileRef {
  readonly offset: number;
  readonly places: number[];
}

/** What at least half of the runs touched, in the order of its median place, neighbours joined. */
export function hotRanges({ runs }: HotList): HotRange[] {
  const blocks = new Map<string, Block>();
  for (const { touches } of runs) {
    const seen = new Set<string>();
    for (const touch of touches) {
      for (const offset of blocksOf(touch)) {
        const name = `${touch.content} ${offset}`;
        if (seen.has(name)) continue;
        const { content, size } = touch;
        const block = blocks.get(name) ?? { content, size, offset, places: [] };
        blocks.set(name, block);
        block.places.push(seen.size);
        seen.add(name);
      }
    }
  }
  const wanted = [...blocks.values()].filter(({ places }) => places.length * 2 >= runs.length);
  const placed = wanted.map((block) => ({ block, place: median(block.places) }));
  placed.sort((a, b) => a.place - b.place);
  return joined(placed.map(({ block }) => block));
}

function* blocksOf({ offset, length }: Touch): Generator<number> {
  for (let at = offset - (offset % blockBytes); at < offset + length; at += blockBytes) yield at;
}

function joined(blocks: readonly Block[]): HotRange[] {
  const ranges: HotRange[] = [];
  for (const { content, size, offset } of blocks) {
    const length = Math.min(blockBytes, size - offset);
    const last = ranges.at(-1);
    if (last?.content === content && last.offset + last.length === offset) {
      ranges[ranges.length - 1] = { ...last, length: last.length + length };
    } else ranges.push({ content, size, offset, length });
  }
  return ranges;
}

function median(values: readonly number[]): number {
  const sorted = [...values].sort((a, b) => a - b);
  return sorted[Math.floor(sorted.length / 2)] ?? 0;
}
