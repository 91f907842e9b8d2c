import { fork } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { mkdtemp, readdir, rmdir, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import t, { type Test } from 'tap';
import { digestOf } from '../../src/digest.js';
import { openStore, openWritableStore } from '../../src/store/open-store.js';
import { findThinImage } from '../../src/thin/find-thin-image.js';
import { publishThinImage } from '../../src/thin/publish-thin-image.js';
import { runCommand } from '../support/run-command.js';
import { amd64, bytesFrom, smallImage } from '../thin/small-image.js';
import { failsWith, never, putRandom, readAll } from './store-suite.js';

/** A file system of its own, gone after the test. */
async function smallDisk(t: Test, options: string): Promise<string> {
  const folder = await mkdtemp(join(tmpdir(), 'thinfs-test-disk-'));
  await runCommand('mount', ['-t', 'tmpfs', '-o', options, 'thinfs-test', folder]);
  t.teardown(async () => {
    await runCommand('umount', [folder]);
    await rmdir(folder);
  });
  return folder;
}

t.test('a full disk is told, leaves nothing behind, and is recovered from', async (t) => {
  const folder = await smallDisk(t, 'size=512k');
  await using opened = await openWritableStore(`dir:${folder}`, {}, never);
  const { store } = opened;
  const { blob, bytes } = await putRandom(store, 200_000);
  const large = randomBytes(600_000);
  const tooLarge = { digest: digestOf(large), size: large.length };
  await failsWith(t, 'no-space', store.putBlob(tooLarge, bytesFrom(large), never));
  t.equal(await store.hasBlob(tooLarge, never), false);
  t.strictSame(await readdir(join(folder, 'tmp')), [], 'the temporary file is gone');
  t.ok((await readAll(store, blob)).equals(bytes), 'what was there is there');
  await putRandom(store, 100_000);
});

t.test('no more names are a full disk too', async (t) => {
  const folder = await smallDisk(t, 'size=4m,nr_inodes=12');
  await using opened = await openWritableStore(`dir:${folder}`, {}, never);
  const fill = async () => {
    for (let n = 0; n < 20; n++) await putRandom(opened.store, 10);
  };
  await failsWith(t, 'no-space', fill());
});

t.test('a file where a folder should be', async (t) => {
  const folder = t.testdir({ refs: 'a file' });
  await using opened = await openWritableStore(`dir:${folder}`, {}, never);
  const image = await smallImage('in the way');
  await failsWith(t, ['busy', 'not-found'], publishThinImage(opened.store, image, never));
});

t.test('refs that are no index, or too large', async (t) => {
  const folder = t.testdir({ refs: { 'docker.io': {} } });
  await using opened = await openStore(`dir:${folder}`, {}, never);
  const put = (text: string | Buffer) => writeFile(join(folder, 'refs/docker.io/v1.json'), text);
  for (const text of ['', '{', '[]', '{"schemaVersion":2}', '{"schemaVersion":2,"manifests":3}']) {
    await put(text);
    await failsWith(t, 'corrupt', opened.store.tagged('docker.io', 'v1', never));
  }
  await put(Buffer.alloc(5 * 1024 * 1024, ' '));
  await failsWith(t, 'corrupt', opened.store.tagged('docker.io', 'v1', never));
});

t.test('publishers that are killed leave no half image, and do not hinder the next', async (t) => {
  const folder = t.testdir({});
  const image = await smallImage('killed');
  const wanted = { repository: image.repository, manifest: image.subject, platform: amd64 };
  for (let kills = 0; kills < 5; kills++) {
    const child = fork(join(import.meta.dirname, 'publish-forever.ts'), [folder]);
    const exited = once(child, 'exit');
    t.teardown(() => child.kill('SIGKILL'));
    await once(child, 'message');
    child.kill('SIGKILL');
    await exited;
    await using opened = await openStore(`dir:${folder}`, {}, never);
    const found = await findThinImage(opened.store, wanted, never);
    if (found) {
      t.ok(found.descriptor.packs.length > 0);
      for (const pack of found.descriptor.packs) await readAll(opened.store, pack);
    }
  }
  await using opened = await openWritableStore(`dir:${folder}`, {}, never);
  await publishThinImage(opened.store, image, never);
  t.ok(await findThinImage(opened.store, wanted, never));
});
