import { createHash, randomBytes } from 'node:crypto';
import { gzipSync } from 'node:zlib';
import t from 'tap';
import { type Digest, digestOf } from '../../src/digest.js';
import { isThinError, ThinError } from '../../src/errors.js';
import { gunzipWithNode } from '../../src/layer/gunzip-with-node.js';
import { inflate } from '../../src/layer/inflate.js';
import { type ReadLayerOptions, readLayer } from '../../src/layer/read-layer.js';
import type { TarEvent } from '../../src/layer/tar-event.js';
import { archive, bytes, file } from '../support/tar-builder.js';
import { readRecord, sourceOf } from './read-records.js';
import { skippableZstdFrame, storedZstdFrame } from './torture-formats.js';

const plain = archive(file('a', 'one'), file('b', randomBytes(200_000)));
const gzip = gzipSync(plain);
const zstd = storedZstdFrame(plain);
const never = new AbortController().signal;

function read(pieces: readonly Buffer[], options: Partial<ReadLayerOptions> = {}) {
  return readRecord(pieces, new Map<Digest, Buffer>(), options);
}

function sliced(layer: Buffer, length: number): Buffer[] {
  const count = Math.ceil(layer.length / length);
  return Array.from({ length: count }, (_, at) => layer.subarray(at * length, (at + 1) * length));
}

/** A source that counts, and remembers that it was told to end. */
class WatchedSource implements AsyncIterable<Buffer> {
  given = 0;
  ended = false;
  readonly #pieces: AsyncIterable<Buffer>;

  constructor(pieces: AsyncIterable<Buffer>) {
    this.#pieces = pieces;
  }

  async *[Symbol.asyncIterator](): AsyncGenerator<Buffer, void> {
    try {
      for await (const piece of this.#pieces) {
        this.given += 1;
        yield piece;
      }
    } finally {
      this.ended = true;
    }
  }
}

async function drain(events: AsyncGenerator<TarEvent[], unknown>): Promise<number> {
  let count = 0;
  for await (const batch of events) count += batch.length;
  return count;
}

t.test('digests and sizes are computed, whatever the compression', async (t) => {
  for (const layer of [plain, gzip, zstd]) {
    const promised = { digest: digestOf(layer), size: layer.length, diffId: digestOf(plain) };
    const record = await read(sliced(layer, 7919), promised);
    t.match(record, { digest: digestOf(layer), diffId: digestOf(plain) });
    t.match(record, { compressedBytes: layer.length, plainBytes: plain.length });
    t.equal(record.entries.length, 2);
  }
});

