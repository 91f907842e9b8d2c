import t from 'tap';
import type { TarEvent } from '../../src/layer/tar-event.js';
import { TarParser } from '../../src/layer/tar-parser.js';
import { archive, base256, bytes, directory, entry, file, header } from '../support/tar-builder.js';
import { oldSparse } from './torture-sparse.js';

function typesOf(events: readonly TarEvent[]): string {
  return events.map(({ type }) => type).join(' ');
}

t.test('events of a file come in their order, as views of what was pushed', async (t) => {
  const layer = archive(directory('d/'), file('d/f', 'content'), file('empty'));
  const events = new TarParser().push(layer);
  t.equal(typesOf(events), 'entry entry data end-of-file entry end-of-file');
  const data = events[2];
  t.ok(data?.type === 'data' && data.bytes.buffer === layer.buffer, 'nothing was copied');
  t.match(events[1], {
    entry: { path: 'd/f', type: 'file', size: 7, mode: 0o644, mtime: { nanoseconds: 0 } },
  });
});

t.test('data is given out as it comes, not gathered', async (t) => {
  const parser = new TarParser();
  const layer = file('f', Buffer.alloc(5000, 1));
  parser.push(layer.subarray(0, 600));
  t.equal(typesOf(parser.push(layer.subarray(600, 601))), 'data');
  t.equal(typesOf(parser.push(layer.subarray(601))), 'data end-of-file');
  t.strictSame(parser.end(), []);
});

t.test('files beyond 2^32 and 2^33 bytes, in octal and base-256', async (t) => {
  const piece = Buffer.alloc(16 * 2 ** 20);
  for (const size of [4 * 2 ** 30 + 5, 8 * 2 ** 30 - 1, 9 * 2 ** 30 + 1]) {
    const parser = new TarParser();
    t.match(parser.push(header({ name: 'big', size })), [{ entry: { size } }]);
    let left = size + ((512 - (size % 512)) % 512);
    let data = 0;
    let last = '';
    for (; left > 0; left -= Math.min(left, piece.length)) {
      for (const event of parser.push(piece.subarray(0, left))) {
        if (event.type === 'data') data += event.bytes.length;
        last = event.type;
      }
    }
    t.equal(data, size);
    t.equal(last, 'end-of-file');
    t.match(parser.push(file('next')), [{ entry: { path: 'next' } }, { type: 'end-of-file' }]);
  }
});

t.test('holes are told as such', async (t) => {
  const size = 9 * 2 ** 30;
  const events = new TarParser().push(archive(oldSparse('s', [[2 ** 32, 3]], size, 'end')));
  t.match(events, [
    { type: 'entry', entry: { size } },
    { type: 'hole', length: 2 ** 32 },
    { type: 'data' },
    { type: 'hole', length: size - 2 ** 32 - 3 },
    { type: 'end-of-file' },
  ]);
});

t.test('what was skipped can be asked for', async (t) => {
  const parser = new TarParser();
  const label = entry({ name: 'l', type: 'V' });
  t.equal(typesOf(parser.push(archive(label, label, entry({ name: 'a', type: 'A' }, 'acl')))), '');
  t.equal(parser.skipped, 'VA');
});

t.test('bounds on entries, on files and on holes', async (t) => {
  const two = archive(file('a'), file('b'));
  t.throws(() => new TarParser({ entriesMax: 1 }).push(two), { message: /more than 1 entries/ });
  t.ok(new TarParser({ entriesMax: 2 }).push(two));
  const six = archive(file('a', '123456'));
  t.throws(() => new TarParser({ fileBytesMax: 5 }).push(six), { message: /has 6 bytes/ });
  const holes = archive(oldSparse('a', [[9, 0]], 9, ''), oldSparse('b', [[9, 0]], 9, ''));
  t.throws(() => new TarParser({ holeBytesMax: 17 }).push(holes), { message: /17 bytes of holes/ });
  t.ok(new TarParser({ holeBytesMax: 18 }).push(holes));
  const skipped = header({ name: 'label', type: 'V', size: base256(2 ** 50, 12) });
  t.throws(() => new TarParser().push(skipped), { message: /has 1125899906842624 bytes/ });
});

t.test('an error says where it is, and stays', async (t) => {
  const parser = new TarParser();
  const layer = Buffer.concat([file('a', 'x'), bytes('no header at all'.repeat(40))]);
  const wanted = { code: 'corrupt', message: /checksum .*, near byte 1024 of the archive$/ };
  t.throws(() => parser.push(layer), wanted);
  t.throws(() => parser.push(file('b')), wanted);
  t.throws(() => parser.end(), wanted);
});

t.test('an archive that ends too early is refused at its end', async (t) => {
  const layer = Buffer.concat([file('a', 'x'.repeat(600)), file('b')]);
  const whole = [0, 512 + 600, 1024 + 512, 2048];
  for (let length = 0; length <= layer.length; length += 1) {
    const parser = new TarParser();
    parser.push(layer.subarray(0, length));
    // Padding that is missing is no harm, as in Go.
    const padding = length > 512 + 600 && length < 1024 + 512;
    if (padding || whole.includes(length)) t.strictSame(parser.end(), [], `${length} bytes`);
    else t.throws(() => parser.end(), { message: /ends in the middle/ }, `${length} bytes`);
  }
});

t.test('memory for a header is bounded by what it says, not by pieces', async (t) => {
  const parser = new TarParser();
  parser.push(header({ name: 'x', type: 'x', size: 2 ** 20 }));
  const one = Buffer.from('9');
  const before = process.memoryUsage().rss;
  for (let count = 0; count < 2 ** 20 - 1; count += 1) parser.push(one);
  t.ok(process.memoryUsage().rss - before < 64 * 2 ** 20);
  t.throws(() => parser.push(one), { message: /PAX record "99999.* is malformed/ });
});
