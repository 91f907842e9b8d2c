import { type Digest, digestOf } from '../digest.js';
import { formatPlatform } from '../image/platform.js';
import type { HotDelta } from './hot-delta.js';
import {
  encodeHotIndex,
  type HotCommand,
  type HotFrame,
  type HotIndex,
  hotCommandsMax,
  hotIndexBytesMax,
  parseHotIndex,
} from './hot-index.js';
import { encodeHotManifest } from './hot-manifest.js';
import type { Blob, ThinImageTarget } from './image-store.js';
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
  readonly delta?: NewHotDelta | undefined;
}

/** What is new in a hot pack. */
export interface NewHotDelta extends Omit<HotDelta, 'pack'> {
  readonly pack: Buffer;
}

/** What is published now, and is replaced. */
export interface HotIndexBefore {
  /** Of all that is there, the highest. */
  readonly generation: number;
  readonly manifests: readonly Digest[];
  /** Those that are not made anew stay. */
  readonly commands: readonly HotCommand[];
}

export interface NewHotIndex {
  /** Registry host and repository of the original image. */
  readonly repository: string;
  /** What people use, if it is of this image. */
  readonly tag: string | undefined;
  readonly image: OriginalImage;
  /** The newest first. Each is asked for when the one before it is sent: one pack is in memory. */
  readonly commands: AsyncIterable<NewHotCommand>;
  /** Of all commands; plain. */
  readonly recordings: Buffer;
  readonly before: HotIndexBefore;
}

export interface PublishedHotIndex {
  /** Those that were made; the newest last. */
  readonly commands: readonly HotCommand[];
  /** Bytes that were sent. */
  readonly newBytes: number;
}

/**
 * Publishes what commands of an image touch first: packs, recordings and index, then the manifest,
 * which makes them findable beside the thin manifest. The thin image itself stays as it is. Commands
 * that are too many for one index are left out, the oldest ones.
 */
export async function publishHotIndex(
  store: ThinImageTarget,
  { repository, tag, image, commands, recordings, before }: NewHotIndex,
  signal: AbortSignal,
): Promise<PublishedHotIndex> {
  const wire = await toWire(recordings);
  let newBytes = 0;
  const put = async (blob: Blob, content: Buffer) => {
    newBytes += await putMissing(store, { ...blob, open: bytesOf(content) }, signal);
  };
  const room = new IndexRoom({
    image: image.manifest.digest,
    platform: formatPlatform(image.platform),
    recordings: wire.blob,
  });
  for await (const { args, runs, frames, pack, delta } of commands) {
    const told = delta && { ...delta, pack: blobOf(delta.pack) };
    const taken = room.takes({ args, runs, frames, pack: blobOf(pack), delta: told });
    if (!taken) break;
    await put(taken.pack, pack);
    if (delta && taken.delta) await put(taken.delta.pack, delta.pack);
  }
  const made = room.index.commands;
  for (const command of before.commands.toReversed()) {
    // A registry refuses a manifest that names what it does not have.
    if (!(await store.hasBlob(command.pack, signal))) continue;
    const { delta, ...alone } = command;
    room.takes(delta && (await store.hasBlob(delta.pack, signal)) ? command : alone);
  }
  const index = room.index;
  const indexBytes = encodeHotIndex(index);
  parseHotIndex(indexBytes);
  const indexBlob = blobOf(indexBytes);
  const generation = before.generation + 1;
  const { bytes, listed } = encodeHotManifest(index, indexBlob, image.manifest, generation);
  await put(wire.blob, wire.bytes);
  await put(indexBlob, indexBytes);
  const subject = image.manifest.digest;
  const replaces = before.manifests;
  await store.putManifest({ repository, subject, listed, bytes, replaces }, signal);
  if (tag !== undefined) {
    await publishThinTag(store, repository, tag, [{ listed, subject }], signal);
  }
  return { commands: made, newBytes };
}

/** The commands that one index has room for. */
class IndexRoom {
  readonly #head: Omit<HotIndex, 'commands'>;
  /** The newest first, by command line. */
  readonly #commands = new Map<string, HotCommand>();

  constructor(head: Omit<HotIndex, 'commands'>) {
    this.#head = head;
  }

  get index(): HotIndex {
    return { ...this.#head, commands: [...this.#commands.values()].reverse() };
  }

  /** @returns what there is room for, perhaps without its delta; undefined for one that is there in a newer form */
  takes(command: HotCommand): HotCommand | undefined {
    const key = JSON.stringify(command.args);
    if (this.#commands.has(key) || this.#commands.size >= hotCommandsMax) return undefined;
    const { delta, ...alone } = command;
    for (const form of delta ? [command, alone] : [alone]) {
      this.#commands.set(key, form);
      if (encodeHotIndex(this.index).length <= hotIndexBytesMax) return form;
    }
    this.#commands.delete(key);
    return undefined;
  }
}

function blobOf(bytes: Buffer): Blob {
  return { digest: digestOf(bytes), size: bytes.length };
}
