import t from 'tap';
import { digestOf } from '../../src/digest.js';
import { isThinError } from '../../src/errors.js';
import { limits } from '../../src/limits.js';
import {
  encodeThinDescriptor,
  parseThinDescriptor,
  type ThinDescriptorContent,
  type WireBlob,
} from '../../src/thin/descriptor.js';
import fc from '../support/properties.js';
import { madeUpDigest } from './made-up-chunks.js';
import { smallImage } from './small-image.js';

const image = await smallImage('descriptor');
const wire = {
  digest: madeUpDigest('wire'),
  size: 1000,
  plainDigest: madeUpDigest('plain'),
  plainSize: 5000,
};
const content: ThinDescriptorContent = {
  manifest: image.manifest,
  config: image.config,
  platform: { os: 'linux', architecture: 'arm', variant: 'v7' },
  metadata: wire,
  chunkMap: { ...wire, digest: madeUpDigest('map') },
  packs: [image.pack, { digest: madeUpDigest('older'), size: 2 ** 40 }],
};
const bytes = encodeThinDescriptor(content);
const text = bytes.toString();

/** The descriptor's JSON with one value changed by path; still what `JSON.stringify` writes. */
function changed(path: string, value: unknown): Buffer {
  const json: unknown = JSON.parse(text);
  const names = path.split('.');
  const last = names.pop() ?? '';
  let at: unknown = json;
  for (const name of names) at = Reflect.get(Object(at), name);
  Reflect.set(Object(at), last, value);
  return Buffer.from(JSON.stringify(json));
}

t.test('what is written is read back', async (t) => {
  const read = parseThinDescriptor(bytes);
  t.equal(read.image.manifest.text, image.manifest.bytes.toString());
  t.equal(read.image.manifest.digest, image.subject);
  t.equal(read.image.config.text, image.config.toString());
  t.strictSame(read.image.platform, content.platform);
  t.strictSame(read.metadata, content.metadata);
  t.strictSame(read.chunkMap, content.chunkMap);
  t.strictSame(
    read.packs,
    content.packs.map(({ digest, size }) => ({ digest, size })),
  );
  t.equal(read.image.layers.length, 1);
  t.match(read.image.layers[0], { diffId: /^sha256:/, descriptor: { size: 19 } });
  t.ok(encodeThinDescriptor({ ...content }).equals(bytes), 'and always written the same');
  const hotList = { ...wire, digest: madeUpDigest('hot') };
  t.strictSame(parseThinDescriptor(encodeThinDescriptor({ ...content, hotList })).hotList, hotList);
});

t.test('what it does not know is passed over, a newer version is not', async (t) => {
  const more = parseThinDescriptor(changed('later', { a: [1, 2] }));
  t.strictSame(more, parseThinDescriptor(bytes));
  t.throws(() => parseThinDescriptor(changed('version', 3)), {
    code: 'invalid',
    message: /version 3 \(wanted at most 2\).*newer thinfs/,
  });
  for (const version of [0, -1, '1', 1.5, null, 2 ** 53]) {
    const code = version === 2 ** 53 ? /corrupt/ : 'corrupt';
    t.throws(() => parseThinDescriptor(changed('version', version)), { code });
  }
});

t.test('bare metadata makes it version 2', async (t) => {
  const { plainSize } = content.metadata;
  const bare = (bareSize: number) =>
    encodeThinDescriptor({ ...content, metadata: { ...content.metadata, bareSize } });
  const read = parseThinDescriptor(bare(plainSize + 8));
  t.equal(read.version, 2);
  t.equal(read.metadata.bareSize, plainSize + 8);
  for (const size of [plainSize - 4, plainSize + 3, 2 * plainSize + 4, 0.5]) {
    t.throws(() => bare(size), { code: 'corrupt' }, `${size}`);
  }
  t.throws(() => parseThinDescriptor(changed('version', 2)), { code: 'corrupt' });
  t.throws(() => parseThinDescriptor(changed('metadata.bareSize', plainSize + 4)), {
    code: 'corrupt',
  });
});

t.test('one reading: JSON in its canonical form only', async (t) => {
  const forms: Record<string, string | Buffer> = {
    'white space': ` ${text}`,
    'a line at the end': `${text}\n`,
    'a byte order mark': `\ufeff${text}`,
    'a key twice': text.replace('{"version":1', '{"version":1,"version":1'),
    'a number in another form': text.replace('"version":1', '"version":1.0'),
    'an escape that is not needed': text.replace('"metadata"', '"\\u006detadata"'),
    'a number beyond doubles': text.replace('"size":1000', '"size":9007199254740993'),
    'bytes that are not UTF-8': Buffer.from(text.replace('linux', 'lin\u00e9x'), 'latin1'),
    nothing: '',
    'an array': '[]',
    null: 'null',
    'half of it': text.slice(0, text.length / 2),
    'deep nesting': `${'['.repeat(200_000)}${']'.repeat(200_000)}`,
    'too many bytes': Buffer.alloc(limits.descriptorBytesMax + 1, ' '),
  };
  for (const [what, form] of Object.entries(forms)) {
    t.throws(() => parseThinDescriptor(Buffer.from(form)), { code: 'corrupt' }, what);
  }
});

