import { execFileSync } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import t from 'tap';
import {
  ZstdInflater,
  zstdBytesMax,
  zstdCompress,
  zstdCompressDelta,
  zstdCompressNow,
  zstdDecompress,
  zstdDecompressDelta,
  zstdDecompressNow,
} from '../../native-bindings/zstd.js';
import { parseZstdFrameHeader } from '../../native-bindings/zstd-frame-header.js';
import { isThinError } from '../../src/errors.js';
import fc from '../support/properties.js';
import { inflateAll } from './inflate-all.js';
import { pseudoRandomText } from './pseudo-random.js';

const MiB = 1024 * 1024;

/** What the zstd command makes of `input`, which it gets through a pipe. */
function zstdCommand(input: Buffer, ...flags: string[]): Buffer {
  return execFileSync('zstd', ['-q', '-c', ...flags], { input, maxBuffer: 64 * MiB });
}

function skippableFrame(content: Buffer): Buffer {
  const header = Buffer.alloc(8);
  header.writeUInt32LE(0x184d2a53, 0);
  header.writeUInt32LE(content.length, 4);
  return Buffer.concat([header, content]);
}

const corrupt = (pattern: RegExp) => ({ code: 'corrupt', message: pattern });

t.test('round trip, with the content size in the frame', async (t) => {
  const sizes = [0, 1, 255, 256, 257, 65_536, 65_791, 65_792, 256 * 1024, 9 * MiB];
  for (const level of [1, 3, 5, 19]) {
    for (const size of level === 19 ? sizes.slice(0, -1) : sizes) {
      const plain = pseudoRandomText(size, size);
      const frame = await zstdCompress(plain, level);
      t.equal(parseZstdFrameHeader(frame).contentSize, size);
      t.ok((await zstdDecompress(frame, size)).equals(plain), `${size} bytes at level ${level}`);
    }
  }
});

t.test('the zstd command reads our frames', async (t) => {
  const plain = pseudoRandomText(300_000, 1);
  t.ok(zstdCommand(await zstdCompress(plain, 5), '-d').equals(plain));
});

t.test('a frame does not depend on what its thread did before', async (t) => {
  const inputs = Array.from({ length: 24 }, (_, i) => pseudoRandomText(40_000 + i * 9000, i));
  const levels = [1, 3, 5, 7, 9];
  const once = async (order: number[]) => {
    const frames = await Promise.all(
      order.map(async (i) => {
        const input = inputs[i % inputs.length] ?? Buffer.alloc(0);
        return [i, await zstdCompress(input, levels[i % levels.length] ?? 1)] as const;
      }),
    );
    return new Map(frames);
  };
  const order = Array.from({ length: inputs.length * levels.length }, (_, i) => i);
  const first = await once(order);
  const second = await once([...order].reverse());
  for (const [i, frame] of first) t.ok(second.get(i)?.equals(frame), `input ${i}`);
});

t.test('in this thread: the same frames, and the same refusals', async (t) => {
  const plain = pseudoRandomText(300_000, 4);
  const frame = zstdCompressNow(plain, 3, Buffer.alloc(zstdBytesMax(plain.length)));
  t.ok(frame.equals(await zstdCompress(plain, 3)));
  const into = Buffer.alloc(plain.length);
  zstdDecompressNow(frame, into);
  t.ok(into.equals(plain));
  t.throws(() => zstdCompressNow(plain, 20, into), { code: 'invalid' });
  t.throws(() => zstdCompressNow(plain, 3, Buffer.alloc(100)), { code: 'unavailable' });
  for (const wrong of [frame.subarray(0, -1), Buffer.concat([frame, frame]), plain]) {
    t.throws(() => zstdDecompressNow(wrong, into), { code: 'corrupt' });
  }
  t.throws(() => zstdDecompressNow(frame, into.subarray(1)), { code: 'corrupt' });
});

t.test('bad levels and lengths are refused', async (t) => {
  for (const level of [0, -1, 20, 2.5, Number.NaN]) {
    await t.rejects(zstdCompress(Buffer.from('x'), level), { code: 'invalid' });
  }
  const frame = await zstdCompress(Buffer.from('x'), 1);
  for (const length of [-1, 1.5, 2 ** 32, Number.NaN]) {
    await t.rejects(zstdDecompress(frame, length), { code: 'invalid' });
  }
});

