import { execFileSync } from 'node:child_process';
import { readdirSync } from 'node:fs';
import { join } from 'node:path';
import t, { type Test } from 'tap';
import { mount, unmount, unmountFlags } from '../../native-bindings/mount-calls.js';
import { byteStringFromText } from '../../src/byte-string.js';
import { PackWriter } from '../../src/chunk/pack-writer.js';
import { pseudoRandomBytes } from '../native-bindings/pseudo-random.js';
import { packFiles, temporaryFolder } from './packed-files.js';

const KiB = 1024;
const noise = pseudoRandomBytes(900 * KiB, 1);
const name = byteStringFromText('usr/lib/file');
const never = new AbortController().signal;

async function smallDisk(t: Test, size: string): Promise<string> {
  const target = temporaryFolder(t);
  await mount({ source: 'thinfs-test', target, type: 'tmpfs', data: `size=${size}` });
  t.teardown(() => unmount(target, unmountFlags.detach));
  return target;
}

t.test('a full disk is no-space, and leaves no file', async (t) => {
  const folder = await smallDisk(t, '512k');
  const files = Array.from({ length: 9 }, (_, i) => ({
    path: `f${i}`,
    pieces: [pseudoRandomBytes(300 * KiB, i)],
  }));
  await t.rejects(packFiles(files, { path: join(folder, 'pack') }), {
    code: 'no-space',
    message: /Cannot write pack .*ENOSPC/,
  });
  t.same(readdirSync(folder), []);
  t.match(execFileSync('df', ['--output=used', folder]).toString(), /\n +0\n/);
});

t.test('a full disk at the very end is found by finish', async (t) => {
  const folder = await smallDisk(t, '4k');
  const writer = await PackWriter.create({ path: join(folder, 'pack'), signal: never });
  await writer.beginFile(name, 60_000);
  await writer.write(noise.subarray(0, 60_000));
  await writer.endFile();
  await t.rejects(writer.finish(), { code: 'no-space' });
  await t.rejects(writer.finish(), { code: 'no-space' }, 'and again');
  t.same(readdirSync(folder), []);
});

t.test('cancellation ends every call, and leaves no file', async (t) => {
  const folder = temporaryFolder(t);
  for (const stage of ['begin', 'write', 'end', 'finish'] as const) {
    const controller = new AbortController();
    const path = join(folder, stage);
    const writer = await PackWriter.create({ path, signal: controller.signal });
    const canceled = { code: 'canceled', message: `Cannot write pack ${path}: it was canceled` };
    if (stage !== 'begin') await writer.beginFile(name, noise.length);
    if (stage === 'end' || stage === 'finish') await writer.write(noise);
    const end = stage === 'finish' ? writer.endFile() : undefined;
    controller.abort(new Error('the reason'));
    if (stage === 'begin') await t.rejects(writer.beginFile(name, 1), canceled);
    if (stage === 'write') await t.rejects(writer.write(noise), canceled);
    if (stage === 'end') await t.rejects(writer.endFile(), canceled);
    if (end) await t.rejects(writer.finish(), canceled);
    if (end) await t.rejects(end, canceled, 'whoever waits for a file is told');
    await t.rejects(writer.hole(1), canceled, 'and so is every later call');
    await writer.abort();
  }
  t.same(readdirSync(folder), []);
});

t.test('abort leaves no file, at any stage and any number of times', async (t) => {
  const folder = temporaryFolder(t);
  for (const calls of [0, 1, 2, 3]) {
    const writer = await PackWriter.create({ path: join(folder, 'pack'), signal: never });
    if (calls > 0) await writer.beginFile(name, noise.length);
    if (calls > 1) await writer.write(noise);
    const end = calls > 2 ? writer.endFile() : undefined;
    await Promise.all([writer.abort(), writer.abort()]);
    if (end) await t.rejects(end, { code: 'canceled', message: /it was aborted/ });
    await t.rejects(writer.finish(), { code: 'canceled' });
    await writer.abort();
  }
  t.same(readdirSync(folder), []);
});

t.test('abort and disposal after finish leave the pack', async (t) => {
  const folder = temporaryFolder(t);
  {
    await using writer = await PackWriter.create({ path: join(folder, 'pack'), signal: never });
    await writer.beginFile(name, 5);
    await writer.write(Buffer.from('plain'));
    void writer.endFile();
    await writer.finish();
    await t.rejects(writer.beginFile(name, 5), { code: 'invalid', message: /it is finished/ });
    await writer.abort();
  }
  t.same(readdirSync(folder), ['pack']);
});

t.test('a folder that is missing is said so at once', async (t) => {
  const path = join(temporaryFolder(t), 'missing/pack');
  await t.rejects(PackWriter.create({ path, signal: never }), {
    code: 'not-found',
    message: /Cannot create pack/,
  });
});

t.test('misuse is refused and ends the writer', async (t) => {
  const folder = temporaryFolder(t);
  const cases: [string, RegExp, (writer: PackWriter) => Promise<unknown>][] = [
    ['write before begin', /no file has begun/, (w) => w.write(noise)],
    ['hole before begin', /no file has begun/, (w) => w.hole(1)],
    ['end before begin', /no file has begun/, (w) => w.endFile()],
    [
      'begin twice',
      /has not ended/,
      async (w) => {
        await w.beginFile(name, 1);
        await w.beginFile(name, 1);
      },
    ],
    [
      'finish inside a file',
      /has not ended/,
      async (w) => {
        await w.beginFile(name, 1);
        await w.finish();
      },
    ],
    [
      'too many bytes',
      /6 bytes more of a file of which 5 were left/,
      async (w) => {
        await w.beginFile(name, 5);
        await w.write(Buffer.from('123456'));
      },
    ],
    [
      'too few bytes',
      /ends 1 bytes before its size 5/,
      async (w) => {
        await w.beginFile(name, 5);
        await w.write(Buffer.from('1234'));
        await w.endFile();
      },
    ],
    [
      'negative hole',
      /-1 bytes more/,
      async (w) => {
        await w.beginFile(name, 5);
        await w.hole(-1);
      },
    ],
    ['negative size', /-1 bytes of a file/, (w) => w.beginFile(name, -1)],
    [
      'size beyond the limit',
      /bytes of a file \(wanted at most/,
      (w) => w.beginFile(name, 2 ** 50),
    ],
    [
      'two calls at once',
      /last call has not ended/,
      async (w) => {
        await w.beginFile(name, 10);
        await Promise.all([w.write(Buffer.alloc(5)), w.write(Buffer.alloc(5))]);
      },
    ],
  ];
  for (const [what, message, misuse] of cases) {
    const writer = await PackWriter.create({ path: join(folder, 'pack'), signal: never });
    await t.rejects(misuse(writer), { code: 'invalid', message }, what);
    await t.rejects(writer.finish(), { code: 'invalid' });
  }
  t.same(readdirSync(folder), []);
});

t.test('a level that zstd does not have fails before a pack appears', async (t) => {
  const folder = temporaryFolder(t);
  const files = [{ path: 'a', pieces: [noise] }];
  await t.rejects(packFiles(files, { path: join(folder, 'pack'), level: 99 }), { code: 'invalid' });
  t.same(readdirSync(folder), []);
});

t.test('an error of known() is the error of the writer', async (t) => {
  const folder = temporaryFolder(t);
  const known = () => {
    throw new Error('the index is broken');
  };
  const files = [{ path: 'a', pieces: [noise] }];
  await t.rejects(packFiles(files, { path: join(folder, 'pack'), known }), /the index is broken/);
  t.same(readdirSync(folder), []);
});
