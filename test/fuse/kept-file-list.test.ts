import { readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import t from 'tap';
import { digestOf } from '../../src/digest.js';
import { FileList } from '../../src/fuse/file-list.js';
import { keepFileList, readFileList } from '../../src/fuse/kept-file-list.js';
import { makeFileList } from '../../src/fuse/make-file-list.js';

const image = digestOf(Buffer.from('image'));
const files = Array.from({ length: 50 }, (_, at) => ({
  content: digestOf(Buffer.from(`${at}`)),
  size: at * 2 ** 33,
}));

t.test('what is kept is what was made', async (t) => {
  const folder = t.testdir();
  const path = join(folder, 'list');
  t.equal(await readFileList(path, image), undefined, 'there is none');
  for (const some of [[], files]) {
    const list = await makeFileList(image, some);
    await keepFileList(path, list);
    const read = await readFileList(path, image);
    t.strictSame(read, list);
    t.strictSame(
      read && [...new FileList(read)],
      some.toSorted((a, b) => (a.content < b.content ? -1 : 1)),
    );
  }
  t.strictSame(readdirSync(folder), ['list']);
  await t.rejects(keepFileList(join(folder, 'none', 'list'), await makeFileList(image, files)), {
    code: 'not-found',
  });
});

t.test('what is not whole, or of another image, is none', async (t) => {
  const path = join(t.testdir(), 'list');
  await keepFileList(path, await makeFileList(image, files));
  t.equal(await readFileList(path, digestOf(Buffer.from('other'))), undefined);
  const whole = readFileSync(path);
  for (const length of [0, 31, 32, 33, 72, whole.length - 40, whole.length - 1]) {
    writeFileSync(path, whole.subarray(0, length));
    t.equal(await readFileList(path, image), undefined, `${length} bytes of it`);
  }
  for (const at of [0, 31, 32, 70, whole.length - 1]) {
    const flipped = Buffer.from(whole);
    flipped.writeUInt8(flipped.readUInt8(at) ^ 1, at);
    writeFileSync(path, flipped);
    t.equal(await readFileList(path, image), undefined, `another byte at ${at}`);
  }
});