t.test('one-shot decompression takes exactly one frame of exactly that size', async (t) => {
  const plain = pseudoRandomText(100_000, 2);
  const frame = await zstdCompress(plain, 3);
  const wrong: [string, Buffer, number, RegExp][] = [
    ['nothing', Buffer.alloc(0), 0, /does not begin/],
    ['no zstd', Buffer.from('hello world'), 5, /does not begin/],
    ['inside the header', frame.subarray(0, 6), plain.length, /inside its header/],
    ['one byte short', frame.subarray(0, -1), plain.length, /incorrect/],
    ['trailing byte', Buffer.concat([frame, Buffer.alloc(1)]), plain.length, /1 bytes follow/],
    ['second frame', Buffer.concat([frame, frame]), plain.length, /bytes follow/],
    ['too few wanted', frame, plain.length - 1, /declares 100000 bytes \(wanted 99999\)/],
    ['too many wanted', frame, plain.length + 1, /declares 100000 bytes \(wanted 100001\)/],
    ['skippable frame', skippableFrame(plain), plain.length, /does not begin/],
    ['no content size', zstdCommand(plain, '-3'), plain.length, /declares no bytes/],
  ];
  for (const [name, bytes, length, message] of wrong) {
    await t.rejects(zstdDecompress(bytes, length), corrupt(message), name);
  }
});

t.test('a dictionary or a large window is refused before anything is decoded', async (t) => {
  const folder = mkdtempSync(join(tmpdir(), 'thinfs-test-zstd-'));
  t.teardown(() => rmSync(folder, { recursive: true }));
  const samples = Array.from({ length: 64 }, (_, i) => join(folder, `sample-${i}`));
  samples.forEach((path, i) => {
    writeFileSync(path, pseudoRandomText(4000, i));
  });
  const dictionary = join(folder, 'dictionary');
  execFileSync('zstd', ['-q', '--train', ...samples, '-o', dictionary, '--maxdict=2000']);
  const file = join(folder, 'file');
  writeFileSync(file, pseudoRandomText(5000, 99));
  const withDictionary = execFileSync('zstd', ['-q', '-c', '-D', dictionary, file]);
  await t.rejects(zstdDecompress(withDictionary, 5000), corrupt(/needs a dictionary/));

  const large = Buffer.alloc(20 * MiB);
  writeFileSync(file, large);
  const wide = execFileSync('zstd', ['-q', '-c', '--long=24', file]);
  await t.rejects(zstdDecompress(wide, large.length), corrupt(/its window is 16777216 bytes/));
});

t.test('a delta needs its base, and notices another one', async (t) => {
  const base = pseudoRandomText(400_000, 1);
  const plain = Buffer.concat([base.subarray(150_000, 350_000), pseudoRandomText(5000, 2)]);
  const alone = await zstdCompress(plain, 19);
  const delta = await zstdCompressDelta(plain, base, 19);
  t.ok(delta.length < alone.length / 10, `${delta.length} of ${alone.length} bytes`);
  t.ok((await zstdDecompressDelta(delta, base, plain.length)).equals(plain));
  const folder = mkdtempSync(join(tmpdir(), 'thinfs-test-zstd-'));
  t.teardown(() => rmSync(folder, { recursive: true }));
  const file = join(folder, 'base');
  writeFileSync(file, base);
  t.ok(zstdCommand(delta, '-d', `--patch-from=${file}`).equals(plain), 'as the zstd command');

  const changed = Buffer.from(base);
  changed[200_000] = (base[200_000] ?? 0) ^ 1;
  await t.rejects(zstdDecompressDelta(delta, changed, plain.length), corrupt(/checksum/));
  await t.rejects(zstdDecompressDelta(delta, base.subarray(0, -1), plain.length), corrupt(/./));
  await t.rejects(zstdDecompressDelta(delta, base.subarray(0, 9), plain.length), corrupt(/./));
  await t.rejects(zstdDecompress(delta, plain.length), corrupt(/./));
  await t.rejects(zstdDecompressDelta(delta.subarray(0, -5), base, plain.length), corrupt(/./));
  for (const wrong of [Buffer.alloc(0), Buffer.alloc(8 * MiB)]) {
    await t.rejects(zstdCompressDelta(plain, wrong, 19), { code: 'invalid' });
    await t.rejects(zstdDecompressDelta(delta, wrong, plain.length), { code: 'invalid' });
  }
  // A base that looks like a dictionary is bytes like any others.
  const magic = Buffer.concat([Buffer.from([0x37, 0xa4, 0x30, 0xec]), base]);
  const odd = await zstdCompressDelta(plain, magic, 19);
  t.ok((await zstdDecompressDelta(odd, magic, plain.length)).equals(plain));
});

t.test('what a thread did with a base does not show in its next frames', async (t) => {
  const base = pseudoRandomText(100_000, 5);
  const inputs = Array.from({ length: 16 }, (_, i) => pseudoRandomText(30_000 + i, i % 3));
  const before = await Promise.all(inputs.map((input) => zstdCompress(input, 3)));
  const mixed = await Promise.all(
    inputs.map(async (input, at) => {
      const delta = await zstdCompressDelta(input, base, 3);
      const wrong = zstdDecompressDelta(delta, base.subarray(0, -at - 1), input.length);
      await wrong.catch((error: unknown) => t.ok(isThinError(error, 'corrupt')));
      return zstdCompress(input, 3);
    }),
  );
  for (const [at, frame] of mixed.entries()) {
    t.ok(before[at]?.equals(frame), `frame ${at}`);
    const input = inputs[at];
    t.ok(input && (await zstdDecompress(frame, input.length)).equals(input));
  }
});

