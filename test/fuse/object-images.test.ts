import t from 'tap';
import { digestOf } from '../../src/digest.js';
import { makeFileList } from '../../src/fuse/make-file-list.js';
import { ObjectImages } from '../../src/fuse/object-images.js';
import { imageNumber } from '../../src/fuse/object-namespace.js';

const imageNamed = (text: string) => digestOf(Buffer.from(text));

function filesOf(name: string, count: number) {
  return Array.from({ length: count }, (_, at) => ({
    content: digestOf(Buffer.from(`${name} ${at}`)),
    size: at,
  }));
}

function published(images: ObjectImages): string[] {
  const log: string[] = [];
  images.publishTo((update) => {
    if (update.type === 'image') log.push(`shows ${update.list.name}`);
    if (update.type === 'image-ended') log.push(`hides ${update.name}`);
  });
  return log;
}

t.test('an image is shown once, for as long as somebody uses it', async (t) => {
  const images = new ObjectImages();
  const log = published(images);
  const image = imageNamed('a');
  const list = await makeFileList(image, filesOf('a', 100));
  const first = images.add(list);
  t.equal(images.add(await makeFileList(image, filesOf('a', 100))), first);
  t.strictSame(log, [`shows ${first}`]);
  images.remove(image);
  t.equal(
    images.add(await makeFileList(image, [])),
    first,
    'while it is shown nobody looks at its files',
  );
  images.remove(image);
  images.remove(image);
  images.remove(image);
  t.equal(images.add(list), first);
  t.strictSame(log, [`shows ${first}`], 'it was remembered although nothing used it');
});

t.test('what is not used is forgotten when enough others came after it', async (t) => {
  const images = new ObjectImages();
  const log = published(images);
  const names: string[] = [];
  for (const name of ['a', 'b', 'c', 'd', 'e']) {
    const image = imageNamed(name);
    names.push(images.add(await makeFileList(image, filesOf(name, 30_000))));
    if (name !== 'b') images.remove(image);
  }
  t.strictSame(
    log.filter((entry) => entry.startsWith('hides')),
    [`hides ${names[0]}`],
    'the oldest went, b is in use, and 4 MiB of others stay',
  );
  t.strictSame(images.lists.map(({ name }) => name).sort(), names.slice(1).sort());
});

t.test('two images of the same number are not shown at once', async (t) => {
  const numbers = new Map<number, string>();
  let pair: readonly [string, string] | undefined;
  // As with birthdays: 2^13 of 2^26 numbers.
  for (let at = 0; pair === undefined; at++) {
    const number = imageNumber((await makeFileList(imageNamed(`${at}`), [])).name);
    const other = numbers.get(number);
    if (other !== undefined) pair = [other, `${at}`];
    numbers.set(number, `${at}`);
  }
  const images = new ObjectImages();
  const [first, second] = pair.map((name) => makeFileList(imageNamed(name), []));
  if (!first || !second) throw new Error('no pair');
  const [one, other] = [await first, await second];
  const firstName = images.add(one);
  t.throws(() => images.add(other), { code: 'busy', message: /its number is that of/ });
  images.remove(one.image);
  const secondName = images.add(other);
  t.strictSame(
    images.lists.map(({ name }) => name),
    [secondName],
  );
  t.not(firstName.slice(8, 16), secondName.slice(8, 16), 'the generation tells them apart');
  t.throws(() => images.add(one), { code: 'busy' });
});
