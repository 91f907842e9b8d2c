import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import t, { type Test } from 'tap';
import { startRegistry } from '../support/docker-registry.js';
import { extractWithTar } from '../support/extract-image.js';
import { pushToRegistry, testImage } from '../support/images.js';
import {
  about,
  expiringTokens,
  first,
  ignoreRanges,
  isAnything,
  isBlobRead,
  isManifest,
  isPackRead,
  misdeed,
  silentFor,
  status,
  tooLong,
  tooShort,
  wrongByte,
} from '../support/lies.js';
import { type Lie, type LyingProxy, startLyingProxy } from '../support/lying-proxy.js';
import { runCommand } from '../support/run-command.js';
import { startNode, type TestNode, thinifyProgram } from './test-node.js';

/*
 * A real registry behind a proxy that lies: `thin run` shows right bytes or says what is wrong. What
 * the registry client makes of each lie is in test/registry; here is what comes of it for people.
 */
t.setTimeout(400_000);
t.jobs = 5; // most of it is waiting
const registry = await startRegistry(t);
const busybox = await testImage('busybox');
for (const repository of ['thin', 'plain']) {
  await pushToRegistry(busybox, `${registry.host}/${repository}:1`);
}
await runCommand(process.execPath, [thinifyProgram, '-q', `${registry.host}/thin:1`]);

/** Digests of all files that a container sees as its image has them. */
const script =
  'cd $0 && find bin/busybox etc usr -type f ! -name host* ! -name resolv.conf | LC_ALL=C sort | xargs sha256sum';
const folder = mkdtempSync(join(tmpdir(), 'thinfs-lies-'));
t.teardown(() => rmSync(folder, { recursive: true, force: true }));
await extractWithTar(busybox, folder);
const right = (await runCommand('sh', ['-c', script, folder])).stdout;

async function expectRight(t: Test, node: TestNode, proxy: LyingProxy, repository: string) {
  const image = `${proxy.host}/${repository}:1`;
  const ran = await node.thin(['run', '--rm', '-q', image, 'sh', '-c', script, '/']);
  t.equal(ran.stdout, right);
  t.same([ran.code, ran.stderr], [0, '']);
}

const stall = misdeed({ kind: 'stall', after: 100 });
/** Of the largest: what a pull waits for. */
const layerDigest = busybox.layers
  .map(({ descriptor }) => descriptor)
  .reduce((a, b) => (a.size > b.size ? a : b)).digest;

/** Tells the first three requests to come back. */
function busyFor1s(): Lie {
  let left = 3;
  const later = status(429, { 'retry-after': '1' });
  return (request, ask) => (left-- > 0 ? later(request, ask) : ask());
}

type MakeLie = (origin: () => string) => Lie;

/** What goes over: the container reads as if nothing had been. */
const passing: Readonly<Record<string, MakeLie>> = {
  '200 to range requests': () => about(isBlobRead, ignoreRanges),
  'connections cut after some bytes': () =>
    first(1, about(isAnything, misdeed({ kind: 'reset', after: 100 }))),
  'a Content-Length too large': () => first(1, about(isBlobRead, tooLong)),
  'a Content-Length too small': () => first(1, about(isBlobRead, tooShort)),
  'wrong bytes of manifests': () => first(1, about(isManifest, wrongByte)),
  'wrong bytes of blobs': () => first(1, about(isBlobRead, wrongByte)),
  'bursts of 500': () => first(2, about(isAnything, status(500))),
  'tokens that expire early': (origin) => expiringTokens(origin, 200),
};

for (const repository of ['thin', 'plain'] as const) {
  t.test(`lies that pass, ${repository}`, { buffered: true }, async (t) => {
    const node = startNode(t);
    for (const [name, makeLie] of Object.entries(passing)) {
      const proxy = await startLyingProxy(t, registry.host);
      proxy.tell(makeLie(() => proxy.origin));
      t.comment(name);
      await expectRight(t, node, proxy, repository);
      t.equal((await node.thin(['gc', '--all'])).code, 0);
      t.ok(proxy.received.length < 80, `${name}: ${proxy.received.length} requests`);
    }
  });
}

/** The same, where it takes its time. */
const slow: Readonly<Record<string, { repository: string; lie: Lie }>> = {
  'frames that stall': {
    repository: 'thin',
    lie: first(1, about(isPackRead, stall)),
  },
  'a layer that stalls': {
    repository: 'plain',
    lie: about(({ path }) => path.endsWith(layerDigest), first(1, stall)),
  },
  'no answers for 4 s, thin': { repository: 'thin', lie: silentFor(4000) },
  'no answers for 4 s, plain': { repository: 'plain', lie: silentFor(4000) },
  '429 with Retry-After, thin': { repository: 'thin', lie: busyFor1s() },
  '429 with Retry-After, plain': { repository: 'plain', lie: busyFor1s() },
};

for (const [name, { repository, lie }] of Object.entries(slow)) {
  t.test(name, { buffered: true }, async (t) => {
    const proxy = await startLyingProxy(t, registry.host, lie);
    await expectRight(t, startNode(t), proxy, repository);
    t.ok(proxy.received.length < 80, `${name}: ${proxy.received.length} requests`);
  });
}