t.test('frame headers with every width of content size', async (t) => {
  const header = (descriptor: number, ...rest: number[]) =>
    parseZstdFrameHeader(Buffer.from([0x28, 0xb5, 0x2f, 0xfd, descriptor, ...rest]));
  t.same(header(0x20, 7), { windowSize: 7, contentSize: 7, hasDictionary: false });
  t.same(header(0x40, 0x58, 1, 0), { windowSize: 2097152, contentSize: 257, hasDictionary: false });
  t.same(header(0xa0, 1, 0, 1, 0).contentSize, 65_537);
  t.same(header(0xe0, 1, 0, 0, 0, 1, 0, 0, 0).contentSize, 2 ** 32 + 1);
  t.same(header(0x01, 0x0f, 9), { windowSize: 3840, contentSize: undefined, hasDictionary: true });
});

t.test('mutated frames are refused or decode to the length that was asked for', async (t) => {
  const plain = pseudoRandomText(20_000, 5);
  const frame = await zstdCompress(plain, 3);
  await fc.assert(
    fc.asyncProperty(fc.nat(frame.length - 1), fc.integer({ min: 1, max: 255 }), async (at, by) => {
      const mutated = Buffer.from(frame);
      mutated.writeUInt8(mutated.readUInt8(at) ^ by, at);
      try {
        return (await zstdDecompress(mutated, plain.length)).length === plain.length;
      } catch (error) {
        return isThinError(error, 'corrupt');
      }
    }),
    { numRuns: 400 },
  );
  t.pass('all of them');
});

t.test('a stream: frames with and without size, skippable frames, any split', async (t) => {
  const parts = [3, 70_000, 0, 300_000].map((size) => pseudoRandomText(size, size));
  const [a, b, c, d] = parts as [Buffer, Buffer, Buffer, Buffer];
  const stream = Buffer.concat([
    skippableFrame(Buffer.from('index')),
    await zstdCompress(a, 3),
    zstdCommand(b, '-19', '--check'),
    skippableFrame(Buffer.alloc(0)),
    zstdCommand(c),
    zstdCommand(d, '--long=27'),
  ]);
  const plain = Buffer.concat(parts);
  await fc.assert(
    fc.asyncProperty(fc.array(fc.nat(stream.length), { maxLength: 40 }), async (cuts) =>
      (await inflateAll(new ZstdInflater(), stream, cuts)).equals(plain),
    ),
    { numRuns: 40 },
  );
  const everyByte = Array.from({ length: 3000 }, (_, index) => index);
  t.ok((await inflateAll(new ZstdInflater(), stream, everyByte)).equals(plain));
});

t.test('a window over 128 MiB is refused, one of 128 MiB is not', async (t) => {
  const input = pseudoRandomText(1000, 3);
  const widest = zstdCommand(input, '--long=27');
  t.equal(parseZstdFrameHeader(widest).windowSize, 128 * MiB);
  t.ok((await inflateAll(new ZstdInflater(), widest, [])).equals(input));
  await t.rejects(
    inflateAll(new ZstdInflater(), zstdCommand(input, '--long=28', '--ultra'), []),
    corrupt(/too much memory/),
  );
});

t.test('a stream that ends early or goes on with garbage is corrupt', async (t) => {
  const frame = await zstdCompress(pseudoRandomText(50_000, 4), 3);
  for (const length of [0, 1, 4, 5, 100, frame.length - 1]) {
    const inflated = inflateAll(new ZstdInflater(), frame.subarray(0, length), []);
    await t.rejects(inflated, corrupt(/ends too early/), `${length} bytes`);
  }
  const garbage = Buffer.concat([frame, Buffer.from('garbage')]);
  await t.rejects(inflateAll(new ZstdInflater(), garbage, []), corrupt(/Unknown frame/));
  const flipped = zstdCommand(pseudoRandomText(50_000, 4), '--check');
  flipped.writeUInt8(flipped.readUInt8(flipped.length - 1) ^ 1, flipped.length - 1);
  await t.rejects(inflateAll(new ZstdInflater(), flipped, []), corrupt(/checksum/));
});

t.test('a bomb comes out in bounded pieces', async (t) => {
  const bomb = zstdCommand(Buffer.alloc(32 * MiB), '-19');
  t.ok(bomb.length < 8000);
  const inflater = new ZstdInflater();
  let total = 0;
  let calls = 0;
  for (let plain = await inflater.push(bomb); ; plain = await inflater.push()) {
    const length = plain.reduce((sum, piece) => sum + piece.length, 0);
    if (length > MiB) t.fail(`${length} bytes came at once`);
    total += length;
    calls++;
    if (!inflater.more) break;
  }
  inflater.end();
  t.equal(total, 32 * MiB);
  t.ok(calls >= 32);
});
