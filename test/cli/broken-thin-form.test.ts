import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import t from 'tap';
import { z } from 'zod';
import { startRegistry } from '../support/docker-registry.js';
import { about, status, wrongByte } from '../support/lies.js';
import { startLyingProxy } from '../support/lying-proxy.js';
import { runCommand } from '../support/run-command.js';
import { makeRootfs } from './small-rootfs.js';
import { startNode, thinifyProgram } from './test-node.js';

/*
 * Whatever is wrong with the thin form before the container starts, the original is pulled in full
 * instead, and the reason told.
 */
t.jobs = 5; // most of it is waiting
const registry = await startRegistry(t);
const folder = mkdtempSync(join(tmpdir(), 'thinfs-broken-'));
t.teardown(() => rmSync(folder, { recursive: true, force: true }));
makeRootfs(folder, { count: 4, bytes: 100_000 });
const original = `${registry.host}/broken:1`;
await runCommand(process.execPath, [thinifyProgram, '-q', `dir:${folder}`, '--name', original]);

const inspected = await runCommand(process.execPath, [thinifyProgram, 'inspect', original]);
const blob = z.object({ digest: z.string() });
const [published] = z
  .object({
    images: z.array(
      z.object({ manifest: z.string(), thinManifest: z.string(), metadata: blob, chunkMap: blob }),
    ),
  })
  .parse(JSON.parse(inspected.stdout)).images;
if (!published) throw new Error('Cannot test broken thin forms: nothing was published');

const parts = {
  'thin manifest': published.thinManifest,
  metadata: published.metadata.digest,
  'chunk map': published.chunkMap.digest,
};
/** What a tag lists carries its manifest: only who names a digest asks for that. */
const name = `broken@${published.manifest}`;
const wrongs = {
  missing: status(404),
  refused: status(403),
  unreadable: status(500),
  wrong: wrongByte,
};

t.test('with a tag that lists it, the thin manifest is not asked for', async (t) => {
  const isManifest = about(({ path }) => path.endsWith(published.thinManifest), status(404));
  const proxy = await startLyingProxy(t, registry.host, isManifest);
  const node = startNode(t);
  const ran = await node.thin([
    'run',
    '--rm',
    `${proxy.host}/broken:1`,
    'cmp',
    '/data/1',
    '/data/1',
  ]);
  t.equal(ran.code, 0, ran.stderr);
  t.match(await node.status(), { images: [{ kind: 'thin' }] });
});

for (const [part, digest] of Object.entries(parts)) {
  for (const [how, lie] of Object.entries(wrongs)) {
    t.test(`${how} ${part}`, { buffered: true }, async (t) => {
      const isAbout = about(({ path }) => path.endsWith(digest), lie);
      const proxy = await startLyingProxy(t, registry.host, isAbout);
      const node = startNode(t);
      const words = ['cmp', '/data/1', '/known/data/1'];
      const volume = ['-v', `${folder}:/known:ro`];
      const ran = await node.thin(['run', '--rm', ...volume, `${proxy.host}/${name}`, ...words]);
      t.equal(ran.code, 0, ran.stderr);
      t.match(ran.stderr, /^the thin form of \S+ cannot be used: Cannot read (manifest|blob) /m);
      t.match(ran.stderr, /broken\S*: pulling 1 layers, .* in full$/m);
      t.match(await node.status(), { images: [{ kind: 'pulled' }] });
    });
  }
}

t.test('what refers to the image is refused', { buffered: true }, async (t) => {
  const isAbout = about(({ path }) => path.includes('/referrers/'), status(403));
  const proxy = await startLyingProxy(t, registry.host, isAbout);
  const node = startNode(t);
  const ran = await node.thin([
    'run',
    '--rm',
    `${proxy.host}/${name}`,
    'cmp',
    '/data/1',
    '/data/1',
  ]);
  t.equal(ran.code, 0, ran.stderr);
  t.match(ran.stderr, /^the thin form of \S+ cannot be used: Cannot list what refers /m);
  t.match(await node.status(), { images: [{ kind: 'pulled' }] });
});