t.test('prototypes are not touched', async (t) => {
  const own = '"__proto__":{"polluted":1},"constructor":{"prototype":{"polluted":1}}';
  const read = parseThinDescriptor(
    Buffer.from(text.replace('{"version":1', `{"version":1,${own}`)),
  );
  t.equal(Reflect.get({}, 'polluted'), undefined);
  t.notOk(Object.hasOwn(read, '__proto__'));
  t.equal(Object.getPrototypeOf(read), Object.prototype);
});

t.test('numbers that are none of ours', async (t) => {
  const numbers = [-1, 0, 0.5, 2 ** 53, 2 ** 63, 2 ** 64, '1', null, true, [], {}];
  const fields = ['metadata.size', 'metadata.plainSize', 'chunkMap.size', 'packs.0.size'];
  for (const field of [...fields, 'image.manifest.size', 'image.config.size']) {
    for (const number of numbers) {
      t.throws(() => parseThinDescriptor(changed(field, number)), { code: 'corrupt' }, field);
    }
  }
  t.throws(() => parseThinDescriptor(changed('metadata.plainSize', 2 ** 32)), { code: 'corrupt' });
  const bomb = 1000 * 1000 + 2 ** 20;
  t.ok(parseThinDescriptor(changed('metadata.plainSize', bomb)));
  t.throws(() => parseThinDescriptor(changed('metadata.plainSize', bomb + 1)), { code: 'corrupt' });
  t.throws(() => parseThinDescriptor(changed('metadata.size', 2 ** 30)), { code: 'corrupt' });
  const largest = { ...content.metadata, plainSize: 2 ** 32 - 1, size: 2 ** 32 - 1 };
  const withMetadata = (metadata: WireBlob) => encodeThinDescriptor({ ...content, metadata });
  t.ok(withMetadata(largest));
  t.throws(
    () => withMetadata({ ...largest, size: 2 ** 32 }),
    { code: 'corrupt' },
    'no buffer has it',
  );
});

t.test('parts that do not belong together', async (t) => {
  const [pack] = content.packs;
  const other = Buffer.from('{"other":1}');
  const changes: Record<string, Buffer> = {
    'a pack twice': changed(
      'packs',
      [pack, pack].map((at) => ({ digest: at?.digest, size: 5 })),
    ),
    'too many packs': changed(
      'packs',
      Array.from({ length: 511 }, (_, at) => ({ digest: madeUpDigest(`${at}`), size: 1 })),
    ),
    'a manifest that is not its digest': changed('image.manifest.text', `${image.manifest.bytes} `),
    'a digest that is not its manifest': changed('image.manifest.digest', madeUpDigest('x')),
    'a config that the manifest does not name': changed('image.config', {
      digest: digestOf(other),
      size: other.length,
      text: other.toString(),
    }),
    'an index for a manifest': changed(
      'image.manifest.mediaType',
      'application/vnd.oci.image.index.v1+json',
    ),
    'another algorithm': changed('metadata.digest', `sha512:${'0'.repeat(128)}`),
    'an upper-case digest': changed('metadata.digest', `sha256:${'A'.repeat(64)}`),
    'no platform': changed('image.platform', undefined),
  };
  for (const [what, form] of Object.entries(changes)) {
    t.throws(() => parseThinDescriptor(form), { code: 'corrupt' }, what);
  }
  const strange = { ...content, manifest: { ...content.manifest, mediaType: 'text/html' } };
  t.throws(() => encodeThinDescriptor(strange), { code: 'invalid' });
  const latin = { ...content, config: Buffer.from([0x7b, 0xe9, 0x7d]) };
  t.throws(() => encodeThinDescriptor(latin), { code: 'corrupt' });
});

t.test('any bytes are a descriptor or an error', async (t) => {
  const total = (form: Buffer) => {
    try {
      parseThinDescriptor(form);
      return true;
    } catch (error) {
      return isThinError(error, 'corrupt', 'invalid');
    }
  };
  const json = fc.json({ maxDepth: 6 }).map((form) => Buffer.from(form));
  fc.assert(fc.property(json, total), { numRuns: 500 });
  const paths = fc.constantFrom(
    'version',
    'image',
    'image.manifest',
    'metadata',
    'packs',
    'packs.0',
  );
  const value = fc.jsonValue({ maxDepth: 3 });
  fc.assert(
    fc.property(paths, value, (path, at) => total(changed(path, at))),
    { numRuns: 500 },
  );
  const at = fc.nat(bytes.length - 1);
  const flipped = fc.tuple(at, fc.integer({ min: 1, max: 255 })).map(([where, bits]) => {
    const copy = Buffer.from(bytes);
    copy[where] = (copy[where] ?? 0) ^ bits;
    return copy;
  });
  fc.assert(fc.property(flipped, total), { numRuns: 1000 });
  t.pass();
});
