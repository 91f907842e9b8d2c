import { once } from 'node:events';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import t, { type Test } from 'tap';
import { nodeConfig } from '../../src/config.js';
import { spawnHolder } from '../../src/daemon/spawn-holder.js';
import { ensureDaemon } from '../../src/daemon/start-daemon.js';

const { signal } = new AbortController();

function settingsWith(node: string) {
  return { node, nodeArguments: [], program: 'thin', flags: {}, env: {} };
}

function emptyNode(t: Test) {
  const root = mkdtempSync(join(tmpdir(), 'thinfs-spawn-'));
  t.teardown(() => rmSync(root, { recursive: true }));
  return nodeConfig({ root }, { XDG_RUNTIME_DIR: root }, process.getuid?.() ?? 0);
}

t.test('a daemon whose program is not there', async (t) => {
  await t.rejects(ensureDaemon(emptyNode(t), settingsWith('/no/such/node'), signal), {
    code: 'unavailable',
    message: /Cannot start the daemon: .*ENOENT.*daemon.log/,
  });
});

t.test('a daemon of which no process can be made', async (t) => {
  const refused = ensureDaemon(emptyNode(t), settingsWith('no\0program'), signal);
  await t.rejects(refused, { name: 'ThinError', message: /^Cannot start the daemon: / });
});

t.test('a holder that cannot be started is as one that has died', async () => {
  for (const node of ['/no/such/node', 'no\0program']) {
    await once(spawnHolder(settingsWith(node), process.pid, undefined), 'close');
  }
});
