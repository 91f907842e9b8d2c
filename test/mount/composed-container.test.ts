import { execFile } from 'node:child_process';
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { promisify } from 'node:util';
import t from 'tap';
import { byteStringFromText as name } from '../../src/byte-string.js';
import type { DirectoryNode } from '../../src/image/tree.js';
import { writeBundle } from '../../src/mount/bundle.js';
import { findRuntime } from '../../src/mount/runc.js';
import type { temporaryFolder } from '../fuse/mounted-tree.js';
import { type Contents, directory, file } from '../fuse/torture-tree.js';
import { composeTree } from './composed-tree.js';
import { busyboxTree } from './container.js';

const run = promisify(execFile);

/** Runs a shell script in a container on a composed root. */
async function runScript(
  t: Parameters<typeof temporaryFolder>[0],
  script: string,
  options: { readonly readOnly: boolean },
) {
  const contents: Contents = new Map();
  const tree = await busyboxTree(contents);
  if (options.readOnly) addMountPoints(tree);
  const root = await composeTree(t, tree, contents, options);
  const id = `composed-${process.pid}-${options.readOnly}`;
  const { directory } = await writeBundle({
    directory: join(root.folder, 'bundle'),
    id,
    rootfs: root.target,
    config: { architecture: 'amd64', os: 'linux', rootfs: { type: 'layers', diff_ids: [] } },
    readImageFile: (path) => readFile(join(root.target, path)),
    command: ['/bin/sh', '-c', script],
    env: [],
    volumes: [],
    network: 'none',
    readOnly: options.readOnly,
    terminal: false,
  });
  const state = join(root.folder, 'runtime');
  const { stdout } = await run(findRuntime(), ['--root', state, 'run', '--bundle', directory, id]);
  return { ...root, lines: stdout.trim().split('\n') };
}

/** What the runtime makes itself where it can write. */
function addMountPoints(tree: DirectoryNode): void {
  for (const folder of ['proc', 'sys', 'dev']) tree.children.set(name(folder), directory([]));
  const etc = tree.children.get(name('etc'));
  if (etc?.type !== 'directory') throw new Error('there is no /etc');
  for (const given of ['hostname', 'hosts', 'resolv.conf']) {
    etc.children.set(name(given), file(new Map(), Buffer.alloc(0)));
  }
}

t.test('a container reads, writes and runs programs', async (t) => {
  const script = `
    cat /notes; echo 'of the container' >> /notes; tail -n 1 /notes
    touch /new; ls /etc/group; id -u; wc -l < /etc/passwd`;
  const { lines, upper } = await runScript(t, script, { readOnly: false });
  t.strictSame(lines, ['of the image', 'of the container', '/etc/group', '0', '2']);
  t.equal(await readFile(join(upper, 'notes'), 'utf8'), 'of the image\nof the container\n');
  t.equal(await readFile(join(upper, 'new'), 'utf8'), '');
});

t.test('a container without changes of its own', async (t) => {
  const script = 'cat /notes; touch /new 2>/dev/null || echo refused';
  const { lines } = await runScript(t, script, { readOnly: true });
  t.strictSame(lines, ['of the image', 'refused']);
});
