import { randomBytes } from 'node:crypto';
import { cpSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import t from 'tap';
import { readImage } from '../../scripts/images/image-manifest.js';
import { digestHex, digestOf } from '../../src/digest.js';
import { cleanUp } from '../support/clean-up.js';
import { startRegistry } from '../support/docker-registry.js';
import { type LayoutImage, layoutTag, pushToRegistry, testImage } from '../support/images.js';
import { about, status, wrongByte } from '../support/lies.js';
import { type Lie, startLyingProxy } from '../support/lying-proxy.js';
import { runCommand } from '../support/run-command.js';
import { startNode, startThin, until } from './test-node.js';

/*
 * `thin run` of an image that comes whole, on a node that has had it before: it knows what is in the
 * image, and starts the container while the files come once more.
 */
const registry = await startRegistry(t);
const folder = mkdtempSync(join(tmpdir(), 'thinfs-early-start-'));
cleanUp(t, () => rmSync(folder, { recursive: true, force: true }));
/** Nearly all of the last layer: a byte in the middle of that is in here. Only one test reads it. */
const middle = randomBytes(300_000);
const readsMiddle = 'sha256sum < /data/wrong';
/** The shell; and above it a layer of what is read. */
const twoLayers = await twoLayered();
await pushToRegistry(twoLayers, `${registry.host}/two-layers:1`);
const last = twoLayers.layers.at(-1)?.descriptor;
const ofLast = (lie: Lie) => about(({ path }) => path.endsWith(last?.digest ?? '?'), lie);
const reads = 'echo started; sha256sum < /data/read';

async function twoLayered(): Promise<LayoutImage> {
  const busybox = await testImage('busybox');
  const layout = join(folder, 'two-layers');
  cpSync(busybox.layout, layout, { recursive: true });
  const data = join(folder, 'data');
  mkdirSync(data);
  writeFileSync(join(data, 'read'), 'what is read');
  writeFileSync(join(data, 'wrong'), middle);
  await runCommand('umoci', ['insert', '--image', `${layout}:${layoutTag}`, data, '/data']);
  return readImage(layout);
}

const shell = (image: string, script: string, ...flags: string[]) => [
  ...['run', '--rm', ...flags, image],
  ...['sh', '-c', script],
];

/** Answers nothing until it is let go. */
function holding() {
  let open = (): void => undefined;
  const opened = new Promise<void>((resolve) => {
    open = resolve;
  });
  let asked = 0;
  const lie: Lie = async (_, ask) => {
    asked += 1;
    await opened;
    return await ask();
  };
  return { lie: ofLast(lie), asked: () => asked, letGo: open };
}

/** A node that knows the image, and what of it is read. */
const proxy = await startLyingProxy(t, registry.host);
const node = startNode(t);
const image = `${proxy.host}/two-layers:1`;
const { stdout: right } = await node.thin(shell(image, reads, '-q'));
await forget();

/** Nothing of the image is left but what is in it: what a pull has just brought is let go of a little later. */
async function forget(): Promise<void> {
  await until('nothing is left', async () => {
    const { code } = await node.thin(['gc', '--all']);
    const { images, cache } = await node.status();
    return code === 0 && images.length + cache.files === 0;
  });
}

t.test('what is read is waited for, whatever becomes of the daemon', async (t) => {
  const held = holding();
  proxy.tell(held.lie);
  const run = startThin(t, node, shell(image, reads));
  await run.printed('started');
  t.match(run.errors(), /its layers are known, it starts while \d+ of \d+ files come/);
  const first = await node.status();
  t.match(first.images, [{ kind: 'pulled', completion: { state: 'running' } }]);
  t.match(await node.thin(['why', image]), { stdout: /on its way: what is read is waited for/ });
  const again = await node.thin(shell(image, 'echo a second one', '-q'));
  t.match(again, { code: 0, stdout: 'a second one\n' });

  t.match(await node.thin(['daemon', 'stop']), { code: 0 });
  const next = await node.status();
  t.not(next.pid, first.pid);
  process.kill(next.pid, 'SIGKILL');
  await until('another serves', async () => (await node.status()).pid !== next.pid);
  t.equal(run.output(), 'started\n');
  held.letGo();
  t.same(await run.ended, { code: 0, signal: null }, run.errors());
  t.equal(run.output(), right);
  await until('all is here', async () => !(await node.status()).images[0]?.completion);
  t.match(await node.thin(['check']), { code: 0 });

  await forget();
  const second = holding();
  proxy.tell(second.lie);
  const complete = startThin(t, node, shell(image, reads, '--start', 'complete'));
  await until('its layers come', () => second.asked() > 0);
  t.same((await node.status()).images, [], 'it is not used before');
  second.letGo();
  t.equal((await complete.ended).code, 0);
  t.equal(complete.output(), right);
  await forget();
});

t.test('a layer that comes wrong: no wrong byte is seen', async (t) => {
  proxy.tell(ofLast(wrongByte));
  const failed = await node.thin(shell(image, readsMiddle, '-q'));
  t.not(failed.code, 0, 'a read fails, or the kernel ends who has mapped the file');
  t.notMatch(failed.stdout, /[0-9a-f]{64}/);
  t.match((await node.status()).images, [{ completion: { state: 'failed', reason: /Cannot/ } }]);
  t.match(await node.thin(['why', image]), { stdout: /files: in part: the rest has not come/ });
  t.match(await node.thin(['status']), { stdout: /pulled in part, the rest failed: Cannot/ });
  const refused = await node.thin(shell(image, readsMiddle, '-q'));
  t.match(refused, { code: 6, stdout: '' }, 'the next one is told');
  proxy.tell();
  const ran = await node.thin(shell(image, readsMiddle, '-q'));
  t.same([ran.code, ran.stdout], [0, `${digestHex(digestOf(middle))}  -\n`], ran.stderr);
  await forget();
});

t.test(
  'a container that runs reads on with the credentials that a later command gives',
  async (t) => {
    const mine = `Basic ${Buffer.from('me:of today').toString('base64')}`;
    const refuse = status(401, { 'www-authenticate': 'Basic realm="test"' });
    const { lie: held, letGo } = holding(); // until the shell is here: who is to log in is refused all
    proxy.tell((request, ask) => {
      const isMine = request.headers.authorization === mine;
      return held(request, isMine ? ask : () => ofLast(refuse)(request, ask));
    });
    const run = startThin(t, node, shell(image, reads));
    await run.printed('started');
    letGo();
    await until('it is refused', async () => {
      const { images } = await node.status();
      return images[0]?.completion?.reason !== undefined;
    });
    t.match((await node.status()).images, [{ completion: { state: 'running' } }]);
    const flags = ['--username', 'me', '--password-stdin'];
    const none = await node.thin(shell(image, 'echo never'));
    t.match(none, { code: 4, stdout: '', stderr: /on its way and waited for/ });
    const other = await node.thin(shell(image, 'true', ...flags), { input: 'of today' });
    t.equal(other.code, 0, other.stderr);
    t.equal((await run.ended).code, 0, run.errors());
    t.equal(run.output(), right);
    proxy.tell();
    await forget();
  },
);

t.test('what nobody wants any more is given up', async (t) => {
  const held = holding();
  proxy.tell(held.lie);
  const ran = await node.thin(shell(image, 'echo done', '-q'));
  t.same([ran.code, ran.stdout], [0, 'done\n'], ran.stderr);
  await forget();
  held.letGo();
  proxy.tell();
  const mounted = await node.thin(['mount', '--read-only', image, `${node.folder}/mounted`]);
  t.equal(mounted.code, 0, mounted.stderr);
  const { stdout } = await runCommand('sha256sum', [`${node.folder}/mounted/data/read`]);
  t.match(right, stdout.slice(0, digestHex(digestOf(Buffer.alloc(0))).length));
});
