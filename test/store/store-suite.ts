import { randomBytes } from 'node:crypto';
import { setMaxListeners } from 'node:events';
import type { Test } from 'tap';
import { digestOf } from '../../src/digest.js';
import { type ErrorCode, isThinError } from '../../src/errors.js';
import { collect, openVerified, readRange } from '../../src/store/byte-stream.js';
import { encodeManifestList } from '../../src/store/manifest-list.js';
import type { Blob, Store, WritableStore } from '../../src/store/store.js';
import { findThinImage } from '../../src/thin/find-thin-image.js';
import { loadThinImage } from '../../src/thin/load-thin-image.js';
import { publishThinImage, publishThinTag } from '../../src/thin/publish-thin-image.js';
import { thinArtifactType } from '../../src/thin/thin-manifest.js';
import { amd64, bytesFrom, smallImage } from '../thin/small-image.js';

/** One store, as its tests see it. */
export interface StoreUnderTest {
  readonly writer: WritableStore;
  /** What reads what the writer wrote: itself, or another kind of store over the same files. */
  readonly reader: Store;
  /** The repository that images are published under. */
  readonly repository: string;
  /** Replaces a blob's bytes behind the store's back; `undefined` removes it. */
  damage(blob: Blob, bytes: Buffer | undefined): Promise<void>;
}

/** The largest one is more than a part of an upload, and no multiple of anything. */
const sizes = [1, 4096, 300_001, 12 * 1024 * 1024 + 7];

/** What every store must do. A new one's test is the function that opens it. */
export async function storeSuite(t: Test, open: (t: Test) => Promise<StoreUnderTest>) {
  const store = await open(t);
  for (const [name, test] of Object.entries(tests)) {
    await t.test(name, (t) => test(t, store));
  }
}

