import { mkdir } from 'node:fs/promises';
import { join } from 'node:path';
import t from 'tap';
import { byteStringFromText } from '../../src/byte-string.js';
import { findMount, parseMountTable } from '../../src/fuse/mount-table.js';
import { runProgram } from '../../src/fuse/run-program.js';
import { temporaryFolder } from './mounted-tree.js';

t.test('lines with and without optional fields', async (t) => {
  const text = `36 35 98:0 /mnt1 /mnt2 rw,noatime master:1 shared:2 - ext3 /dev/root rw,errors=continue
41 28 0:39 / /a\\040b\\134c\\011d ro - fuse.thinfs thinfs ro,user_id=0
nonsense
`;
  t.strictSame(parseMountTable(text), [
    {
      device: '98:0',
      mountPoint: '/mnt2',
      type: 'ext3',
      source: '/dev/root',
      options: 'rw,errors=continue',
    },
    {
      device: '0:39',
      mountPoint: '/a b\\c\td',
      type: 'fuse.thinfs',
      source: 'thinfs',
      options: 'ro,user_id=0',
    },
  ]);
});

t.test('finds a real mount whatever its name, the last of several', async (t) => {
  const folder = join(await temporaryFolder(t), 'sp ace, tab\t, back\\slash, new\nline, é, #');
  await mkdir(folder);
  for (const source of ['first', 'second']) {
    await runProgram('mount', ['-t', 'tmpfs', source, folder]);
    t.teardown(async () => {
      await runProgram('umount', [folder]);
    });
  }
  const found = await findMount(folder);
  t.equal(found?.mountPoint, byteStringFromText(folder));
  t.equal(found?.source, 'second');
  t.equal(await findMount('/nothing/here'), undefined);
});
