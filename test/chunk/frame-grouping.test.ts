import t from 'tap';
import { byteStringFromText } from '../../src/byte-string.js';
import { frameBytesMax } from '../../src/chunk/codec.js';
import { joinsFrame } from '../../src/chunk/frame-grouping.js';

const KiB = 1024;
const file = (path: string, size: number) => ({ path: byteStringFromText(path), size });

t.test(
  'small files go on in their directory, and into the next while the frame is less than half full',
  async (t) => {
    const a = file('usr/lib/a', 4 * KiB);
    const cases: [string, string, number, number, boolean][] = [
      ['same directory, half full', 'usr/lib/b', 200 * KiB, 4 * KiB, true],
      ['same directory, exactly full', 'usr/lib/b', 252 * KiB, 4 * KiB, true],
      ['same directory, over full', 'usr/lib/b', 252 * KiB + 1, 4 * KiB, false],
      ['other directory, nearly half full', 'usr/lib/python/b', 128 * KiB - 1, 4 * KiB, true],
      ['other directory, half full', 'usr/lib/python/b', 128 * KiB, 4 * KiB, false],
      ['the parent is another directory', 'usr/b', 128 * KiB, 4 * KiB, false],
      ['a name that continues is another directory', 'usr/library/b', 128 * KiB, 4 * KiB, false],
      ['the root', 'b', 128 * KiB, 4 * KiB, false],
    ];
    for (const [name, path, length, chunk, joins] of cases) {
      t.equal(joinsFrame({ length, lastFile: a }, file(path, chunk), chunk), joins, name);
    }
  },
);

t.test('a large file shares frames with itself only', async (t) => {
  const large = file('usr/lib/large', 900 * KiB);
  const other = file('usr/lib/other', 900 * KiB);
  t.ok(joinsFrame({ length: 64 * KiB, lastFile: large }, large, 64 * KiB));
  t.notOk(joinsFrame({ length: 64 * KiB, lastFile: other }, large, 64 * KiB));
  t.notOk(joinsFrame({ length: frameBytesMax - 1, lastFile: large }, large, 2));
});
