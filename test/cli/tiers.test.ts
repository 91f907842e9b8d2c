import { cpSync, mkdirSync, readdirSync, rmSync } from 'node:fs';
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

function filesBelow(directory: string): string[] {
  return readdirSync(directory, { recursive: true, encoding: 'utf8' }).filter((name) =>
    /^[0-9a-f]{2}\/[0-9a-f]{64}$/.test(name),
  );
}

t.test('files of a faster tier are read from there, by containers too', async (t) => {
  await runCommand(process.execPath, [thinifyProgram, reference]);
  const node = startNode(t);
  const fast = join(node.folder, 'fast');
  const local = join(node.root, 'tiers/local');
  const words = ['run', '--rm', '--tier', `fast=${fast},size=1g`, reference, 'cat', '/etc/passwd'];
  const first = await node.thin(words);
  t.equal(first.code, 0, first.stderr);
  t.ok(filesBelow(local).length > 0, 'what is fetched goes to the local tier');
  await node.stop();
  for (const name of filesBelow(local)) {
    cpSync(join(local, name), join(fast, name));
    rmSync(join(local, name));
  }
  await registry.stop();
  t.match(await node.thin(words), { code: 0, stdout: first.stdout }, 'they were verified');
  t.ok(filesBelow(fast).length > 0);
  t.same(filesBelow(local), []);
});

t.test('a tier that cannot be one is refused', async (t) => {
  const node = startNode(t);
  const shared = join(node.folder, 'shared');
  mkdirSync(shared, { mode: 0o755 });
  for (const tier of ['fast', 'fast=here', 'local=/tmp/x', `fast=${shared},speed=9`]) {
    t.match(await node.thin(['status', '--tier', tier]), { code: 2 }, tier);
  }
  const { code, stderr } = await node.thin(['status', '--tier', `fast=${shared}`]);
  t.match(stderr, /others may enter it, mode 755 \(wanted 700\)/);
  t.not(code, 0);
});
