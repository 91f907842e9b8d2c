import { readFile } from 'node:fs/promises';
import type { ImageRequest, ImageSummary } from '../daemon/control-api.js';
import { type Digest, parseDigest } from '../digest.js';
import { fromSystemError, isThinError, ThinError } from '../errors.js';
import { DeltaPack, readHotChunks } from '../hot/delta-pack.js';
import type { HotFolder } from '../hot/hot-folder.js';
import {
  decodeHotLists,
  encodeHotLists,
  type HotList,
  hotRanges,
  lastLists,
  withRuns,
} from '../hot/hot-list.js';
import { makeHotPack } from '../hot/hot-pack.js';
import { formatPlatform } from '../image/platform.js';
import { parseReference, repositoryOf } from '../image/reference.js';
import { systemClock } from '../store/clock.js';
import { frameSource } from '../store/frame-source.js';
import { openWritableStore } from '../store/open-store.js';
import type { ListedManifest, WritableStore } from '../store/store.js';
import { type BaseImage, checkBase } from '../thin/base-image.js';
import { parseThinDescriptor, type ThinDescriptor } from '../thin/descriptor.js';
import { earlierCommand, findEarlierHot } from '../thin/find-earlier-hot.js';
import { type FoundHotIndex, findHotIndex } from '../thin/find-hot-index.js';
import { findThinImage } from '../thin/find-thin-image.js';
import { type HotIndex, hotCommandsMax, recordingsBytesMax } from '../thin/hot-index.js';
import { hotManifestsOf } from '../thin/hot-manifest.js';
import { readChunkMap } from '../thin/load-thin-image.js';
import {
  type HotIndexBefore,
  type NewHotCommand,
  publishHotIndex,
} from '../thin/publish-hot-index.js';
import { readWire } from '../thin/wire-blob.js';

/** Milliseconds for which a frame that the store cannot give now is asked for again. */
const frameDeadlineMs = 60_000;

export interface HotPublication {
  /** The store, for people. */
  readonly store: string;
  /** Command lines, with the runs that each was learned from. */
  readonly commands: readonly { readonly args: readonly string[]; readonly runs: number }[];
  readonly packBytes: number;
  /** Of delta packs: what a node that has started the version before fetches in place of the same frames. */
  readonly deltaBytes: number;
  /** Bytes that were sent. */
  readonly newBytes: number;
}

/**
 * Publishes what this node has recorded of an image, together with what was published before: list and
 * hot pack of each command, beside the thin image, which stays as it is.
 * @throws ThinError `not-found` if there is nothing to publish, or the image has no thin form; `invalid`
 *   if the base cannot be where the image is
 */
