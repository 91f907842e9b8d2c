import t from 'tap';
import type { FileRef } from '../../src/cache/file-origin.js';
import { type Digest, digestBytes, digestFromBytes, digestOf } from '../../src/digest.js';
import { FileList } from '../../src/fuse/file-list.js';
import { makeFileList } from '../../src/fuse/make-file-list.js';
import fc from '../support/properties.js';

const image = digestOf(Buffer.from('an image'));

function fileNamed(text: string, size: number): FileRef {
  return { content: digestOf(Buffer.from(text)), size };
}

/** A digest that begins with `prefix`: files whose digests are alike are what sorting is made of. */
function digestWith(prefix: readonly number[], rest: number): Digest {
  const bytes = Buffer.alloc(32, rest);
  Buffer.from(prefix).copy(bytes);
  return digestFromBytes(bytes);
}

function hexOf(content: Digest): string {
  return content.slice('sha256:'.length);
}

t.test('every file is found, and no other', async () => {
  const digests = fc.oneof(
    fc.uint8Array({ minLength: 32, maxLength: 32 }).map((b) => digestFromBytes(Buffer.from(b))),
    fc
      .tuple(fc.array(fc.nat({ max: 1 }), { maxLength: 6 }), fc.nat({ max: 3 }))
      .map(([prefix, rest]) => digestWith(prefix, rest)),
  );
  const sizes = fc.oneof(fc.nat(), fc.constantFrom(0, 2 ** 32 - 1, 2 ** 32, 2 ** 40));
  await fc.assert(
    fc.asyncProperty(
      fc.dictionary(digests, sizes, { maxKeys: 60 }),
      digests,
      async (all, other) => {
        const refs = Object.entries(all).map(([content, size]) => ({
          content: content as Digest,
          size,
        }));
        const list = new FileList(await makeFileList(image, [...refs, ...refs.slice(0, 7)]));
        const digests = Buffer.concat(refs.map(({ content }) => digestBytes(content)));
        const columns = { digests, sizes: Float64Array.from(refs, ({ size }) => size) };
        if ((await makeFileList(image, columns)).name !== list.name) {
          throw new Error('columns make another list');
        }
        const again = await makeFileList(image, list.columns());
        if (again.name !== list.name) throw new Error('its own columns make another list');
        if (list.count !== refs.length) throw new Error('files that are named twice count once');
        const sorted = refs.map(({ content }) => content).sort();
        for (const [file, content] of sorted.entries()) {
          if (list.content(file) !== content) throw new Error(`file ${file} is in another place`);
          if (list.find(hexOf(content)) !== file) throw new Error(`${content} is not found`);
          if (list.size(file) !== all[content]) throw new Error(`${content} has another size`);
        }
        if (all[other] === undefined && list.find(hexOf(other)) !== undefined) {
          throw new Error(`${other} is found`);
        }
        for (const byte of [0, 1, 0x7f, 0xff]) {
          const { first, end } = list.beginningWith(byte);
          const start = `sha256:${byte.toString(16).padStart(2, '0')}`;
          const wanted = sorted.filter((content) => content.startsWith(start));
          const found = Array.from({ length: end - first }, (_, at) => list.content(first + at));
          if (found.join() !== wanted.join()) throw new Error(`another listing of ${start}`);
        }
      },
    ),
    { numRuns: 200 },
  );
});

t.test('the name is that of the image and its files, in whatever order', async (t) => {
  const files = Array.from({ length: 5000 }, (_, at) => fileNamed(`${at}`, at));
  const { name } = await makeFileList(image, files);
  t.match(name, /^[0-9a-f]{64}$/);
  t.equal((await makeFileList(image, [...files].reverse())).name, name);
  t.not((await makeFileList(image, files.slice(1))).name, name);
  t.not((await makeFileList(digestOf(Buffer.from('another')), files)).name, name);
  const larger = files.map(({ content, size }) => ({ content, size: size + 1 }));
  t.not((await makeFileList(image, larger)).name, name);
});

t.test('ten thousand digests that begin alike, and one that is named as often', async (t) => {
  const alike = Array.from({ length: 10_000 }, (_, at) => {
    const bytes = Buffer.alloc(32);
    bytes.writeUInt32BE(at, 28);
    return { content: digestFromBytes(bytes), size: 1 };
  });
  const same = Array.from({ length: 10_000 }, () => fileNamed('same', 2));
  const list = new FileList(await makeFileList(image, [...same, ...alike]));
  t.equal(list.count, 10_001);
});

t.test('a list that contradicts itself, or is none, is refused', async (t) => {
  const twice = makeFileList(image, [fileNamed('a', 1), fileNamed('b', 1), fileNamed('a', 2)]);
  await t.rejects(twice, { code: 'corrupt', message: /two different sizes/ });
  for (const size of [-1, 0.5, Number.NaN, 2 ** 41]) {
    await t.rejects(makeFileList(image, [fileNamed('a', size)]), { code: 'corrupt' }, `${size}`);
  }
  const broken = { content: 'sha256:zz' as Digest, size: 1 };
  await t.rejects(makeFileList(image, [broken]), { code: 'corrupt', message: /wanted a SHA-256/ });
  const failing = (function* (): Iterable<FileRef> {
    yield fileNamed('a', 1);
    throw new RangeError('damaged metadata');
  })();
  await t.rejects(makeFileList(image, failing), RangeError);
  t.equal(new FileList(await makeFileList(image, [])).count, 0);
});
