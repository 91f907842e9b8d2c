import t from 'tap';
import {
  byteString,
  byteStringFromText,
  byteStringToBuffer,
  displayByteString,
} from '../src/byte-string.js';
import fc from './support/properties.js';

t.test('any bytes survive', async (t) => {
  fc.assert(
    fc.property(fc.uint8Array(), (bytes) => {
      return byteStringToBuffer(byteString(bytes)).equals(Buffer.from(bytes));
    }),
  );
  t.pass('property holds');
});

t.test('comparison is by bytes', async (t) => {
  fc.assert(
    fc.property(fc.uint8Array(), fc.uint8Array(), (a, b) => {
      const order = byteString(a) < byteString(b) ? -1 : byteString(a) > byteString(b) ? 1 : 0;
      return order === Buffer.compare(a, b);
    }),
  );
  t.pass('property holds');
});

t.test('people see UTF-8 where it is, escapes elsewhere', async (t) => {
  t.equal(displayByteString(byteStringFromText('grüße')), 'grüße');
  t.equal(displayByteString(byteString(Buffer.from([0x61, 0xff]))), 'a\\xff');
  t.equal(displayByteString(byteStringFromText('a\nb\\c\x1b')), 'a\\nb\\\\c\\x1b');
  t.equal(displayByteString(byteStringFromText('\ufffd')), '\ufffd');
});
