import { readFileSync, truncateSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import t from 'tap';
import { EntriesWriter, LayerEntries } from '../../converter/layer-entries.js';
import { mount, unmount, unmountFlags } from '../../native-bindings/mount-calls.js';
import type { ByteString } from '../../src/byte-string.js';
import type { LayerEntry } from '../../src/image/layer-entry.js';
import { encodeEntry, entrySize } from '../../src/layer/entry-codec.js';
import { testFolder } from './thinify-runs.js';

function encoded(one: LayerEntry): Buffer {
  const bytes = Buffer.alloc(entrySize(one));
  encodeEntry(one, bytes, 0);
  return bytes;
}

function fileOf(size: number, name: string): LayerEntry {
  const mtime = { seconds: 1, nanoseconds: 2 };
  const value = Buffer.alloc(size, 1);
  const xattrs = new Map([['user.large' as ByteString, value]]);
  const path = name as ByteString;
  return { path, type: 'fifo', mode: 0o644, uid: 0, gid: 0, mtime, xattrs };
}

t.test('a file of many pieces is read any number of times', async (t) => {
  const folder = testFolder(t);
  const entries = Array.from({ length: 3000 }, (_, i) => fileOf(i % 700, `entry ${i}`));
  entries.splice(1000, 0, fileOf(700_000, 'larger than a piece'));
  using writer = EntriesWriter.create(join(folder, 'entries'));
  for (const one of entries) writer.add(one);
  const written = writer.finish();
  t.strictSame([...written], entries);
  t.strictSame([...written], entries, 'and again');

  using copier = EntriesWriter.create(join(folder, 'copy'));
  for (const piece of written.pieces()) copier.addBytes(piece);
  copier.finish();
  t.ok(readFileSync(join(folder, 'copy')).equals(readFileSync(join(folder, 'entries'))));
});

t.test('a file that ends too early is corrupt, a missing one is told', async (t) => {
  const path = join(testFolder(t), 'entries');
  t.throws(() => [...new LayerEntries(path)], { code: 'not-found' });
  writeFileSync(path, Buffer.concat([encoded(fileOf(10, 'a')), encoded(fileOf(10, 'b'))]));
  t.equal([...new LayerEntries(path)].length, 2);
  truncateSync(path, encoded(fileOf(10, 'a')).length + 2);
  t.throws(() => [...new LayerEntries(path)], { code: 'corrupt' });
});

t.test('a full disk is no-space, from then on', async (t) => {
  const target = testFolder(t);
  await mount({ source: 'thinfs-test', target, type: 'tmpfs', data: 'size=64k' });
  t.teardown(() => unmount(target, unmountFlags.detach));
  using writer = EntriesWriter.create(join(target, 'entries'));
  const large = fileOf(300_000, 'larger than a piece');
  writer.add(large);
  t.throws(() => writer.add(large), { code: 'no-space' });
  t.throws(() => writer.finish(), { code: 'no-space' });
});
