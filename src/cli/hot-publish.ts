import { readFile } from 'node:fs/promises';
import type { ImageRequest, ImageSummary } from '../daemon/control-api.js';
import { type Digest, parseDigest } from '../digest.js';
import { fromSystemError, ThinError } from '../errors.js';
import type { HotFolder } from '../hot/hot-folder.js';
import {
  decodeHotLists,
  encodeHotLists,
  type HotList,
  hotRanges,
  withRun,
} from '../hot/hot-list.js';
import { makeHotPack } from '../hot/hot-pack.js';
import { parseReference } from '../image/reference.js';
import { systemClock } from '../store/clock.js';
import { frameSource } from '../store/frame-source.js';
import { openWritableStore } from '../store/open-store.js';
import type { WritableStore } from '../store/store.js';
import { parseThinDescriptor, type ThinDescriptor } from '../thin/descriptor.js';
import { type FoundHotIndex, findHotIndex } from '../thin/find-hot-index.js';
import { readChunkMap } from '../thin/load-thin-image.js';
import { type NewHotCommand, publishHotIndex } from '../thin/publish-hot-index.js';
import { readWire } from '../thin/wire-blob.js';

/** Milliseconds for which a frame that the store cannot give now is asked for again. */
const frameDeadlineMs = 60_000;

export interface HotPublication {
  /** The store, for people. */
  readonly store: string;
  /** Command lines, with the runs that each was learned from. */
  readonly commands: readonly { readonly args: readonly string[]; readonly runs: number }[];
  readonly packBytes: number;
  /** Bytes that were sent. */
  readonly newBytes: number;
}

/**
 * Publishes what this node has recorded of an image, together with what was published before: list and
 * hot pack of each command, beside the thin image, which stays as it is.
 * @throws ThinError `not-found` if there is nothing to publish, or the image has no thin form
 */
export async function publishHot(
  {
    request,
    summary,
    folder,
  }: {
    readonly request: ImageRequest;
    readonly summary: ImageSummary;
    readonly folder: HotFolder;
  },
  signal: AbortSignal,
): Promise<HotPublication> {
  const image = parseDigest(summary.manifest);
  const own = await folder.of(image);
  if (own.length === 0) {
    throw new ThinError(
      'not-found',
      `Cannot publish hot files of ${request.reference}: no start of it is recorded on this node (thin run it)`,
    );
  }
  const descriptor = await readDescriptor(request.reference, summary);
  const reference = parseReference(request.reference);
  const repository = `${reference.registry}/${reference.repository}`;
  const location = request.store ?? repository;
  await using opened = await openWritableStore(location, storeOptions(request), signal);
  const { store } = opened;
  const listed = await store.referrers(repository, image, undefined, signal);
  const before = await findHotIndex(store, listed, image, signal);
  const lists = mergedLists(await publishedLists(store, before, signal), own);
  const commands = await packs(store, descriptor, summary, lists, signal);
  const published = await publishHotIndex(
    store,
    {
      ...{ repository, tag: reference.tag, image: descriptor.image, commands, before },
      recordings: encodeHotLists(lists),
    },
    signal,
  );
  return {
    store: store.toString(),
    commands: commands.map(({ args, runs }) => ({ args, runs })),
    packBytes: commands.reduce((sum, { pack }) => sum + pack.length, 0),
    newBytes: published.newBytes,
  };
}

async function readDescriptor(reference: string, summary: ImageSummary): Promise<ThinDescriptor> {
  const { descriptorPath } = summary;
  if (descriptorPath !== undefined) return parseThinDescriptor(await readHere(descriptorPath));
  throw new ThinError(
    'not-found',
    `Cannot publish hot files of ${reference}: it has no thin form (thinify makes one)`,
  );
}

async function readHere(path: string): Promise<Buffer> {
  try {
    return await readFile(path);
  } catch (error) {
    throw fromSystemError(`Cannot read ${path}`, error);
  }
}

function storeOptions({ plainHttp, caFile, username, password, ...s3 }: ImageRequest) {
  const login =
    username !== undefined && password !== undefined ? { username, password } : undefined;
  return {
    registry: { plainHttp, ca: caFile, ...(login && { credentials: login }) },
    s3: { endpoint: s3.s3Endpoint, region: s3.s3Region },
  };
}

async function publishedLists(
  store: WritableStore,
  before: FoundHotIndex | undefined,
  signal: AbortSignal,
): Promise<readonly HotList[]> {
  if (!before) return [];
  return decodeHotLists(await readWire(store, before.index.recordings, signal));
}

/** Of each command the runs that were published and those of this node, each once. */
function mergedLists(published: readonly HotList[], own: readonly HotList[]): HotList[] {
  const byArgs = new Map(published.map((list) => [JSON.stringify(list.args), list]));
  for (const list of own) {
    const key = JSON.stringify(list.args);
    const before = byArgs.get(key);
    const known = new Set(before?.runs.map((run) => JSON.stringify(run)));
    const fresh = list.runs.filter((run) => !known.has(JSON.stringify(run)));
    const merged = fresh.reduce(withRun, before ?? { ...list, runs: [] });
    byArgs.delete(key);
    byArgs.set(key, merged);
  }
  return [...byArgs.values()];
}

async function packs(
  store: WritableStore,
  descriptor: ThinDescriptor,
  { chunkMapPath = '' }: ImageSummary,
  lists: readonly HotList[],
  signal: AbortSignal,
): Promise<NewHotCommand[]> {
  const map = readChunkMap(descriptor, await readHere(chunkMapPath));
  const sizes = new Map(descriptor.packs.map(({ digest, size }) => [digest, size]));
  const source = frameSource({
    stores: [store],
    packSize: (pack: Digest) => sizes.get(pack),
    deadlineMs: frameDeadlineMs,
    clock: systemClock,
  });
  const commands: NewHotCommand[] = [];
  for (const list of lists) {
    const fetch = source.fetchFrame.bind(source);
    const { bytes, frames } = await makeHotPack(map, hotRanges(list), fetch, signal);
    if (frames.length === 0) continue;
    commands.push({ args: list.args, runs: list.runs.length, frames, pack: bytes });
  }
  return commands;
}
