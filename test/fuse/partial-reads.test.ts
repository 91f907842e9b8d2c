import { randomBytes } from 'node:crypto';
import { readdirSync, renameSync, truncateSync, unlinkSync, writeFileSync } from 'node:fs';
import t from 'tap';
import { PartialReads, partialViewsMax } from '../../src/fuse/partial-reads.js';
import fc from '../support/properties.js';
import { partialView, verify } from './mounted-objects.js';
import { temporaryFolder } from './mounted-tree.js';

const bytes = randomBytes(100_000);

function read(reads: PartialReads, node: number, offset: number, length: number) {
  const target = Buffer.alloc(length);
  return reads.read(node, bytes.length, offset, target) ? target : undefined;
}

t.test('reads what is verified, and nothing else', async (t) => {
  const folder = await temporaryFolder(t);
  const chunkBytes = 777;
  const last = Math.floor((bytes.length - 1) / chunkBytes);
  await fc.assert(
    fc.asyncProperty(
      fc.uniqueArray(fc.nat({ max: last }), { maxLength: last }),
      fc.nat({ max: bytes.length - 1 }),
      fc.integer({ min: 1, max: 20_000 }),
      async (chunks, offset, wanted) => {
        const length = Math.min(wanted, bytes.length - offset);
        const view = await partialView(folder, bytes, chunkBytes);
        for (const chunk of chunks) verify(view, chunk);
        const reads = new PartialReads();
        reads.add(9, view);
        const needed = Array.from({ length: last + 1 }, (_, at) => at).filter(
          (at) => at * chunkBytes < offset + length && (at + 1) * chunkBytes > offset,
        );
        const got = read(reads, 9, offset, length);
        reads.close();
        if (needed.every((at) => chunks.includes(at)) !== (got !== undefined)) {
          throw new Error(`chunks ${needed} are needed and it is ${got && 'read'}`);
        }
        if (got && !got.equals(bytes.subarray(offset, offset + length))) throw new Error('bytes');
      },
    ),
    { numRuns: 300 },
  );
});

t.test('another node and another size are another file', async (t) => {
  const view = await partialView(await temporaryFolder(t), bytes, 200_000);
  verify(view, 0);
  const reads = new PartialReads();
  reads.add(9, view);
  t.teardown(async () => reads.close());
  t.equal(read(reads, 8, 0, 10), undefined);
  t.notOk(reads.read(9, bytes.length - 1, 0, Buffer.alloc(10)));
  t.ok(read(reads, 9, 0, 10));
});

t.test('a path that has become the name of something else is not read', async (t) => {
  const folder = await temporaryFolder(t);
  const view = await partialView(folder, bytes, 200_000);
  verify(view, 0);
  const [early, late] = [new PartialReads(), new PartialReads()];
  t.teardown(async () => {
    early.close();
    late.close();
  });
  early.add(9, view);
  late.add(9, view);
  t.ok(read(early, 9, 0, 100));
  Atomics.store(view.named, 0, 0);
  renameSync(view.path, `${view.path}.promoted`);
  writeFileSync(view.path, Buffer.alloc(bytes.length));
  t.ok(read(early, 9, 0, 100)?.equals(bytes.subarray(0, 100)), 'what is open is the file itself');
  t.equal(read(late, 9, 0, 100), undefined);
});

t.test('no more descriptors than said, and none in the end', async (t) => {
  const folder = await temporaryFolder(t);
  const view = await partialView(folder, bytes, 200_000);
  verify(view, 0);
  const openFiles = () => readdirSync('/proc/self/fd').length;
  const before = openFiles();
  const reads = new PartialReads();
  for (let node = 0; node < partialViewsMax + 50; node++) {
    reads.add(node, view);
    t.ok(read(reads, node, 5, 10));
  }
  t.equal(openFiles() - before, partialViewsMax);
  t.equal(read(reads, 0, 5, 10), undefined, 'the first was forgotten');
  reads.remove(partialViewsMax + 1);
  t.equal(openFiles() - before, partialViewsMax - 1);
  reads.close();
  t.equal(openFiles(), before);
});

t.test('a file that is shorter than it should be, or gone, is not here', async (t) => {
  const folder = await temporaryFolder(t);
  const [torn, gone] = [
    await partialView(folder, bytes, 200_000),
    await partialView(folder, bytes.subarray(1), 200_000),
  ];
  verify(torn, 0);
  verify(gone, 0);
  truncateSync(torn.path, 5000);
  unlinkSync(gone.path);
  const reads = new PartialReads();
  t.teardown(async () => reads.close());
  reads.add(1, torn);
  reads.add(2, gone);
  t.ok(read(reads, 1, 0, 5000));
  t.equal(read(reads, 1, 4000, 5000), undefined);
  t.notOk(reads.read(2, gone.size, 0, Buffer.alloc(10)));
});