const tests: Readonly<Record<string, (t: Test, store: StoreUnderTest) => Promise<void>>> = {
  'blobs of any size come back': async (t, { writer, reader }) => {
    for (const size of sizes) {
      const { blob, bytes } = await putRandom(writer, size);
      t.equal(await writer.hasBlob(blob, never), true);
      t.ok((await readAll(reader, blob)).equals(bytes), `${size} bytes`);
    }
  },

  'ranges are exact': async (t, { writer, reader }) => {
    const { blob, bytes } = await putRandom(writer, 300_001);
    const last = bytes.length - 1;
    const ranges = [
      [0, 1],
      [last, 1],
      [0, bytes.length],
      [1, last],
      [65_535, 100_003],
      [17, 0],
    ];
    for (const [offset = 0, length = 0] of ranges) {
      const part = await readRange(reader, blob, offset, length, never);
      t.ok(part.equals(bytes.subarray(offset, offset + length)), `${length} at ${offset}`);
      const anew = await readRange(reader, blob, offset, length, never, { fresh: true });
      t.ok(anew.equals(part), `${length} at ${offset}, past caches`);
    }
  },

  'a range outside the blob is refused': async (t, { writer, reader }) => {
    const { blob } = await putRandom(writer, 10);
    for (const [offset = 0, length = 0] of [
      [0, 11],
      [11, 0],
      [-1, 2],
      [0.5, 1],
      [2 ** 53, 1],
    ]) {
      await failsWith(t, 'invalid', readRange(reader, blob, offset, length, never));
    }
  },

  'an absent blob is not found': async (t, { writer, reader }) => {
    const blob = { digest: digestOf(randomBytes(16)), size: 16 };
    t.equal(await writer.hasBlob(blob, never), false);
    await failsWith(t, 'not-found', readRange(reader, blob, 0, 16, never));
    await failsWith(t, 'not-found', reader.readManifest(blob, never));
  },

  'wrong bytes are not kept': async (t, { writer }) => {
    // One byte at random may be in the store already.
    for (const size of sizes.map((size) => Math.max(size, 16))) {
      const bytes = randomBytes(size);
      const blob = { digest: digestOf(bytes), size };
      const wrong = [
        bytes.subarray(1),
        Buffer.concat([bytes, bytes.subarray(0, 1)]),
        flipped(bytes),
      ];
      for (const given of wrong) {
        await failsWith(t, 'corrupt', writer.putBlob(blob, bytesFrom(given), never));
        t.equal(await writer.hasBlob(blob, never), false, `${given.length} for ${size} bytes`);
      }
    }
  },

  'a source that fails leaves nothing': async (t, { writer }) => {
    for (const size of sizes) {
      const bytes = randomBytes(size);
      const blob = { digest: digestOf(bytes), size };
      const broken = async function* open() {
        yield bytes.subarray(0, size - 1);
        throw new Error('the source broke');
      };
      await t.rejects(writer.putBlob(blob, broken, never), /the source broke/);
      t.equal(await writer.hasBlob(blob, never), false);
    }
  },

  'several may put the same blob at once': async (t, { writer, reader }) => {
    const bytes = randomBytes(300_001);
    const blob = { digest: digestOf(bytes), size: bytes.length };
    const put = () => writer.putBlob(blob, bytesFrom(bytes), never);
    await Promise.all([put(), put(), put(), put()]);
    t.ok((await readAll(reader, blob)).equals(bytes));
  },

  'what was damaged is noticed': async (t, { writer, reader, damage }) => {
    const { blob, bytes } = await putRandom(writer, 300_001);
    await damage(blob, flipped(bytes));
    await failsWith(t, 'corrupt', readAll(reader, blob));
    const part = await readRange(reader, blob, 5, 10, never);
    t.ok(part.equals(flipped(bytes).subarray(5, 15)), 'ranges are for the reader to verify');
    await damage(blob, bytes.subarray(0, 200_000));
    await failsWith(t, ['corrupt', 'unavailable'], readAll(reader, blob));
    await failsWith(t, ['corrupt', 'unavailable'], readRange(reader, blob, 250_000, 10, never));
    await damage(blob, Buffer.concat([bytes, bytes]));
    await failsWith(t, 'corrupt', readAll(reader, blob));
    await damage(blob, undefined);
    await failsWith(t, 'not-found', readAll(reader, blob));
  },

  'giving up is told as that': async (t, { writer, reader }) => {
    const { blob, bytes } = await putRandom(writer, 12 * 1024 * 1024);
    const given = AbortSignal.abort();
    await failsWith(t, 'canceled', readRange(reader, blob, 0, 10, given));
    await failsWith(t, 'canceled', writer.hasBlob(blob, given));
    const absent = { digest: digestOf(randomBytes(16)), size: bytes.length };
    await failsWith(t, 'canceled', writer.putBlob(absent, bytesFrom(bytes), given));
    const midway = new AbortController();
    const reading = async () => {
      for await (const _ of reader.openRange(blob, 0, blob.size, midway.signal)) midway.abort();
    };
    await failsWith(t, 'canceled', reading());
  },

  'a reader may stop early': async (t, { writer, reader }) => {
    const { blob } = await putRandom(writer, 12 * 1024 * 1024);
    for await (const bytes of reader.openRange(blob, 0, blob.size, never)) {
      t.ok(bytes.length < blob.size);
      break;
    }
  },

  'a thin image is published, found and loaded': async (t, { writer, reader, repository }) => {
    const image = await smallImage('published', { repository });
    const { listed, newBytes } = await publishThinImage(writer, image, never);
    t.ok(newBytes > image.pack.size);
    const wanted = { repository, manifest: image.subject, platform: amd64 };
    const found = await findThinImage(reader, wanted, never);
    t.equal(found?.manifest.digest, listed.digest);
    t.equal(found?.descriptor.image.config.text, image.config.toString());
    if (!found) return;
    const loaded = await loadThinImage(reader, found.descriptor, never);
    t.ok(loaded.metadata.equals(image.metadata));
    for (const { content, chunks } of image.files) {
      t.strictSame(loaded.chunkMap.chunksOf(content), chunks);
    }
    const others = await reader.referrers(repository, image.subject, 'application/other', never);
    t.strictSame(others, [], 'what is of another type is not listed');
    const again = await publishThinImage(writer, image, never);
    t.strictSame(
      again,
      { listed, subject: image.subject, newBytes: 0 },
      'publishing it again sends nothing',
    );
  },

  'an image that nobody published is not found': async (t, { reader, repository }) => {
    const { subject } = await smallImage('never published');
    t.strictSame(await reader.referrers(repository, subject, thinArtifactType, never), []);
    t.strictSame(await reader.tagged(repository, 'never', never), []);
    const wanted = { repository, tag: 'never', manifest: subject, platform: amd64 };
    t.equal(await findThinImage(reader, wanted, never), undefined);
  },

  'a tag lists the platforms': async (t, { writer, reader, repository }) => {
    const arm64 = { os: 'linux', architecture: 'arm64' };
    const one = await smallImage('tag amd64', { repository });
    const two = await smallImage('tag arm64', { repository, platform: arm64 });
    const first = await publishThinImage(writer, one, never);
    const second = await publishThinImage(writer, two, never);
    await publishThinTag(writer, repository, 'v1', [first], never);
    await publishThinTag(writer, repository, 'v1', [second], never);
    const listed = await reader.tagged(repository, 'v1', never);
    t.strictSame(
      listed.map(({ digest }) => digest),
      [first.listed.digest, second.listed.digest],
    );
    for (const [platform, { subject }] of [
      [amd64, one],
      [arm64, two],
    ] as const) {
      const found = await findThinImage(reader, { repository, tag: 'v1', platform }, never);
      t.equal(found?.descriptor.image.manifest.digest, subject);
    }
  },

  'a tag is replaced whole': async (t, { writer, reader, repository }) => {
    const image = await smallImage('replaced', { repository });
    const { listed } = await publishThinImage(writer, image, never);
    await writer.putTag(repository, 'moving', encodeManifestList([]), never);
    await writer.putTag(repository, 'moving', encodeManifestList([listed]), never);
    t.strictSame(await reader.tagged(repository, 'moving', never), [listed]);
  },

  'it can tell its place': async (t, { reader, writer }) => {
    for (const store of [reader, writer]) t.match(store.toString(), /^[a-z0-9]+[:/.]/);
  },
};

/** Of a caller who does not give up; any number may listen. */
export const never = new AbortController().signal;
setMaxListeners(0, never);

export async function putRandom(store: WritableStore, size: number) {
  const bytes = randomBytes(size);
  const blob = { digest: digestOf(bytes), size };
  await store.putBlob(blob, bytesFrom(bytes), never);
  return { blob, bytes };
}

export function readAll(store: Store, blob: Blob): Promise<Buffer> {
  return collect(openVerified(store, blob, never), blob.size, 'blob');
}

export async function failsWith(
  t: Test,
  codes: ErrorCode | ErrorCode[],
  work: Promise<unknown>,
): Promise<void> {
  try {
    await work;
    t.fail(`should fail with ${codes}`);
  } catch (error) {
    t.ok(isThinError(error, ...[codes].flat()), `fails with ${codes}: ${error}`);
  }
}

function flipped(bytes: Buffer): Buffer {
  const copy = Buffer.from(bytes);
  copy[copy.length - 1] = (copy[copy.length - 1] ?? 0) ^ 1;
  return copy;
}
