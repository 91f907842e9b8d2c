import {
  mkdirSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmdirSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import t, { type Test } from 'tap';
import { FrameShelf } from '../../src/pop/frame-shelf.js';
import { fetchName } from '../../src/pop/pop-keys.js';

function openShelf(t: Test, quotaBytes = 2 ** 20): Promise<FrameShelf> {
  const folder = t.testdir();
  return FrameShelf.open({ folder, quotaBytes, policy: 'lru', freeSpaceFloorBytes: 0 });
}

const name = fetchName('frame', 'one');
const bytes = Buffer.alloc(1000, 'one');

t.test(
  'a frame whose file cannot be read now is kept, one that is wrong or gone is not',
  async (t) => {
    const shelf = await openShelf(t);
    const file = join(t.testdirName, name);
    await shelf.keep(name, bytes);
    // A folder in its place: root reads any file, whatever its mode.
    renameSync(file, `${file}.aside`);
    mkdirSync(file);
    t.equal(await shelf.get(name), undefined);
    t.equal(shelf.usage.frames, 1, 'that says nothing of the frame');
    rmdirSync(file);
    renameSync(`${file}.aside`, file);
    t.same((await shelf.get(name))?.bytes, bytes);

    const wrong = readFileSync(file);
    wrong[3] = 255 - (wrong[3] ?? 0);
    writeFileSync(file, wrong);
    t.equal(await shelf.get(name), undefined);
    t.same(readdirSync(t.testdirName), [], 'what is wrong goes');

    await shelf.keep(name, bytes);
    renameSync(file, `${file}.aside`);
    t.equal(await shelf.get(name), undefined);
    t.equal(shelf.usage.frames, 0, 'what is gone takes no room');
  },
);

t.test('what earlier processes have left is found again, the oldest leaves first', async (t) => {
  const shelf = await openShelf(t);
  const names = Array.from({ length: 100 }, (_, at) => fetchName('frame', `frame ${at}`));
  for (const each of names) await shelf.keep(each, bytes);
  writeFileSync(join(t.testdirName, '.half'), 'of a process that was killed');
  const [size] = [shelf.usage.bytes / 100];
  const folder = t.testdirName;
  const options = { folder, policy: 'lru', freeSpaceFloorBytes: 0 } as const;
  const again = await FrameShelf.open({ ...options, quotaBytes: 100 * size });
  t.equal(again.usage.frames, 100);
  const smaller = await FrameShelf.open({ ...options, quotaBytes: 10 * size });
  t.equal(smaller.usage.frames, 10);
  t.same(readdirSync(folder).length, 10, 'and nothing else is there');
});

t.test('what is found wrong while it is being written does not stay', async (t) => {
  const shelf = await openShelf(t);
  for (let turns = 0; turns < 12; turns++) {
    const each = fetchName('frame', `removed after ${turns} turns`);
    const keeping = shelf.keep(each, bytes);
    for (let turn = 0; turn < turns; turn++) await new Promise((resolve) => setImmediate(resolve));
    await shelf.remove(each);
    await keeping;
    t.equal(shelf.has(each), false, `after ${turns} turns`);
  }
  t.same(readdirSync(t.testdirName), []);
  t.equal(shelf.usage.bytes, 0);
});
