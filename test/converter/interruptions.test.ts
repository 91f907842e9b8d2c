import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, readdirSync } from 'node:fs';
import { join } from 'node:path';
import t, { type Test } from 'tap';
import { testImage } from '../support/images.js';
import { blobsOf, convert, runThinify, testFolder, thinifyWords } from './thinify-runs.js';

const name = 'test/image:1';

/** Starts a conversion and waits until its first progress tells that it is in the middle. */
async function startConversion(t: Test, folder: string, words: string[]): Promise<ChildProcess> {
  const [command = '', ...args] = thinifyWords(...words, '--json');
  const env = { ...process.env, THINFS_CACHE_HOME: folder };
  const child = spawn(command, args, { env, stdio: ['ignore', 'pipe', 'pipe'] });
  t.teardown(() => child.kill('SIGKILL'));
  await once(child.stdout, 'data');
  return child;
}

t.test('kill -9 in the middle: nothing is visible, and the next one ends well', async (t) => {
  const { layout } = await testImage('base');
  const folder = testFolder(t);
  const store = join(folder, 'store');
  const words = [`oci:${layout}`, '--name', name, '--to', `dir:${store}`];
  const child = await startConversion(t, folder, words);
  const ended = once(child, 'exit');
  child.kill('SIGKILL');
  await ended;
  t.notOk(existsSync(join(store, 'refs')), 'no name');
  t.equal(readdirSync(join(folder, 'spool')).length, 1, 'it left its spool');

  await convert(folder, { image: `oci:${layout}`, name, to: `dir:${store}` });
  t.same(readdirSync(join(folder, 'spool')), [], 'which the next one has removed');
  t.equal((await runThinify(folder, ['verify', name, '--to', `dir:${store}`])).code, 0);
});

t.test('SIGINT ends with 130, without leftovers', async (t) => {
  const { layout } = await testImage('base');
  const folder = testFolder(t);
  const store = join(folder, 'store');
  const words = [`oci:${layout}`, '--name', name, '--to', `dir:${store}`];
  const child = await startConversion(t, folder, words);
  const ended = once(child, 'exit');
  child.kill('SIGINT');
  t.same(await ended, [130, null]);
  t.notOk(existsSync(join(store, 'refs')), 'nothing is visible');
  t.same(readdirSync(join(folder, 'spool')), [], 'the spool is gone');
});

t.test('two at once, with one index and one store', async (t) => {
  const { layout } = await testImage('busybox');
  const folder = testFolder(t);
  const store = join(folder, 'store');
  const conversion = { image: `oci:${layout}`, name, to: `dir:${store}` };
  const both = await Promise.all([convert(folder, conversion), convert(folder, conversion)]);
  t.same(both[0].thinManifests, both[1].thinManifests);
  const alone = join(folder, 'alone');
  await convert(join(folder, 'other'), { ...conversion, to: `dir:${alone}` });
  t.same([...blobsOf(store).keys()], [...blobsOf(alone).keys()], 'the same as by one');
  t.equal((await runThinify(folder, ['verify', name, '--to', `dir:${store}`])).code, 0);
});
