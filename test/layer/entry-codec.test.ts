import { isDeepStrictEqual } from 'node:util';
import t from 'tap';
import { isThinError } from '../../src/errors.js';
import type { LayerEntry } from '../../src/image/layer-entry.js';
import { EntryDecoder, encodeEntry, entrySize } from '../../src/layer/entry-codec.js';
import fc from '../support/properties.js';
import { layerEntry } from './arbitrary-entry.js';

function encoded(one: LayerEntry): Buffer {
  const bytes = Buffer.alloc(entrySize(one));
  encodeEntry(one, bytes, 0);
  return bytes;
}

t.test('every entry comes back, and takes the bytes that it said', async (t) => {
  const decoder = new EntryDecoder();
  fc.assert(
    fc.property(layerEntry, (one) => {
      const bytes = Buffer.alloc(entrySize(one) + 20);
      if (encodeEntry(one, bytes, 10) !== bytes.length - 10) throw new Error('another size');
      const { length } = encoded(one);
      if (EntryDecoder.lengthAt(bytes, 10) !== length) throw new Error('another length');
      return isDeepStrictEqual(decoder.decode(bytes, 10, 10 + length), one);
    }),
    { numRuns: 300 },
  );
  t.pass();
});

t.test('damaged bytes are an entry or corrupt, nothing else', async (t) => {
  const decoder = new EntryDecoder();
  const damage = fc.tuple(layerEntry, fc.nat(), fc.nat({ max: 255 }), fc.boolean());
  fc.assert(
    fc.property(damage, ([one, at, value, cut]) => {
      const bytes = encoded(one);
      const place = at % bytes.length;
      bytes[place] = value;
      try {
        decoder.decode(bytes, 0, cut ? place : bytes.length);
      } catch (error) {
        if (!isThinError(error, 'corrupt')) throw error;
      }
    }),
    { numRuns: 2000 },
  );
  t.pass();
});
