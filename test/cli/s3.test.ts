import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import t from 'tap';
import { type CommandResult, runCommand } from '../support/run-command.js';
import { startS3 } from '../support/s3-server.js';
import { Secrets } from './secrets.js';
import { makeRootfs } from './small-rootfs.js';
import { setReadDeadline, startNode, type TestNode, thinifyProgram } from './test-node.js';

/*
 * Ceph's S3 service as the store: published by one machine, run by another that has nothing but the
 * name of the bucket and keys in its environment.
 */
t.setTimeout(400_000); // a whole cluster starts
const s3 = await startS3(t);
const wrongKey = 'a wrong secret key of the tests';
const secrets = new Secrets({ right: s3.secretAccessKey, wrong: wrongKey }, s3.accessKeyId);
const folder = mkdtempSync(join(tmpdir(), 'thinfs-s3-'));
t.teardown(() => rmSync(folder, { recursive: true, force: true }));
const rootfs = join(folder, 'rootfs');
makeRootfs(rootfs, { count: 6, bytes: 200_000 });
const image = 'example.org/team/app:1';
const place = `s3://${s3.bucket}/images`;
const endpoint = ['--s3-endpoint', s3.endpoint];
const said: string[] = [];

function remember(result: CommandResult): CommandResult {
  said.push(result.stdout, result.stderr);
  return result;
}

async function thinify(args: readonly string[], environment: Record<string, string> = {}) {
  const env = { THINFS_CACHE_HOME: join(folder, 'cache'), ...environment };
  const words = [thinifyProgram, ...args, ...endpoint];
  return remember(await runCommand(process.execPath, words, { env, mayFail: true }));
}

/** Prints how many bytes a file has. */
function run(node: TestNode, from: string, file: number, ...flags: string[]) {
  const command = ['sh', '-c', `cat /data/${file} | wc -c`];
  const words = ['run', '--rm', '-q', '--store', from, ...endpoint, ...flags, image, ...command];
  return node.thin(words).then(remember);
}

const right = { code: 0, stdout: '200000\n', stderr: '' };

t.test('published to a bucket, and run from there by a node that has nothing', async (t) => {
  const words = [`dir:${rootfs}`, '--name', image, '--to', place];
  const made = await thinify(words);
  t.match(made, { code: 0, stdout: /app:1 / }, made.stderr);
  t.match(await thinify(words), { code: 0, stdout: /already published/ });
  const verified = await thinify(['verify', image, '--to', place]);
  t.match(verified, { code: 0, stdout: /all right/ }, verified.stderr);

  const node = startNode(t);
  t.match(await run(node, place, 0), right);
  const [known] = (await node.status()).images;
  t.match(known, { kind: 'thin', source: place, fetched: { failures: 0 } });
  const { bytes } = known?.fetched ?? { bytes: 0 };
  t.ok(bytes > 200_000 && bytes < 1_500_000, `${bytes} bytes: not the other files`);
  await node.stop();
  t.match(await run(node, place, 1), right, 'a new daemon knows where the rest is');
  t.same(await secrets.filesWith([node.root]), []);
});

t.test('keys that are refused, and a bucket that is not there', async (t) => {
  const keys = { AWS_SECRET_ACCESS_KEY: wrongKey };
  const refused = await thinify(
    [`dir:${rootfs}`, '--name', 'example.org/b:1', '--to', place],
    keys,
  );
  t.match(refused, { code: 4, stderr: /^error: Cannot [^\n]+\n$/ });
  const node = startNode(t, keys);
  t.match(await run(node, place, 0), { code: 4, stderr: /^error: Cannot [^\n]+\n$/ });
  t.match((await node.status()).images, []);
  t.same(await secrets.filesWith([node.root]), []);

  const other = startNode(t);
  const nowhere = await run(other, 's3://no-such-bucket/images', 0);
  t.match(nowhere, { code: 3, stderr: /^error: Cannot [^\n]+\n$/ });
  const to = ['--to', 's3://no-such-bucket/x'];
  const lost = await thinify(['-q', `dir:${rootfs}`, '--name', image, ...to]);
  t.match(lost, { code: 3, stderr: /^error: Cannot [^\n]+\n$/ });
  const unknown = await other.thin(['run', '--store', place, ...endpoint, 'example.org/none:1']);
  t.match(remember(unknown), { code: 3, stderr: /^error: Cannot [^\n]+\n$/ });
});

t.test('an outage: what is here goes on, the rest waits and fails', async (t) => {
  const node = startNode(t);
  t.match(await run(node, place, 0), right);
  await s3.stop();
  await setReadDeadline(node, '4s');
  t.match(await run(node, place, 0), right, 'from the cache');
  const cut = await run(node, place, 5);
  t.match(cut, { code: 0, stdout: '0\n', stderr: /^cat: [^\n]*Input\/output error\n$/ });
  const cat = await node.thin(['cat', '--store', place, ...endpoint, image, '/data/4']);
  t.match(remember(cat), { code: 5, stderr: /^error: Cannot [^\n]+\n$/ });
  const asked = await run(node, place, 0, '--pull', 'always');
  t.match(asked, { code: 5, stderr: /^error: Cannot [^\n]+\n$/ });
  t.match((await node.thin(['status'])).stdout, /[1-9]\d* failed/);
  t.same(await secrets.filesWith([node.root]), []);
});

t.test('no key was said', async (t) => {
  t.ok(said.join('').length > 1000);
  t.same(secrets.in(said.join('\n')), []);
  t.same(await secrets.filesWith([join(folder, 'cache')]), []);
});
