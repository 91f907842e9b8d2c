import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync } from 'node:fs';
import { readdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import t from 'tap';
import { digestOf } from '../../src/digest.js';
import { blobPath, testImage } from '../support/images.js';
import { runCommand } from '../support/run-command.js';

const build = fileURLToPath(new URL('../../scripts/images/build.ts', import.meta.url));
const args = [`--import=${import.meta.resolve('tsx')}`, build, 'busybox'];
/** A build of the smallest image takes 4 s on an idle machine. */
const buildDeadlineMs = 60_000;

/** Builds with an empty cache of its own. */
async function buildIn(cache: string): Promise<void> {
  await runCommand(process.execPath, args, { env: { XDG_CACHE_HOME: cache } });
}

async function layouts(cache: string): Promise<string[]> {
  const names = await readdir(join(cache, 'thinfs-images'));
  return names.filter((name) => !name.endsWith('.lock')).sort();
}

async function indexIn(cache: string): Promise<string> {
  const [layout = ''] = await layouts(cache);
  return readFile(join(cache, 'thinfs-images', layout, 'index.json'), 'utf8');
}

t.test('an image is complete and hangs together', async (t) => {
  const image = await testImage('busybox');
  t.equal(image.layers.length, 3);
  for (const { digest, size } of [image.config, ...image.layers.map((layer) => layer.descriptor)]) {
    const bytes = await readFile(blobPath(image.layout, digest));
    t.equal(bytes.length, size);
    t.equal(digestOf(bytes), digest);
  }
  await runCommand('skopeo', ['inspect', `oci:${image.layout}:latest`]);
});

t.test('two builders at once make one image, and always with the same bytes', async (t) => {
  const folder = t.testdir({ shared: {}, other: {} });
  const [shared, other] = [join(folder, 'shared'), join(folder, 'other')];
  await Promise.all([buildIn(shared), buildIn(shared), buildIn(other)]);
  t.equal((await layouts(shared)).length, 1, 'nothing else is left');
  t.equal(await indexIn(shared), await indexIn(other));
});

t.test('a killed builder leaves nothing that passes for an image', async (t) => {
  const cache = t.testdir({});
  const folder = join(cache, 'thinfs-images');
  const env = { ...process.env, XDG_CACHE_HOME: cache };
  // In a process group of its own, so that the kill reaches all that the builder has started.
  const child = spawn(process.execPath, args, { env, stdio: 'ignore', detached: true });
  const partial = async () => (await layouts(cache)).find((name) => name.endsWith('.partial'));
  const deadline = Date.now() + buildDeadlineMs;
  while (!existsSync(folder) || !(await partial())) {
    if (Date.now() > deadline) throw new Error('Cannot kill a builder: it has not begun');
    await delay(20);
  }
  if (child.pid === undefined) throw new Error('Cannot kill a builder: it was not started');
  process.kill(-child.pid, 'SIGKILL');
  await once(child, 'exit');
  t.match(await layouts(cache), [/^busybox-[0-9a-f]{16}\.partial$/]);
  await buildIn(cache);
  t.match(await layouts(cache), [/^busybox-[0-9a-f]{16}$/], 'the next one starts over');
  const mounts = await readFile('/proc/self/mounts', 'utf8');
  t.notMatch(mounts, /thinfs-image-build/, 'no mount is left');
});
