import { randomUUID } from 'node:crypto';
import { existsSync, readdirSync, utimesSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import t from 'tap';
import { type Digest, digestOf } from '../../src/digest.js';
import { ThinError } from '../../src/errors.js';
import { HotFolder } from '../../src/hot/hot-folder.js';
import {
  decodeHotList,
  encodeHotList,
  type HotList,
  hotRanges,
  runsMax,
  type Touch,
} from '../../src/hot/hot-list.js';
import { HotRecording } from '../../src/hot/hot-recording.js';
import { encodeHotIndex } from '../../src/thin/hot-index.js';
import fc from '../support/properties.js';

const block = 16_384;
const [a, b, c] = ['a', 'b', 'c'].map((name) => digestOf(Buffer.from(name)));
if (!a || !b || !c) throw new Error('no digests');
const start = { image: a, platform: 'linux/amd64', args: ['python3', 'app.py'] };

function touch(content: Digest, offset = 0, length = 10): Touch {
  return { content, size: 100_000, offset, length, milliseconds: 5 };
}

function listOf(...runs: Touch[][]): HotList {
  return { ...start, runs: runs.map((touches) => ({ touches })) };
}

t.test('what half of the runs touched, in the order of the median place', async (t) => {
  const contents = (list: HotList) => hotRanges(list).map(({ content }) => content);
  t.same(contents(listOf([touch(c), touch(a)])), [c, a]);
  t.same(contents(listOf([touch(a), touch(b)], [touch(a)])), [a, b], 'half is enough');
  t.same(contents(listOf([touch(a), touch(b)], [touch(a)], [touch(a)])), [a], 'less is not');
  const late = listOf([touch(a), touch(b)], [touch(b), touch(c), touch(a)], [touch(b), touch(a)]);
  t.same(contents(late), [b, a]);
});

t.test('neighbours in a file are one range, which ends with the file', async (t) => {
  const list = listOf([touch(a, 5, 10), touch(a, block, block), touch(b, 90_000, 10_000)]);
  t.same(hotRanges(list), [
    { content: a, size: 100_000, offset: 0, length: 2 * block },
    { content: b, size: 100_000, offset: 5 * block, length: 100_000 - 5 * block },
  ]);
});

t.test('a recording joins what is read in order, and stays in the file', async (t) => {
  const recording = new HotRecording();
  const file = { content: a, size: 1000 };
  recording.brought({ content: b, size: 10 }, 0, 10);
  recording.miss(file, 0, 100);
  recording.miss({ content: c, size: 10 }, 0, 10);
  recording.miss(file, 100, 5000);
  recording.miss(file, 2000, 1);
  t.equal(recording.missed, 4);
  const rows = recording
    .run()
    .touches.map(({ content, offset, length }) => [content, offset, length]);
  t.same(rows, [
    [b, 0, 10],
    [a, 0, 1000],
    [c, 0, 10],
  ]);
});

t.test('a list is read as it was written', async (t) => {
  const list = listOf([touch(a), touch(b, 7, 9)], [], [touch(a, 99_990, 10)]);
  t.same(decodeHotList(encodeHotList(list)), list);
});

t.test('newer lists and broken ones are told apart', async (t) => {
  t.throws(() => decodeHotList(Buffer.from('{"version":2}')), { code: 'invalid' });
  const good = encodeHotList(listOf([touch(a)])).toString();
  for (const [from, to] of [
    ['[[0,0,10,5]]', '[[1,0,10,5]]'],
    ['[[0,0,10,5]]', '[[0,99999,10,5]]'],
    ['[[0,0,10,5]]', '[[0,-1,10,5]]'],
    ['[[0,0,10,5]]', '[[0,0,1e300,5]]'],
    ['"version":1,', ''],
    ['sha256:', 'sha512:'],
  ]) {
    const bytes = good.replace(from ?? '', to ?? '');
    t.not(bytes, good);
    t.throws(() => decodeHotList(Buffer.from(bytes)), { code: 'corrupt' }, bytes);
  }
});

t.test('any bytes are a list or an error of ours', async (t) => {
  const json = fc.json().map((text) => Buffer.from(text));
  const good = encodeHotList(listOf([touch(a), touch(b)], [touch(c)]));
  const changed = fc
    .tuple(fc.nat({ max: good.length - 1 }), fc.nat({ max: 255 }))
    .map(([at, to]) => {
      const bytes = Buffer.from(good);
      bytes[at] = to;
      return bytes;
    });
  fc.assert(
    fc.property(fc.oneof(json, changed), (bytes) => {
      try {
        for (const { offset, length, size } of hotRanges(decodeHotList(bytes))) {
          if (offset + length > size) return false;
        }
        return true;
      } catch (error) {
        return error instanceof ThinError;
      }
    }),
    { numRuns: 1000 },
  );
  t.pass();
});

t.test('the folder keeps the newest eight runs of each image and command', async (t) => {
  const root = t.testdir({});
  const folder = new HotFolder(root);
  t.equal(await folder.find(start), undefined);
  const runs = Array.from({ length: 10 }, (_, at) => ({ touches: [touch(a, at)] }));
  await Promise.all(runs.map((run) => folder.add(start, run)));
  t.same((await folder.find(start))?.runs, runs.slice(2));
  await folder.add({ ...start, args: ['sh'] }, { touches: [touch(b)] });
  t.equal((await folder.of(a)).length, 2);
  t.same(await folder.of(b), []);
  const lists = readdirSync(join(root, 'hot')).filter((name) => name.endsWith('.json'));
  for (const name of lists) writeFileSync(join(root, 'hot', name), '{"version":9}');
  t.equal(await folder.find(start), undefined, 'what a newer one wrote is left alone');
  await folder.add(start, { touches: [touch(c)] });
  t.equal((await folder.find(start))?.runs.length, 1);
});

t.test('what a killed process left of a list goes, and what is being written stays', async (t) => {
  const root = t.testdir({});
  const folder = new HotFolder(root);
  await folder.add(start, { touches: [touch(a)] });
  const [list = ''] = readdirSync(join(root, 'hot')).filter((name) => name.endsWith('.json'));
  const [left, fresh] = [1, 2].map((pid) => join(root, 'hot', `${list}.${pid}.${randomUUID()}`));
  for (const path of [left, fresh]) writeFileSync(`${path}`, '{');
  const dayAgo = Date.now() / 1000 - 24 * 3600;
  utimesSync(`${left}`, dayAgo, dayAgo);
  await folder.add(start, { touches: [touch(b)] });
  t.same([existsSync(`${left}`), existsSync(`${fresh}`)], [false, true]);
  t.equal((await folder.find(start))?.runs.length, 2);
});

t.test('what two processes add at once is all kept, and each run once', async (t) => {
  const root = t.testdir({});
  const [daemon, command] = [new HotFolder(root), new HotFolder(root)];
  const runs = Array.from({ length: runsMax }, (_, at) => ({ touches: [touch(a, at)] }));
  await Promise.all(runs.map((run, at) => (at % 2 ? daemon : command).add(start, run)));
  const kept = (await daemon.find(start))?.runs ?? [];
  t.same(new Set(kept.map((run) => JSON.stringify(run))).size, runsMax);
  await command.import([{ ...start, runs: [...runs, ...runs] }]);
  t.same((await daemon.find(start))?.runs, kept);
  const other = { ...start, args: ['other'] };
  const [run = { touches: [] }] = runs;
  await command.import([{ ...other, runs: [run, run] }]);
  t.equal((await daemon.find(other))?.runs.length, 1);
});

t.test('what was published is read once from memory, and then from the disk', async (t) => {
  const folder = new HotFolder(t.testdir({}));
  const [image, recordings] = [digestOf(Buffer.from('image')), digestOf(Buffer.from('runs'))];
  const wire = { digest: recordings, size: 1, plainDigest: recordings, plainSize: 1 };
  const index = { image, platform: 'linux/amd64', commands: [], recordings: wire };
  await folder.keepPublished(encodeHotIndex(index), index);
  t.equal(await folder.published(recordings), undefined, 'of another image there is nothing');
  t.equal(await folder.published(image), index);
  const read = await folder.published(image);
  t.same(read, index);
  t.not(read, index);
});
