import t from 'tap';
import { formatDuration, formatSize, parseDuration, parseSize } from '../src/units.js';
import fc from './support/properties.js';

t.test('sizes are read in units of 1024', async (t) => {
  t.equal(parseSize('4096'), 4096);
  t.equal(parseSize('512m'), 512 * 1024 ** 2);
  t.equal(parseSize('20G'), 20 * 1024 ** 3);
  t.equal(parseSize('1.5GiB'), 1.5 * 1024 ** 3);
  t.equal(parseSize('1tb'), 1024 ** 4);
});

t.test('what is no size is refused with an example', async (t) => {
  for (const text of ['', 'many', '-1', '1e9', '5x', '99999999999t', '1 2']) {
    t.throws(() => parseSize(text), { code: 'invalid', message: /wanted bytes such as 512m/ });
  }
});

t.test('durations are read with their unit', async (t) => {
  t.equal(parseDuration('5m'), 300_000);
  t.equal(parseDuration('90'), 90_000);
  t.equal(parseDuration('0'), 0);
  t.equal(parseDuration('1.5h'), 5_400_000);
  t.equal(parseDuration('250ms'), 250);
  for (const text of ['', 'soon', '-1', '5 days', '1000h', '1e3s']) {
    t.throws(() => parseDuration(text), { code: 'invalid', message: /such as 90s or 5m/ });
  }
});

t.test('any text gives a safe integer or a ThinError', async (t) => {
  fc.assert(
    fc.property(fc.string(), (text) => {
      try {
        return Number.isSafeInteger(parseSize(text));
      } catch (error) {
        return error instanceof Error && error.name === 'ThinError';
      }
    }),
  );
  t.pass('property holds');
});

t.test('sizes and durations are short', async (t) => {
  t.equal(formatSize(0), '0 B');
  t.equal(formatSize(999), '999 B');
  t.equal(formatSize(999_600), '1.0 MB');
  t.equal(formatSize(1_440_000), '1.4 MB');
  t.equal(formatSize(123_000_000_000), '123 GB');
  t.equal(formatDuration(420), '0.42 s');
  t.equal(formatDuration(12_340), '12.3 s');
  t.equal(formatDuration(185_000), '3 min 5 s');
});
