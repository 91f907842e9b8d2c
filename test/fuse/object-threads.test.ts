import { randomBytes } from 'node:crypto';
import { readdir, readFile, statfs } from 'node:fs/promises';
import { join } from 'node:path';
import t from 'tap';
import { tierPath } from '../../src/cache/layout.js';
import { digestOf } from '../../src/digest.js';
import { mountDevice } from '../../src/fuse/kernel-mount.js';
import { makeFileList } from '../../src/fuse/make-file-list.js';
import { ObjectThreads } from '../../src/fuse/object-threads.js';
import { holdDevice, imageNamed, putInTier } from './mounted-objects.js';
import { temporaryFolder, until } from './mounted-tree.js';

/** Worker threads of this process: all that have started, and those that run. */
const workers = { started: 0, running: 0 };
process.on('worker', (worker) => {
  workers.started += 1;
  workers.running += 1;
  worker.once('exit', () => {
    workers.running -= 1;
  });
});

t.test('a second thread comes with reads, and goes when there are none', async (t) => {
  const held = await holdDevice(t);
  const tier = await temporaryFolder(t);
  const files = Array.from({ length: 20 }, () => randomBytes(3000));
  for (const bytes of files) await putInTier(tier, bytes);
  const refs = files.map((bytes) => ({ content: digestOf(bytes), size: bytes.length }));
  const list = await makeFileList(imageNamed('an image'), refs);
  await mountDevice(held.device, { ...held, allowOther: false, setuid: false });
  const threads = new ObjectThreads({
    ...held,
    tiers: [tier],
    images: () => [list],
    hear: () => {},
    // Longer than the milliseconds between two reports of reads.
    idleMs: 1500,
  });
  t.teardown(() => threads.stop());
  t.equal(await threads.initialized, true);
  t.equal((await statfs(held.mountPoint)).type, 0x65735546);
  t.same(workers, { started: 1, running: 1 });
  const readSome = async (some: readonly Buffer[]) => {
    for (const bytes of some) {
      const path = tierPath(join(held.mountPoint, list.name), digestOf(bytes));
      t.ok((await readFile(path)).equals(bytes));
    }
  };
  const filesOpen = async () => (await readdir('/proc/self/fd')).length;
  const filesBefore = await filesOpen();
  for (const half of [files.slice(0, 10), files.slice(10)]) {
    const { started } = workers;
    await readSome(half);
    await until('the second came', () => workers.started > started);
    await until('it went', () => workers.running === 1);
    await until('files are closed', async () => (await filesOpen()) <= filesBefore);
  }
  t.equal((await statfs(held.mountPoint)).type, 0x65735546, 'and the first goes on');
  await threads.stop();
  t.equal(await threads.ended, undefined);
  await until('both are gone', () => workers.running === 0);
});

t.test('a thread that breaks is told', async (t) => {
  const held = await holdDevice(t);
  // Never mounted: a read of it is refused.
  const threads = new ObjectThreads({ ...held, tiers: [], images: () => [], hear: () => {} });
  t.match(await threads.ended, { code: 'EPERM' });
  await threads.stop();
});