export async function publishHot(
  {
    request,
    summary,
    folder,
    base,
  }: {
    readonly request: ImageRequest;
    readonly summary: ImageSummary;
    readonly folder: HotFolder;
    /** The version before it, if it has another tag. */
    readonly base?: BaseImage | undefined;
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
  const repository = repositoryOf(reference);
  const location = request.store ?? repository;
  await using opened = await openWritableStore(location, storeOptions(request), signal);
  const { store } = opened;
  if (base) checkBase(store, base, repository);
  const listed = await store.referrers(repository, image, undefined, signal);
  const found = await published(store, listed, image, signal);
  const merged = mergedLists(await publishedLists(store, found, signal), own);
  const lists = lastLists(merged, hotCommandsMax, recordingsBytesMax);
  const commandsBefore = found?.index.commands ?? [];
  const platform = formatPlatform(descriptor.image.platform);
  const wanted = { repository, tag: reference.tag, base, image, platform };
  const earlier = await findEarlierHot(store, { ...wanted, commands: commandsBefore }, signal);
  const tag = await tagOf(store, repository, reference.tag, descriptor, signal);
  const { commands, newBytes } = await publishHotIndex(
    store,
    {
      ...{ repository, tag, image: descriptor.image },
      before: before(listed, image, found),
      commands: packs({ store, descriptor, summary, lists, earlier }, signal),
      recordings: encodeHotLists(lists),
    },
    signal,
  );
  return {
    store: store.toString(),
    commands: commands.map(({ args, runs }) => ({ args, runs })),
    packBytes: commands.reduce((sum, { pack }) => sum + pack.size, 0),
    deltaBytes: commands.reduce((sum, { delta }) => sum + (delta?.pack.size ?? 0), 0),
    newBytes,
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

/** Undefined if there is nothing, or nothing that can be read: it is replaced. */
async function published(
  store: WritableStore,
  listed: readonly ListedManifest[],
  image: Digest,
  signal: AbortSignal,
): Promise<FoundHotIndex | undefined> {
  return findHotIndex(store, listed, image, signal).catch(orNothing);
}

/** What is broken or gone stands in nobody's way; what a newer thin wrote does. */
function orNothing(error: unknown): undefined {
  if (!isThinError(error, 'corrupt', 'not-found')) throw error;
}

function before(
  listed: readonly ListedManifest[],
  image: Digest,
  found: FoundHotIndex | undefined,
): HotIndexBefore {
  const all = hotManifestsOf(listed, image);
  return {
    generation: all[0]?.generation ?? 0,
    manifests: all.map(({ manifest }) => manifest.digest),
    commands: found?.index.commands ?? [],
  };
}

/** The tag, if what is published for it is of this image: it may have moved since it came here. */
async function tagOf(
  store: WritableStore,
  repository: string,
  tag: string | undefined,
  { image }: ThinDescriptor,
  signal: AbortSignal,
): Promise<string | undefined> {
  if (tag === undefined) return undefined;
  const { platform, manifest } = image;
  const wanted = { repository, tag, platform };
  const tagged = await findThinImage(store, wanted, signal).catch(orNothing);
  return tagged?.descriptor.image.manifest.digest === manifest.digest ? tag : undefined;
}

async function publishedLists(
  store: WritableStore,
  found: FoundHotIndex | undefined,
  signal: AbortSignal,
): Promise<readonly HotList[]> {
  if (!found) return [];
  try {
    return decodeHotLists(await readWire(store, found.index.recordings, signal));
  } catch (error) {
    return orNothing(error) ?? [];
  }
}

/** Of each command the runs that were published and those of this node; the newest last. */
function mergedLists(published: readonly HotList[], own: readonly HotList[]): HotList[] {
  const byArgs = new Map(published.map((list) => [JSON.stringify(list.args), list]));
  for (const list of own) {
    const key = JSON.stringify(list.args);
    const merged = withRuns(byArgs.get(key) ?? { ...list, runs: [] }, list.runs);
    byArgs.delete(key);
    byArgs.set(key, merged);
  }
  return [...byArgs.values()];
}

interface HotSources {
  readonly store: WritableStore;
  readonly descriptor: ThinDescriptor;
  readonly summary: ImageSummary;
  readonly lists: readonly HotList[];
  /** What was published of versions before this one. */
  readonly earlier: readonly HotIndex[];
}

async function* packs(
  { store, descriptor, summary: { chunkMapPath = '' }, lists, earlier }: HotSources,
  signal: AbortSignal,
): AsyncGenerator<NewHotCommand> {
  const map = readChunkMap(descriptor, await readHere(chunkMapPath));
  const others = earlier.flatMap(({ commands }) => commands.map(({ pack }) => pack));
  const sizes = new Map([...others, ...descriptor.packs].map(({ digest, size }) => [digest, size]));
  const source = frameSource({
    stores: [store],
    packSize: (pack: Digest) => sizes.get(pack),
    deadlineMs: frameDeadlineMs,
    clock: systemClock,
  });
  const fetch = source.fetchFrame.bind(source);
  for (const list of lists.toReversed()) {
    const before = earlierCommand(earlier, list.args);
    const known = before && (await readHotChunks(before.command, fetch, signal));
    const delta = known && new DeltaPack(known);
    const { bytes, frames } = await makeHotPack(map, hotRanges(list), fetch, signal, delta);
    if (frames.length === 0) continue;
    const command = { args: list.args, runs: list.runs.length, frames, pack: bytes };
    const isNew = before && delta && delta.frames.length > 0;
    yield isNew
      ? { ...command, delta: { image: before.image, frames: delta.frames, pack: delta.bytes } }
      : command;
  }
}
