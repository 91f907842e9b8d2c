import { readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import t from 'tap';
import { startRegistry } from '../support/docker-registry.js';
import { pushToRegistry, testImage } from '../support/images.js';
import { runCommand } from '../support/run-command.js';
import { startNode, thinifyProgram } from './test-node.js';

t.setTimeout(400_000); // one conversion, and then some
const registry = await startRegistry(t);
const reference = `${registry.host}/busybox:1`;
await pushToRegistry(await testImage('busybox'), reference);
const node = startNode(t);

function completeFiles(): string[] {
  const tier = join(node.root, 'tiers/local');
  return readdirSync(tier, { recursive: true, encoding: 'utf8' })
    .filter((name) => /^[0-9a-f]{2}\/[0-9a-f]{64}$/.test(name))
    .map((name) => join(tier, name));
}

t.test('a file that the disk has changed is found, removed and fetched again', async (t) => {
  await runCommand(process.execPath, [thinifyProgram, reference]);
  const run = () => node.thin(['run', '--rm', reference, 'cat', '/etc/passwd']);
  const first = await run();
  t.equal(first.code, 0, first.stderr);
  const good = await node.thin(['check']);
  t.match(good, { code: 0, stdout: /^\d+ files, .*: 0 were wrong\n$/ });
  const [path] = completeFiles();
  if (path === undefined) throw new Error('nothing is cached');
  const bytes = readFileSync(path);
  bytes.writeUInt8(bytes.readUInt8(0) ^ 1, 0);
  writeFileSync(path, bytes);
  const bad = await node.thin(['check', '--json']);
  t.equal(bad.code, 6);
  const [line = ''] = bad.stdout.trim().split('\n').slice(-1);
  t.match(JSON.parse(line), { event: 'checked', wrong: [`sha256:${path.slice(-64)}`] });
  t.notOk(completeFiles().includes(path));
  t.match(await node.thin(['check', '--quiet']), { code: 0 });
  t.match(await run(), { code: 0, stdout: first.stdout });
});
