import { z } from 'zod';
import { zstdCompress, zstdDecompress } from '../native-bindings/zstd.js';
import type { ByteString } from '../src/byte-string.js';
import type { Chunk, FileChunks, Frame } from '../src/chunk/frame.js';
import { type Digest, isDigest } from '../src/digest.js';
import { ThinError } from '../src/errors.js';
import type { LayerEntry } from '../src/image/layer-entry.js';

/** One converted layer: what it is, and where the chunks of its files are. */
export interface ConvertedLayer {
  readonly diffId: Digest;
  readonly entries: readonly LayerEntry[];
  readonly files: readonly FileChunks[];
}

const digest = z.custom<Digest>((value) => typeof value === 'string' && isDigest(value));
const name = z.custom<ByteString>((value) => typeof value === 'string');
const count = z.number().int().nonnegative();

const attributes = {
  path: name,
  mode: count,
  uid: count,
  gid: count,
  mtime: z.object({ seconds: z.number().int(), nanoseconds: count }),
  /** Name and base64 of the value. */
  xattrs: z.array(z.tuple([name, z.string()])),
};
const entry = z.discriminatedUnion('type', [
  z.object({ ...attributes, type: z.literal('directory') }),
  z.object({ ...attributes, type: z.literal('fifo') }),
  z.object({ ...attributes, type: z.literal('file'), size: count, content: digest }),
  z.object({ ...attributes, type: z.literal('symlink'), target: name }),
  z.object({ ...attributes, type: z.literal('hardlink'), target: name }),
  z.object({
    ...attributes,
    type: z.enum(['character', 'block']),
    device: z.object({ major: count, minor: count }),
  }),
]);
/** Frames once, as `[pack, offset, length, plain length, codec]`. */
const frame = z.tuple([digest, count, count, count, z.enum(['stored', 'zstd'])]);
/** `[digest, length, index of its frame, offset in the frame]`. */
const chunk = z.tuple([digest, count, count, count]);
const file = z.tuple([digest, count, z.array(chunk)]);
const record = z.object({
  diffId: digest,
  entries: z.array(entry),
  frames: z.array(frame),
  files: z.array(file),
});

/** zstd level: the record is written once and read seldom. */
const recordLevel = 3;

/** Bytes to keep in the conversion index. */
export async function encodeLayer(layer: ConvertedLayer): Promise<Buffer> {
  const frames = new Map<Frame, number>();
  const files = layer.files.map(({ content, size, chunks }) => [
    content,
    size,
    chunks.map((item) => {
      const at = frames.get(item.frame) ?? frames.size;
      frames.set(item.frame, at);
      return [item.digest, item.length, at, item.offsetInFrame];
    }),
  ]);
  const encoded: z.input<typeof record> = {
    diffId: layer.diffId,
    entries: layer.entries.map((item) => ({
      ...item,
      xattrs: [...item.xattrs].map(([key, value]) => [key, value.toString('base64')]),
    })),
    frames: [...frames.keys()].map((item) => [
      item.pack,
      item.offset,
      item.length,
      item.plainLength,
      item.codec,
    ]),
    files: files as z.input<typeof record>['files'],
  };
  const plain = Buffer.from(JSON.stringify(encoded));
  const size = Buffer.alloc(8);
  size.writeDoubleLE(plain.length);
  return Buffer.concat([size, await zstdCompress(plain, recordLevel)]);
}

/** @throws ThinError `corrupt` */
export async function decodeLayer(bytes: Buffer): Promise<ConvertedLayer> {
  const plain = await zstdDecompress(bytes.subarray(8), bytes.readDoubleLE(0));
  const parsed = record.safeParse(JSON.parse(plain.toString('utf8')));
  if (!parsed.success) {
    throw new ThinError('corrupt', 'Cannot use a layer record of the conversion index');
  }
  const { diffId, entries, frames, files } = parsed.data;
  const shared = frames.map(
    ([pack, offset, length, plainLength, codec]): Frame => ({
      pack,
      offset,
      length,
      plainLength,
      codec,
    }),
  );
  return {
    diffId,
    entries: entries.map(restoreEntry),
    files: files.map(([content, size, chunks]) => ({
      content,
      size,
      chunks: chunks.map((item) => restoreChunk(item, shared)),
    })),
  };
}

function restoreEntry(item: z.output<typeof entry>): LayerEntry {
  const xattrs = new Map(
    item.xattrs.map(([key, value]) => [key, Buffer.from(value, 'base64')] as const),
  );
  return { ...item, xattrs };
}

function restoreChunk(item: z.output<typeof chunk>, frames: readonly Frame[]): Chunk {
  const [chunkDigest, length, at, offsetInFrame] = item;
  const found = frames[at];
  if (!found) throw new ThinError('corrupt', 'Cannot use a layer record: no such frame');
  return { digest: chunkDigest, length, frame: found, offsetInFrame };
}
