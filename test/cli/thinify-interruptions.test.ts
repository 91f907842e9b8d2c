import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { readdirSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import t from 'tap';
import { startLyingProxy } from '../support/lying-proxy.js';
import { startNode, thinifyProgram } from './test-node.js';
import { startThinifyRig } from './thinify-rig.js';

/** Conversions beside each other, and killed: the registry has all of a thin image, or none of it. */
const { registry, thinify, freshCache, freshImage, isPublished, expectWhole } =
  await startThinifyRig(t);

t.test('several at once, with one conversion index and with two', async (t) => {
  const image = await freshImage();
  const shared = freshCache();
  const caches = [shared, shared, freshCache()];
  const made = await Promise.all(caches.map((cache) => thinify(cache, '-q', image)));
  for (const { code, stderr } of made) t.same([code, stderr], [0, '']);
  t.same(readdirSync(join(shared, 'spool')), []);
  await expectWhole(t, image);
  const { stdout } = await thinify(shared, 'inspect', image);
  t.equal(JSON.parse(stdout).images.length, 1);
  const node = startNode(t);
  const ran = await node.thin(['run', '--rm', '-q', image, 'sh', '-c', 'cat /data/3 | wc -c']);
  t.match(ran, { code: 0, stdout: '700000\n', stderr: '' });
});

/** Places in a conversion, one at random in each of as many equal parts of it. */
const kills = 6;

t.test('kill -9 at any request', async (t) => {
  const proxy = await startLyingProxy(t, registry);
  t.match(await thinify(freshCache(), '-q', await freshImage(proxy.host)), { code: 0 });
  const requests = proxy.received.length;
  t.ok(requests > 15, `${requests} requests`);
  const image = await freshImage(proxy.host);
  const cache = freshCache();
  let published = false;
  for (let n = 0; n < kills; n++) {
    const at = Math.floor(((n + Math.random()) / kills) * requests);
    const code = await killedAtRequest(at);
    if (await isPublished(image)) {
      t.ok(published || n > 0, `at request ${at} of ${requests}: published`);
      published = true;
      await expectWhole(t, image);
    } else {
      t.notOk(published, `at request ${at} of ${requests}: killed (${code}), nothing is published`);
    }
  }
  proxy.tell();
  t.match(await thinify(cache, '-q', image), { code: 0, stderr: '' });
  t.same(readdirSync(join(cache, 'spool')), [], 'what the killed ones left is gone');
  await expectWhole(t, image);

  /** Kills a conversion when its request number `at` comes to the proxy, before it is answered. */
  async function killedAtRequest(at: number): Promise<number | null> {
    let left = at;
    const env = { ...process.env, THINFS_CACHE_HOME: cache };
    const child = spawn(process.execPath, [thinifyProgram, '-q', image], { env, stdio: 'ignore' });
    t.teardown(() => child.kill('SIGKILL'));
    const ended = once(child, 'exit');
    proxy.tell(async (_, ask) => {
      if (left-- === 0) child.kill('SIGKILL');
      return await ask();
    });
    const [code] = await ended;
    return code;
  }
});

t.test('a conversion index that is damaged, and one that is gone', async (t) => {
  const cache = freshCache();
  const image = await freshImage();
  t.match(await thinify(cache, '-q', image), { code: 0, stderr: '' });
  const [name = ''] = readdirSync(cache).filter((name) => name.endsWith('.db'));
  writeFileSync(join(cache, name), 'no database');
  const damaged = await thinify(cache, '-q', '--force', image);
  t.match(damaged.stderr, /^$|^error: Cannot open conversion index [^\n]*safe to delete[^\n]*\n$/);
  rmSync(cache, { recursive: true });
  t.match(await thinify(cache, '-q', '--force', image), { code: 0, stderr: '' });
  await expectWhole(t, image);
});
