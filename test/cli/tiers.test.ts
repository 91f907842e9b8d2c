import { cpSync, existsSync, mkdirSync, mkdtempSync, readdirSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import t from 'tap';
import { z } from 'zod';
import { startRegistry } from '../support/docker-registry.js';
import { pushToRegistry, testImage } from '../support/images.js';
import { runCommand } from '../support/run-command.js';
import { startNode, thinifyProgram, until } from './test-node.js';

t.setTimeout(400_000); // one conversion, and then some
const registry = await startRegistry(t);
const reference = `${registry.host}/busybox:1`;
await pushToRegistry(await testImage('busybox'), reference);

const reportSchema = z.object({
  images: z.array(
    z.object({
      choice: z.string(),
      hotFiles: z.number(),
      pinnedFiles: z.number(),
      fastFiles: z.number(),
    }),
  ),
});

function filesBelow(directory: string): string[] {
  if (!existsSync(directory)) return [];
  return readdirSync(directory, { recursive: true, encoding: 'utf8' }).filter((name) =>
    /^[0-9a-f]{2}\/[0-9a-f]{64}$/.test(name),
  );
}

t.test(
  'what a start read is pinned in the first tier, until somebody says otherwise',
  async (t) => {
    await runCommand(process.execPath, [thinifyProgram, reference]);
    const folder = mkdtempSync(join(tmpdir(), 'thinfs-tier-'));
    t.teardown(() => rmSync(folder, { recursive: true, force: true }));
    const fast = join(folder, 'fast');
    const node = startNode(t, { THINFS_TIERS: `fast=${fast},size=1g` });
    const run = ['run', '--rm', '-q', reference, 'cat', '/etc/passwd'];
    const first = await node.thin(run);
    t.equal(first.code, 0, first.stderr);
    t.match((await node.thin(['tier'])).stdout, /^TIER\n {2}fast .*\n {2}local /);
    const shown = async () => {
      const { stdout } = await node.thin(['tier', '--json']);
      const [image] = reportSchema.parse(JSON.parse(stdout)).images;
      return image;
    };
    /** All that a start reads is there, or nothing: in one answer, and in the folder. */
    const inFast = async (all: boolean) => {
      const image = await shown();
      const files = filesBelow(fast).length;
      const wanted = all ? image?.hotFiles : image?.pinnedFiles;
      return image?.fastFiles === files && files === wanted && files >= 2 === all;
    };
    await until('what it read is in the fast tier', () => inFast(true));
    t.match(await node.thin(run), { code: 0, stdout: first.stdout });
    for (const words of [
      ['unpin', reference],
      ['limit', '0'],
    ]) {
      t.equal((await node.thin(['tier', ...words])).code, 0);
      await until(`they leave: ${words}`, () => inFast(false));
      t.equal((await node.thin(['tier', 'limit', 'auto'])).code, 0);
      t.equal((await node.thin(['tier', 'pin', reference])).code, 0);
      await until('they are back', () => inFast(true));
      t.match(await shown(), { choice: 'pin' });
    }
    t.equal((await node.thin(['tier', 'pin', 'localhost/nothing:1'])).code, 3);
    await node.stop();
    t.match(await shown(), { choice: 'pin' }, 'a daemon that is started again knows it');
  },
);

t.test('files of a faster tier are read from there, by containers too', async (t) => {
  await runCommand(process.execPath, [thinifyProgram, reference]);
  const node = startNode(t);
  const fast = join(node.folder, 'fast');
  const local = join(node.root, 'tiers/local');
  const words = ['run', '--rm', '--tier', `fast=${fast},size=1g`, reference, 'cat', '/etc/passwd'];
  const first = await node.thin(words);
  t.equal(first.code, 0, first.stderr);
  await node.stop(); // what was read is stored behind the reads
  t.ok(filesBelow(local).length > 0, 'what is fetched goes to the local tier');
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
