import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import t, { type Test } from 'tap';
import { startRegistry } from '../support/docker-registry.js';
import {
  about,
  isAnything,
  isBlobRead,
  isManifest,
  isPackRead,
  misdeed,
  status,
  webPage,
  wrongByte,
} from '../support/lies.js';
import { type Lie, startLyingProxy } from '../support/lying-proxy.js';
import { type CommandResult, runCommand } from '../support/run-command.js';
import { makeRootfs } from './small-rootfs.js';
import { setReadDeadline, startNode, startThin, thinifyProgram, until } from './test-node.js';

/*
 * A registry that goes on doing wrong: one line that says what, and the exit code that `thin --help`
 * lists for it. What passes is in lying-registry.test.ts.
 */
t.setTimeout(400_000);
t.jobs = 5; // most of it is waiting
const registry = await startRegistry(t);
const folder = mkdtempSync(join(tmpdir(), 'thinfs-failing-'));
t.teardown(() => rmSync(folder, { recursive: true, force: true }));
makeRootfs(folder, { count: 4, bytes: 300_000 });
const original = `${registry.host}/thin:1`;
await runCommand(process.execPath, [thinifyProgram, '-q', `dir:${folder}`, '--name', original]);
const copy = ['--src-tls-verify=false', '--dest-tls-verify=false', '--preserve-digests'];
const plain = `docker://${registry.host}/plain:1`;
await runCommand('skopeo', ['copy', '-q', ...copy, `docker://${original}`, plain]);

function expectError(t: Test, name: string, result: CommandResult, code: number): void {
  t.equal(result.code, code, `${name}: ${result.stderr}`);
  t.match(result.stderr, /^error: Cannot [^\n]+\n$/, `${name}: one line`);
}

interface Wrong {
  readonly lie: Lie;
  readonly thin: number;
  readonly plain: number;
}

const cut = misdeed({ kind: 'reset', after: 50 });
const garbage = misdeed({ kind: 'garbage', bytes: 'SSH-2.0-OpenSSH_9.2\r\n' });
const endless = misdeed({ kind: 'endless' }, { 'content-length': '999999999' });
/** While an image is opened. */
const opening: Readonly<Record<string, Wrong>> = {
  '401 to all': { lie: status(401), thin: 4, plain: 4 },
  '403 for manifests': { lie: about(isManifest, status(403)), thin: 4, plain: 4 },
  '404 for all': { lie: about(isAnything, status(404)), thin: 3, plain: 3 },
  '404 for blobs': { lie: about(isBlobRead, status(404)), thin: 3, plain: 3 },
  'wrong manifests': { lie: about(isManifest, wrongByte), thin: 6, plain: 6 },
  'endless manifests': { lie: about(isManifest, endless), thin: 6, plain: 6 },
  'wrong blobs': { lie: about(isBlobRead, wrongByte), thin: 6, plain: 6 },
  'web pages': { lie: about(isAnything, webPage), thin: 2, plain: 2 },
  'another protocol': { lie: about(isAnything, garbage), thin: 5, plain: 5 },
  '500 to all': { lie: about(isAnything, status(500)), thin: 5, plain: 5 },
  'blobs that are cut for ever': { lie: about(isBlobRead, cut), thin: 5, plain: 5 },
};

for (const repository of ['thin', 'plain'] as const) {
  t.test(`${repository}: an image that cannot be opened`, { buffered: true }, async (t) => {
    const node = startNode(t);
    await node.status(); // one daemon for all
    await Promise.all(
      Object.entries(opening).map(async ([name, wrong]) => {
        const proxy = await startLyingProxy(t, registry.host, wrong.lie);
        const image = `${proxy.host}/${repository}:1`;
        const result = await node.thin(['run', '--rm', '-q', image, 'true']);
        expectError(t, name, result, wrong[repository]);
        t.ok(proxy.received.length < 60, `${name}: ${proxy.received.length} requests`);
      }),
    );
    t.match(await node.status(), { images: { length: 0 }, mounts: { length: 0 } });
    t.equal((await node.thin(['gc'])).code, 0);
    t.match(await node.status(), { cache: { files: 0, partialFiles: 0 } }, 'nothing is left');
  });
}

/** While files are read. */
const reading: Readonly<Record<string, { lie: Lie; code: number }>> = {
  'wrong frames': { lie: about(isPackRead, wrongByte), code: 6 },
  'frames that are gone': { lie: about(isPackRead, status(404)), code: 3 },
  'frames that are refused': { lie: about(isPackRead, status(401)), code: 4 },
  'frames that cannot be had': { lie: about(isPackRead, status(500)), code: 5 },
  'frames that are cut': { lie: about(isPackRead, cut), code: 5 },
};

for (const [name, { lie, code }] of Object.entries(reading)) {
  t.test(`${name}: an error, no wrong byte, and later the right ones`, async (t) => {
    const proxy = await startLyingProxy(t, registry.host);
    const node = startNode(t);
    const isWaitedFor = code === 4 || code === 5; // by reads: it may be had later
    const image = `${proxy.host}/thin:1`;
    const run = async (file: string) => {
      const words = ['sh', '-c', `cat /data/${file} > /tmp/copy; echo $?; cat /tmp/copy | wc -c`];
      return await node.thin(['run', '--rm', '-q', image, ...words]);
    };
    t.match(await run('0'), { code: 0, stdout: '0\n300000\n', stderr: '' });
    if (isWaitedFor) await setReadDeadline(node, '4s');
    proxy.tell(lie);
    const cat = await node.thin(['cat', image, '/data/1']);
    expectError(t, 'cat', cat, code);
    t.equal(cat.stdout, '');
    const ran = await run('2');
    t.match(ran.stdout, /^1\n/);
    t.match(ran.stderr, /^cat: [^\n]*(Input\/output error|Permission denied)\n$/);
    const { stdout: status } = await node.thin(['status']);
    if (code !== 6) t.match(status, /thin:1 .* [1-9]\d* failed/, 'status tells');
    proxy.tell();
    if (isWaitedFor) await setReadDeadline(node, '5m');
    t.match(await run('2'), { code: 0, stdout: '0\n300000\n', stderr: '' });
    t.equal((await node.thin(['cat', image, '/data/1'])).stdout.length > 0, true);
  });
}

t.test('a command that is interrupted is not the trouble of another', async (t) => {
  let release = (): void => undefined;
  const released = new Promise<void>((resolve) => {
    release = resolve;
  });
  const proxy = await startLyingProxy(
    t,
    registry.host,
    about(isBlobRead, async (_, ask) => {
      await released;
      return await ask();
    }),
  );
  const node = startNode(t);
  await node.status();
  const manifests = () => proxy.received.filter(isManifest).length;
  const words = ['run', '--rm', '-q', `${proxy.host}/plain:1`, 'sh', '-c', 'cat /data/3 | wc -c'];
  const interrupted = startThin(t, node, words);
  await until('the first waits for blobs', () => proxy.received.some(isBlobRead));
  const before = manifests();
  const other = startThin(t, node, words);
  await until('the second knows the image', () => manifests() > before);
  interrupted.kill('SIGINT');
  t.match(await interrupted.ended, { code: 130 }, interrupted.errors());
  release();
  t.match(await other.ended, { code: 0 }, other.errors());
  t.equal(other.output(), '300000\n');
});
