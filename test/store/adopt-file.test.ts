import { existsSync, mkdtempSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import t, { type Test } from 'tap';
import { digestOf } from '../../src/digest.js';
import { readRange } from '../../src/store/byte-stream.js';
import { DirectoryObjects } from '../../src/store/directory-objects.js';
import { writableLayoutStore } from '../../src/store/layout-store.js';

const { signal } = new AbortController();
const bytes = Buffer.from('the bytes of a pack');
const blob = { digest: digestOf(bytes), size: bytes.length };

function folderIn(t: Test, parent: string): string {
  const folder = mkdtempSync(join(parent, 'thinfs-test-adopt-'));
  t.teardown(() => rmSync(folder, { recursive: true, force: true }));
  return folder;
}

function fileIn(folder: string, content: Buffer): string {
  const path = join(folder, 'pack');
  writeFileSync(path, content);
  return path;
}

t.test('a file of the same file system is moved', async (t) => {
  const folder = folderIn(t, tmpdir());
  const store = writableLayoutStore(new DirectoryObjects(join(folder, 'store')));
  const file = fileIn(folder, bytes);
  const { ino } = statSync(file);
  t.equal(await store.adoptFile?.(blob, file, signal), true);
  t.notOk(existsSync(file), 'it is gone');
  const kept = join(folder, 'store/blobs/sha256', blob.digest.slice('sha256:'.length));
  t.equal(statSync(kept).ino, ino, 'it is the same file');
  t.same(await readRange(store, blob, 0, blob.size, signal), bytes);
});

t.test('a file of another file system stays', async (t) => {
  const store = writableLayoutStore(new DirectoryObjects(join(folderIn(t, '/dev/shm'), 'store')));
  const file = fileIn(folderIn(t, tmpdir()), bytes);
  t.equal(await store.adoptFile?.(blob, file, signal), false);
  t.ok(existsSync(file));
  t.notOk(await store.hasBlob(blob, signal), 'nothing appeared');
});

t.test('a file that is too short is refused', async (t) => {
  const folder = folderIn(t, tmpdir());
  const store = writableLayoutStore(new DirectoryObjects(join(folder, 'store')));
  const file = fileIn(folder, bytes.subarray(1));
  await t.rejects(async () => await store.adoptFile?.(blob, file, signal), { code: 'corrupt' });
  t.notOk(await store.hasBlob(blob, signal));
});
