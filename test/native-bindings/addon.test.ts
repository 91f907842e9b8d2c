import { execFileSync, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { Worker } from 'node:worker_threads';
import t from 'tap';
import { loadAddon } from '../../native-bindings/addon.js';

const here = fileURLToPath(new URL('.', import.meta.url));
const load = join(here, 'addon-load.mjs');

t.test('an addon that is missing or does not fit says what to run', async (t) => {
  const folder = mkdtempSync(join(tmpdir(), 'thinfs-test-addon-'));
  t.teardown(() => rmSync(folder, { recursive: true }));
  const broken = join(folder, 'broken.node');
  writeFileSync(broken, 'no shared object');
  const foreign = createRequire(import.meta.url)
    .resolve('better-sqlite3')
    .replace(/lib\/index.js$/, 'build/Release/better_sqlite3.node');
  const cases: [string, RegExp][] = [
    [join(folder, 'missing.node'), /it was not built/],
    [broken, /broken\.node does not fit this system/],
    [foreign, /was built from other sources/],
  ];
  for (const [path, reason] of cases) {
    const wanted = { code: 'unavailable', message: /run "npm run build:native"/ };
    t.throws(() => loadAddon([path]), wanted);
    t.throws(() => loadAddon([path]), { message: reason });
  }
});

t.test('it links no OpenSSL of its own beside that of Node', async (t) => {
  const built = fileURLToPath(
    new URL('../../native-bindings/build/Release/thinfs.node', import.meta.url),
  );
  t.notMatch(execFileSync('ldd', [built]).toString(), /libcrypto/);
});

t.test('threads use it at the same time, and end in the middle of its work', async (t) => {
  for (let round = 0; round < 6; round++) {
    const workers = Array.from(
      { length: 3 },
      () => new Worker(load, { argv: ['stay'], execArgv: [] }),
    );
    const ready = workers.map((worker) => once(worker, 'message'));
    t.same(await Promise.all(ready), [['busy'], ['busy'], ['busy']]);
    const codes = await Promise.all(workers.map((worker) => worker.terminate()));
    t.same(codes, [1, 1, 1]);
  }
});

t.test('a process may exit at every stage of its work', async (t) => {
  for (const stage of ['loaded', 'busy', 'settled', 'thread']) {
    for (let round = 0; round < 3; round++) {
      const child = spawnSync(process.execPath, [load, stage]);
      t.equal(child.signal, null, stage);
      t.equal(child.status, 7, `${stage}: ${child.stderr}`);
    }
  }
});
