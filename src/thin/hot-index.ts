import { z } from 'zod';
import type { Frame, FrameCodec } from '../chunk/frame.js';
import { type Digest, digestBytes, digestFromBytes, digestSize, isDigest } from '../digest.js';
import { describeError, ThinError } from '../errors.js';
import { chunkBytesMax, codecNumbers, framePlainBytesMax } from './chunk-map-layout.js';
import type { WireBlob } from './descriptor.js';
import { encodeHotDelta, type HotDelta, parseHotDelta } from './hot-delta.js';
import type { Blob } from './image-store.js';

/** What FORMAT.md tells under "Hot index". */
const hotIndexVersion = 1;
/** Bytes of the JSON: a command that touches 1000 chunks takes 50 KB. */
export const hotIndexBytesMax = 4 * 1024 * 1024;
/** Commands of one image; the ones published longest ago go. */
export const hotCommandsMax = 16;
/** Plain bytes of all that is recorded of an image. */
export const recordingsBytesMax = 64 * 1024 * 1024;

/** A chunk as a hot pack has it: whether the bytes are it, its digest tells. */
export interface HotChunk {
  readonly digest: Digest;
  readonly length: number;
}

/** A frame of a hot pack. Its chunks fill it, one behind the other. */
export interface HotFrame {
  readonly length: number;
  readonly codec: FrameCodec;
  readonly chunks: readonly HotChunk[];
}

/** Where is what one command of the image touches first. */
export interface CommandPack {
  /** The command line, entry point first. */
  readonly args: readonly string[];
  readonly pack: Blob;
}

/** What one command of the image touches first. */
export interface HotCommand extends CommandPack {
  /** Runs that it was learned from. */
  readonly runs: number;
  /** In the order of the pack, which is that in which they are touched. */
  readonly frames: readonly HotFrame[];
  /** The same in fewer bytes, for who has started another version of the image. */
  readonly delta?: HotDelta | undefined;
}

/** What was published of an image's hot files. */
export interface HotIndex {
  /** Of the original manifest. */
  readonly image: Digest;
  readonly platform: string;
  /** The newest last. */
  readonly commands: readonly HotCommand[];
  /** The runs themselves, for who adds to them. */
  readonly recordings: WireBlob;
}

const digest = z.string().refine(isDigest);
const size = z.int().positive();
const schema = z.object({
  version: z.literal(hotIndexVersion),
  image: digest,
  platform: z.string().max(255),
  recordings: z.object({
    digest,
    size: size.max(recordingsBytesMax),
    plainDigest: digest,
    plainSize: size.max(recordingsBytesMax),
  }),
  commands: z
    .array(
      z.object({
        args: z.array(z.string()).min(1),
        runs: size,
        pack: z.object({ digest, size }),
        /** Of each frame: length, codec, number of chunks. */
        frames: z.array(z.tuple([size, z.literal([0, 1]), size])),
        /** Of each chunk, all frames one after the other: plain bytes. */
        lengths: z.array(size.max(chunkBytesMax)),
        /** Base64 of 32 bytes of each. */
        digests: z.base64(),
        delta: z.unknown().optional(),
      }),
    )
    .max(hotCommandsMax),
});
type Stored = z.infer<typeof schema>['commands'][number];
const versionSchema = z.object({ version: z.number() });

export function encodeHotIndex({ image, platform, commands, recordings }: HotIndex): Buffer {
  const { digest, size, plainDigest, plainSize } = recordings;
  const stored = commands.map(({ args, runs, pack, frames, delta }) => {
    const chunks = frames.flatMap((frame) => frame.chunks);
    return {
      args,
      runs,
      pack: { digest: pack.digest, size: pack.size },
      frames: frames.map(({ length, codec, chunks }) => [
        length,
        codecNumbers[codec],
        chunks.length,
      ]),
      lengths: chunks.map(({ length }) => length),
      digests: Buffer.concat(chunks.map(({ digest }) => digestBytes(digest))).toString('base64'),
      ...(delta && { delta: encodeHotDelta(delta) }),
    };
  });
  const wire = { digest, size, plainDigest, plainSize };
  const json = { version: hotIndexVersion, image, platform, recordings: wire, commands: stored };
  return Buffer.from(JSON.stringify(json));
}