t.test('a layer that is not as promised is refused', async (t) => {
  const other = digestOf(bytes('other'));
  await t.rejects(read([gzip], { digest: other }), {
    code: 'corrupt',
    message: /its digest is sha256:/,
  });
  await t.rejects(read([gzip], { diffId: other }), { code: 'corrupt', message: /its diff ID is/ });
  await t.rejects(read([gzip], { size: gzip.length - 1 }), {
    message: /it has more bytes than \d+/,
  });
  await t.rejects(read([gzip], { size: gzip.length + 1 }), {
    message: /it has \d+ bytes \(wanted/,
  });
  await t.rejects(read([gzip], { digest: 'sha256:short' }), { code: 'invalid' });
  await t.rejects(read([gzip], { diffId: 'md5:d41d8cd98f00b204e9800998ecf8427e' }), {
    code: 'invalid',
  });
});

t.test('too long a layer is refused as soon as that is seen', async (t) => {
  const source = new WatchedSource(sourceOf(sliced(plain, 1000)));
  await t.rejects(drain(readLayer(source, { size: 4000, signal: never })), { code: 'corrupt' });
  t.ok(source.given <= 6);
  t.ok(source.ended);
});

t.test('promises in SHA-512', async (t) => {
  const of = (content: Buffer) => `sha512:${createHash('sha512').update(content).digest('hex')}`;
  const record = await read([gzip], { digest: of(gzip), diffId: of(plain) });
  t.equal(record.diffId, digestOf(plain));
  await t.rejects(read([gzip], { digest: of(plain) }), { message: /its digest is sha512:/ });
});

t.test('the bytes say how a layer is compressed, the media type that it is a layer', async (t) => {
  const layers = ['tar', 'tar+gzip', 'tar+zstd'].flatMap((suffix) => [
    `application/vnd.oci.image.layer.v1.${suffix}`,
    `application/vnd.oci.image.layer.nondistributable.v1.${suffix}`,
    `application/vnd.docker.image.rootfs.diff.${suffix.replace('+', '.')}`,
  ]);
  for (const mediaType of [
    ...layers,
    'application/vnd.docker.image.rootfs.foreign.diff.tar.gzip',
  ]) {
    for (const layer of [plain, gzip, zstd]) {
      t.equal((await read([layer], { mediaType })).diffId, digestOf(plain), mediaType);
    }
  }
  const others = [
    'application/vnd.oci.image.layer.v1.tar+gzip+encrypted',
    'application/vnd.in-toto+json',
    'application/vnd.cncf.helm.chart.content.v1.tar+gzip',
    'text/plain',
  ];
  for (const mediaType of others) {
    await t.rejects(read([gzip], { mediaType }), { code: 'corrupt', message: /its media type is/ });
  }
});

t.test('the start of a layer may come byte by byte', async (t) => {
  for (const layer of [plain, gzip, zstd, Buffer.concat([skippableZstdFrame(bytes('x')), zstd])]) {
    const pieces = [...sliced(layer.subarray(0, 40), 1), Buffer.alloc(0), layer.subarray(40)];
    t.equal((await read(pieces)).diffId, digestOf(plain));
  }
});

t.test('progress counts up to the sums of the summary', async (t) => {
  const seen: number[][] = [];
  const record = await read(sliced(gzip, 10_000), {
    onProgress: ({ compressedBytes, plainBytes }) => seen.push([compressedBytes, plainBytes]),
  });
  t.ok(seen.length > 3);
  t.strictSame(seen.at(-1), [record.compressedBytes, record.plainBytes]);
});

t.test('errors of the source arrive as they are', async (t) => {
  const gone = new ThinError('unavailable', 'Cannot fetch blob: connection reset');
  for (const layer of [plain, gzip, zstd]) {
    async function* failing() {
      yield layer.subarray(0, 5000);
      throw gone;
    }
    const source = new WatchedSource(failing());
    await t.rejects(drain(readLayer(source, { signal: never })), gone);
    t.ok(source.ended);
  }
});

t.test('whatever is wrong with the bytes ends the source', async (t) => {
  const bad = archive(file('../x', 'y'), file('z', randomBytes(3_000_000)));
  for (const layer of [bad, gzipSync(bad), storedZstdFrame(bad), bytes('x'.repeat(300_000))]) {
    const source = new WatchedSource(sourceOf(sliced(layer, 1000)));
    await t.rejects(drain(readLayer(source, { signal: never })), { code: 'corrupt' });
    t.ok(source.ended);
    t.ok(source.given < 2500, `${source.given} pieces were taken`);
  }
  const source = new WatchedSource(sourceOf([plain]));
  const mediaType = 'text/plain';
  await t.rejects(drain(readLayer(source, { mediaType, signal: never })), { code: 'corrupt' });
  t.ok(source.ended);
});

t.test('a reader that stops early ends the source', async (t) => {
  const big = archive(file('a', 'x'), file('b', randomBytes(3_000_000)));
  for (const layer of [big, gzipSync(big), storedZstdFrame(big)]) {
    const source = new WatchedSource(sourceOf(sliced(layer, 1000)));
    for await (const batch of readLayer(source, { signal: never })) {
      t.ok(batch.length > 0);
      break;
    }
    t.ok(source.ended);
    t.ok(source.given < 2500);
  }
});

/** Gives `first`, then nothing for ever; like a generator it ends only after what it hangs in. */
class HangingSource implements AsyncIterable<Buffer> {
  returned = false;
  readonly #first: Buffer;

  constructor(first: Buffer) {
    this.#first = first;
  }

  [Symbol.asyncIterator](): AsyncIterator<Buffer> {
    const hangs = new Promise<never>(() => {});
    let calls = 0;
    return {
      next: () => {
        calls += 1;
        return calls === 1 ? Promise.resolve({ done: false, value: this.#first }) : hangs;
      },
      return: () => {
        this.returned = true;
        return calls === 1 ? Promise.resolve({ done: true, value: undefined }) : hangs;
      },
    };
  }
}

t.test('a source that hangs is left when the signal says so', async (t) => {
  for (const layer of [plain, gzip, zstd, Buffer.alloc(2)]) {
    const stop = new AbortController();
    const source = new HangingSource(layer.subarray(0, 150_000));
    const reading = drain(readLayer(source, { signal: stop.signal }));
    setImmediate(() => stop.abort());
    await t.rejects(reading, { name: 'ThinError', code: 'canceled' });
    t.ok(source.returned);
  }
});

t.test('a source that hangs does not keep a reader that stops, or an error', async (t) => {
  for (const layer of [plain, gzip, zstd]) {
    const source = new HangingSource(layer.subarray(0, 150_000));
    for await (const batch of readLayer(source, { signal: never })) {
      t.ok(batch.length > 0);
      break;
    }
    t.ok(source.returned);
  }
  const source = new HangingSource(bytes('x'.repeat(5000)));
  await t.rejects(drain(readLayer(source, { signal: never })), { code: 'corrupt' });
  t.ok(source.returned);
});

t.test('signals: canceled before the start, and reasons that are our own errors', async (t) => {
  const source = new WatchedSource(sourceOf([plain]));
  await t.rejects(drain(readLayer(source, { signal: AbortSignal.abort() })), { code: 'canceled' });
  t.equal(source.given, 0);
  const reason = new ThinError('no-space', 'Cannot convert image: the disk is full');
  await t.rejects(
    drain(readLayer(sourceOf([plain]), { signal: AbortSignal.abort(reason) })),
    reason,
  );
});

t.test('nothing is left on a long-lived signal', async (t) => {
  const signal = new AbortController().signal;
  let listeners = 0;
  const count = (by: number) => ({
    value: () => {
      listeners += by;
    },
  });
  t.intercept(signal, 'addEventListener', count(1));
  t.intercept(signal, 'removeEventListener', count(-1));
  await read([gzip], { signal });
  await t.rejects(read([bytes('x'.repeat(600))], { signal }));
  t.equal(listeners, 0);
});

t.test(
  'a gzip bomb, which cannot beat the ratio of DEFLATE, is read in little memory',
  async (t) => {
    const length = 300 * 2 ** 20;
    const zeros = gzipSync(Buffer.alloc(length), { level: 9 });
    const before = process.memoryUsage().rss;
    const record = await read([zeros]);
    t.match(record, { plainBytes: length, entries: [] });
    t.ok(process.memoryUsage().rss - before < 150 * 2 ** 20, 'memory does not grow with the layer');
  },
);

/** A zstd frame of `count` blocks of 128 KiB that are one byte repeated: 4 bytes each. */
function zstdBomb(count: number): Buffer {
  const frameHeader = Buffer.from([0x28, 0xb5, 0x2f, 0xfd, 0x00, 0x38]);
  const block = Buffer.alloc(4);
  block.writeUIntLE(2 ** 17 * 8 + 2, 0, 3);
  const last = Buffer.from([1, 0, 0]);
  return Buffer.concat([frameHeader, ...Array.from({ length: count }, () => block), last]);
}

t.test('a zstd bomb is ended', async (t) => {
  const small = await read([zstdBomb(100)]);
  t.equal(small.plainBytes, 100 * 2 ** 17);
  await t.rejects(read(sliced(zstdBomb(20_000), 1000)), {
    code: 'corrupt',
    message: /inflate to more than/,
  });
});

t.test('without the addon gzip is inflated by Node, and other errors are told', async (t) => {
  const missing = new ThinError('unavailable', 'Cannot load the native addon: it was not built');
  const open = (error: Error) => () => {
    throw error;
  };
  const pieces: Buffer[] = [];
  for await (const piece of inflate('gzip', sourceOf([gzip]), open(missing))) pieces.push(piece);
  t.ok(Buffer.concat(pieces).equals(plain));
  t.throws(() => inflate('gzip', sourceOf([gzip]), open(new TypeError('x'))), TypeError);
});

t.test('a byte changed anywhere is noticed, or changes nothing', async (t) => {
  const small = archive(file('a', 'content'.repeat(40)), file('b', 'x'));
  const isRefused = (error: unknown) => {
    if (!isThinError(error, 'corrupt')) throw error;
    return undefined;
  };
  for (const layer of [gzipSync(small), storedZstdFrame(gzipSync(small)), storedZstdFrame(small)]) {
    for (let at = 0; at < layer.length; at += layer.length > 1000 ? 7 : 1) {
      const changed = Buffer.from(layer);
      changed[at] = (changed[at] ?? 0) ^ (1 << (at % 8));
      const digest = digestOf(layer);
      t.equal(await read([changed], { digest }).catch(isRefused), undefined, `byte ${at}`);
      const record = await read([changed], { diffId: digestOf(small) }).catch(isRefused);
      if (record !== undefined) t.equal(record.entries.length, 2);
    }
  }
});

t.test('the fallback for gzip', async (t) => {
  const inflateAll = async (pieces: readonly Buffer[]) => {
    const plainPieces: Buffer[] = [];
    for await (const piece of gunzipWithNode(sourceOf(pieces))) plainPieces.push(piece);
    return Buffer.concat(plainPieces);
  };
  const second = gzipSync(bytes('second'));
  const both = Buffer.concat([plain, bytes('second')]);
  t.ok((await inflateAll(sliced(gzip, 1000))).equals(plain));
  t.ok((await inflateAll([gzip, second])).equals(both), 'members, cut between them');
  t.ok((await inflateAll([Buffer.concat([gzip, second])])).equals(both), 'members in one piece');
  t.ok((await inflateAll([gzip, Buffer.alloc(100)])).equals(plain), 'zeros behind');
  await t.rejects(inflateAll([gzip.subarray(0, -3)]), { code: 'corrupt' }, 'cut off');
  await t.rejects(inflateAll([gzip, bytes('garbage')]), { code: 'corrupt' }, 'garbage behind');
  await t.rejects(inflateAll([Buffer.concat([gzip, bytes('garbage')])]), { code: 'corrupt' });
  await t.rejects(inflateAll([]), { code: 'corrupt' }, 'nothing at all');

  const source = new WatchedSource(sourceOf(sliced(gzip, 1000)));
  for await (const piece of gunzipWithNode(source)) {
    t.ok(piece.length > 0);
    break;
  }
  const gone = new ThinError('unavailable', 'gone');
  async function* failing() {
    yield gzip.subarray(0, 5000);
    throw gone;
  }
  await t.rejects(
    (async () => {
      for await (const piece of gunzipWithNode(failing())) t.ok(piece.length > 0);
    })(),
    gone,
  );
});
