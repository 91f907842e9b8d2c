import { execFile } from 'node:child_process';
import { chmod, mkdir, readdir } from 'node:fs/promises';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import t from 'tap';
import { byteStringFromText } from '../../src/byte-string.js';
import { detachPath } from '../../src/fuse/kernel-mount.js';
import { readMountTable } from '../../src/fuse/mount-table.js';
import { probeComposed } from '../../src/mount/probe-composed.js';
import { temporaryFolder, until } from '../fuse/mounted-tree.js';
import { runCommand } from '../support/run-command.js';
import { loopFiles } from './loop-files.js';

const program = fileURLToPath(new URL('./probe-composed.program.ts', import.meta.url));

/** Names of everything that a probe in `folder` left. */
async function leftIn(folder: string): Promise<string[]> {
  const within = byteStringFromText(`${folder}/`);
  const mounts = (await readMountTable()).map(({ mountPoint }) => `${mountPoint}`);
  const all = [...mounts, ...(await loopFiles())].filter((path) => path.startsWith(within));
  return [...all, ...(await readdir(folder))];
}

t.test('this machine can, and nothing is left', async (t) => {
  const folder = join(await temporaryFolder(t, 'mount'), 'made', 'by it');
  t.strictSame(await probeComposed(folder), { available: true, metadataForm: 'file' });
  t.strictSame(await leftIn(folder), []);
});

t.test('on a tmpfs it takes a loop device', async (t) => {
  const folder = await temporaryFolder(t, 'mount');
  await runCommand('mount', ['-t', 'tmpfs', 'mount-test', folder]);
  t.teardown(() => detachPath(folder));
  t.strictSame(await probeComposed(folder), { available: true, metadataForm: 'loop' });
  // The kernel lets go of a loop device behind the last unmount.
  await until('nothing is left', async () => (await leftIn(folder)).length === 0);
});

t.test('where changes cannot be kept, the reason is told', async (t) => {
  const folder = await temporaryFolder(t, 'mount');
  for (const name of ['lower', 'upper', 'work', 'merged']) await mkdir(join(folder, name));
  const at = (name: string): string => join(folder, name);
  const layers = `lowerdir=${at('lower')},upperdir=${at('upper')},workdir=${at('work')}`;
  await runCommand('mount', ['-t', 'overlay', 'mount-test', '-o', layers, at('merged')]);
  t.teardown(() => detachPath(at('merged')));
  const probe = await probeComposed(at('merged'));
  t.match(probe, { available: false, reason: /Cannot mount overlay/ });
  t.strictSame(await leftIn(at('merged')), []);
});

t.test('without root there is a reason, and nothing is left', async (t) => {
  const folder = await temporaryFolder(t, 'mount');
  await chmod(folder, 0o777);
  const user = ['--reuid=65534', '--regid=65534', '--clear-groups'];
  const command = [process.execPath, '--import', 'tsx', program, folder];
  const { stdout } = await promisify(execFile)('setpriv', [...user, ...command]);
  t.match(JSON.parse(stdout), { available: false, reason: /not permitted|denied/i });
  t.strictSame(await leftIn(folder), []);
});
