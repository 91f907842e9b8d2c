import type { ByteString } from '../../src/byte-string.js';
import { type Digest, digestOf } from '../../src/digest.js';
import type { LayerEntry } from '../../src/image/layer-entry.js';
import fc from '../support/properties.js';

const number32 = fc.integer({ min: 0, max: 2 ** 32 - 1 });
/** With the prototype that literals have. */
const plain = { noNullPrototype: true };

const name = (max: number) =>
  fc
    .uint8Array({ maxLength: max })
    .map((bytes) => Buffer.from(bytes).toString('latin1') as ByteString);
const attributes = {
  path: name(4096),
  mode: fc.integer({ min: 0, max: 0o7777 }),
  uid: number32,
  gid: number32,
  mtime: fc.record(
    {
      seconds: fc.maxSafeInteger(),
      nanoseconds: fc.integer({ min: 0, max: 999_999_999 }),
    },
    plain,
  ),
  xattrs: fc
    .array(fc.tuple(name(200), fc.uint8Array({ maxLength: 70_000 })), { maxLength: 4 })
    .map((pairs) => new Map(pairs.map(([key, value]) => [key, Buffer.from(value)] as const))),
};
/** Entries of layers, as odd as they come. */
export const layerEntry: fc.Arbitrary<LayerEntry> = fc.oneof(
  fc.record(
    {
      ...attributes,
      type: fc.constant('file' as const),
      size: fc.maxSafeNat(),
      content: fc.uint8Array().map((bytes): Digest => digestOf(bytes)),
    },
    plain,
  ),
  fc.record({ ...attributes, type: fc.constantFrom('directory' as const, 'fifo' as const) }, plain),
  fc.record(
    {
      ...attributes,
      type: fc.constantFrom('symlink' as const, 'hardlink' as const),
      target: name(4095),
    },
    plain,
  ),
  fc.record(
    {
      ...attributes,
      type: fc.constantFrom('character' as const, 'block' as const),
      device: fc.record({ major: number32, minor: number32 }, plain),
    },
    plain,
  ),
);
