import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';
import t from 'tap';
import type { ByteString } from '../../src/byte-string.js';
import { digestOf } from '../../src/digest.js';
import type { LayerEntry } from '../../src/image/layer-entry.js';
import { type EntryPlace, EntryQueue, type FileEntry } from '../../src/pull/entry-queue.js';
import fc from '../support/properties.js';

const attributes = { mode: 0o644, uid: 0, gid: 0, mtime: { seconds: 0, nanoseconds: 0 } };
const content = digestOf(Buffer.alloc(0));

function fileEntry(path: string): FileEntry {
  return { ...attributes, type: 'file', size: 1, path: path as ByteString, xattrs: new Map() };
}

t.test('entries come in the order of the archive, whenever contents are known', async (t) => {
  fc.assert(
    fc.property(fc.array(fc.tuple(fc.boolean(), fc.nat(5)), { maxLength: 800 }), (steps) => {
      const written: string[] = [];
      const queue = new EntryQueue((entry) => written.push(entry.path));
      const open: EntryPlace[] = [];
      const settle = (at: number) => {
        const [place] = open.splice(at, 1);
        if (place) place.content = content;
        queue.advance();
      };
      for (const [at, [isFile, which]] of steps.entries()) {
        const entry = fileEntry(`${at}`);
        if (isFile) open.push(queue.addFile(entry));
        else queue.add({ ...entry, type: 'fifo' });
        if (open.length > 5) settle(which);
      }
      while (open.length > 0) settle(open.length - 1);
      queue.advance();
      t.same(
        written,
        steps.map((_, at) => `${at}`),
      );
    }),
    { numRuns: 50 },
  );
});

t.test('a queue in which something always waits keeps nothing that was written', async (t) => {
  setFlagsFromString('--expose-gc');
  const collect: () => void = runInNewContext('gc');
  let written: WeakRef<LayerEntry['mtime']> | undefined;
  const queue = new EntryQueue(({ mtime }) => {
    written ??= new WeakRef(mtime);
  });
  let before: EntryPlace | undefined;
  for (let at = 0; at < 1000; at++) {
    const entry = { ...fileEntry(`${at}`), mtime: { seconds: at, nanoseconds: 0 } };
    const place = queue.addFile(entry);
    if (before) before.content = content;
    before = place;
    queue.advance();
  }
  await new Promise((resolve) => setImmediate(resolve)); // a WeakRef holds until the job ends
  collect();
  t.ok(written);
  t.equal(written?.deref(), undefined);
  t.ok(before, 'and the queue is still there');
  queue.advance();
});