/** @throws ThinError `corrupt`; `invalid` for a newer version */
export function parseHotIndex(bytes: Buffer): HotIndex {
  if (bytes.length > hotIndexBytesMax) throw corrupt(`it has ${bytes.length} bytes`);
  const json = parseJson(bytes);
  const stated = versionSchema.safeParse(json).data?.version;
  if (stated !== undefined && stated > hotIndexVersion) {
    throw new ThinError(
      'invalid',
      `Cannot read hot index: it is of version ${stated} (wanted ${hotIndexVersion}; a newer thin reads it)`,
    );
  }
  const { data, error } = schema.safeParse(json);
  if (!data) throw corrupt(z.prettifyError(error));
  const { image, platform, recordings, commands } = data;
  return { image, platform, recordings, commands: commands.map(readCommand) };
}

function readCommand(stored: Stored): HotCommand {
  const { args, runs, pack, frames, lengths, digests } = stored;
  const bytes = Buffer.from(digests, 'base64');
  if (bytes.length !== lengths.length * digestSize) throw corrupt('a chunk has no digest');
  let [next, total] = [0, 0];
  const read = frames.map(([length, codec, count]): HotFrame => {
    const chunks = lengths.slice(next, next + count).map((plain, at) => ({
      digest: digestFromBytes(bytes, (next + at) * digestSize),
      length: plain,
    }));
    if (chunks.length !== count) throw corrupt('a frame has more chunks than there are');
    next += count;
    total += length;
    const frame: HotFrame = { length, codec: codec === 0 ? 'stored' : 'zstd', chunks };
    checkFrame(frame);
    return frame;
  });
  if (next !== lengths.length) throw corrupt('there are chunks in no frame');
  if (total !== pack.size) throw corrupt(`frames of ${total} bytes in a pack of ${pack.size}`);
  const delta = parseHotDelta(stored.delta, read);
  return { args, runs, pack, frames: read, ...(delta && { delta }) };
}

function checkFrame(frame: HotFrame): void {
  const plain = plainLengthOf(frame);
  const fits = frame.codec === 'stored' ? frame.length === plain : frame.length < plain;
  if (plain <= framePlainBytesMax && fits) return;
  throw corrupt(`a frame of ${frame.length} bytes decodes to ${plain}`);
}

function plainLengthOf({ chunks }: HotFrame): number {
  return chunks.reduce((sum, { length }) => sum + length, 0);
}

/** The frames with their places in the pack. */
export function* placedFrames({ pack, frames }: HotCommand): Generator<{
  readonly frame: Frame;
  readonly chunks: readonly HotChunk[];
}> {
  let offset = 0;
  for (const { length, codec, chunks } of frames) {
    const plainLength = chunks.reduce((sum, chunk) => sum + chunk.length, 0);
    yield { frame: { pack: pack.digest, offset, length, plainLength, codec }, chunks };
    offset += length;
  }
}

/**
 * The one that was learned from this very command, else from one that differs behind its first two
 * words, if the second is no option: `python3 app.py --port 1` starts as `python3 app.py` does.
 */
export function commandFor<C extends CommandPack>(
  commands: readonly C[],
  args: readonly string[],
): C | undefined {
  const newestFirst = [...commands].reverse();
  const same = (other: C, words: number) =>
    args.slice(0, words).every((word, at) => other.args[at] === word);
  const exact = newestFirst.find(
    (other) => other.args.length === args.length && same(other, args.length),
  );
  if (exact || args.length < 2 || args[1]?.startsWith('-')) return exact;
  return newestFirst.find((other) => same(other, 2));
}

function parseJson(bytes: Buffer): unknown {
  try {
    return JSON.parse(bytes.toString('utf8'));
  } catch (error) {
    throw corrupt(describeError(error));
  }
}

function corrupt(what: string): ThinError {
  return new ThinError('corrupt', `Cannot read hot index: ${what}`);
}
