import { digestOf } from '../digest.js';
import { formatPlatform } from '../image/platform.js';
import type { FoundHotIndex } from './find-hot-index.js';
import {
  encodeHotIndex,
  type HotCommand,
  type HotFrame,
  hotCommandsMax,
  parseHotIndex,
} from './hot-index.js';
import { encodeHotManifest } from './hot-manifest.js';
import type { Blob, ListedManifest, ThinImageTarget } from './image-store.js';
import type { OriginalImage } from './original-image.js';
import { bytesOf, publishThinTag, putMissing } from './publish-thin-image.js';
import { toWire } from './wire-blob.js';

/** One command's hot pack. */
export interface NewHotCommand {
  readonly args: readonly string[];
  readonly runs: number;
  readonly frames: readonly HotFrame[];
  /** All frames, one behind the other. */
  readonly pack: Buffer;
}

export interface NewHotIndex {
  /** Registry host and repository of the original image, and the tag that people use. */
  readonly repository: string;
  readonly tag: string | undefined;
  readonly image: OriginalImage;
  readonly commands: readonly NewHotCommand[];
  /** Of all commands; plain. */
  readonly recordings: Buffer;
  /** What is published now: its other commands stay. */
  readonly before: FoundHotIndex | undefined;
}

export interface PublishedHotIndex {
  readonly listed: ListedManifest;
  /** Bytes that were sent. */
  readonly newBytes: number;
}

/**
 * Publishes what commands of an image touch first: packs, recordings and index, then the manifest,
 * which makes them findable beside the thin manifest. The thin image itself stays as it is.
 */
export async function publishHotIndex(
  store: ThinImageTarget,
  { repository, tag, image, commands, recordings, before }: NewHotIndex,
  signal: AbortSignal,
): Promise<PublishedHotIndex> {
  const wire = await toWire(recordings);
  const made = commands.map(({ args, runs, frames, pack }) => ({
    command: { args, runs, frames, pack: blobOf(pack) },
    bytes: pack,
  }));
  const index = {
    image: image.manifest.digest,
    platform: formatPlatform(image.platform),
    commands: mergedCommands(
      before?.index.commands ?? [],
      made.map(({ command }) => command),
    ),
    recordings: wire.blob,
  };
  const indexBytes = encodeHotIndex(index);
  parseHotIndex(indexBytes);
  const indexBlob = blobOf(indexBytes);
  const generation = (before?.generation ?? 0) + 1;
  const { bytes, listed } = encodeHotManifest(index, indexBlob, image.manifest, generation);
  let newBytes = 0;
  const put = async (blob: Blob, content: Buffer) => {
    newBytes += await putMissing(store, { ...blob, open: bytesOf(content) }, signal);
  };
  for (const { command, bytes } of made) await put(command.pack, bytes);
  await put(wire.blob, wire.bytes);
  await put(indexBlob, indexBytes);
  const replaces = before ? [before.manifest.digest] : [];
  const subject = image.manifest.digest;
  await store.putManifest({ repository, subject, listed, bytes, replaces }, signal);
  if (tag !== undefined) await publishThinTag(store, repository, tag, [listed], signal);
  return { listed, newBytes };
}

/** The new ones stand in for those of the same command line. */
function mergedCommands(before: readonly HotCommand[], made: readonly HotCommand[]): HotCommand[] {
  const byArgs = new Map<string, HotCommand>();
  for (const command of [...before, ...made]) {
    const key = JSON.stringify(command.args);
    byArgs.delete(key);
    byArgs.set(key, command);
  }
  return [...byArgs.values()].slice(-hotCommandsMax);
}

function blobOf(bytes: Buffer): Blob {
  return { digest: digestOf(bytes), size: bytes.length };
}
