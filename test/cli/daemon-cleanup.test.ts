import { existsSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import t from 'tap';
import { rootLockPlace } from '../../src/cache/layout.js';
import { RootLock } from '../../src/cache/root-lock.js';
import { cleanUp } from '../../src/cli/daemon-cleanup.js';
import { nodeConfig } from '../../src/config.js';

const settings = { node: '', nodeArguments: [], program: '', flags: {}, env: {} };

t.test('a daemon that comes while another is cleaned up is ended, too', async (t) => {
  const folder = mkdtempSync(join(tmpdir(), 'thinfs-cleanup-'));
  const root = join(folder, 'state');
  const config = nodeConfig({ root }, {}, process.getuid?.() ?? 0);
  t.teardown(() => {
    for (const path of [folder, config.runFolder]) rmSync(path, { recursive: true, force: true });
  });
  for (const path of [config.runFolder, join(root, 'tiers/local')]) {
    mkdirSync(path, { recursive: true });
  }
  const kept = join(root, 'tiers/local/file');
  writeFileSync(kept, '');
  // As soon as the first has ended, another one has the root.
  const lock = RootLock.take([rootLockPlace(root)]);
  const said: boolean[] = [];
  const server = createServer().listen(config.socket);
  const holder = createServer((socket) => {
    socket.once('data', (line) => {
      t.match(JSON.parse(`${line}`), { op: 'stop', force: true, unmount: true });
      said.push(existsSync(kept));
      socket.end('{"ok":true,"status":{}}\n');
      if (said.length < 3) return;
      lock[Symbol.dispose]();
      server.close();
      holder.close();
    });
  }).listen(config.holderSocket);
  const { signal } = new AbortController();
  await cleanUp(config, settings, { force: true, purge: true }, signal);
  t.same(said, [true, true, true], 'nothing is deleted before all are gone');
  t.notOk(existsSync(root));
  t.notOk(existsSync(config.runFolder));
});
