import { once } from 'node:events';
import { existsSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import t from 'tap';
import { rootLockPlace } from '../../src/cache/layout.js';
import { RootLock } from '../../src/cache/root-lock.js';
import { ContainerTie } from '../../src/cli/container-tie.js';
import { cleanUp } from '../../src/cli/daemon-cleanup.js';
import { isUntold } from '../../src/cli/untold-end.js';
import { nodeConfig } from '../../src/config.js';
import { ControlClient } from '../../src/daemon/control-client.js';

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
  writeFileSync(join(root, 'tier.json.new'), ''); // as a daemon that was killed leaves it
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

t.test('a container that was ended with its daemon starts no other one', async (t) => {
  const root = mkdtempSync(join(tmpdir(), 'thinfs-cleanup-'));
  const config = nodeConfig({ root }, {}, process.getuid?.() ?? 0);
  t.teardown(() => {
    for (const path of [root, config.runFolder]) rmSync(path, { recursive: true, force: true });
  });
  mkdirSync(config.runFolder, { recursive: true });
  const bundle = join(root, 'containers/c');
  const running = {
    ...{ version: 1, id: 'c', reference: 'r', manifest: 'm', readOnly: false, remove: true },
    ...{ root: { target: '', form: 'composed', server: '' }, runtime: 'runc', since: 0 },
  };
  let connects = 0;
  const end = async () => {
    const lost = { result: null, lost: Promise.resolve(), close: () => {} };
    const tie = new ContainerTie(new ControlClient(config.socket), 'c', lost);
    const connect = async () => {
      connects += 1;
      rmSync(bundle, { recursive: true }); // the one that was started has seen to it
    };
    await tie.end(137, { connect, isUntold: () => isUntold(config, bundle) });
  };
  const begin = () => {
    mkdirSync(bundle, { recursive: true });
    writeFileSync(join(bundle, 'container.json'), JSON.stringify(running));
  };
  const warned = t.capture(process.stderr, 'write', () => true);
  begin();
  const holder = createServer((socket) => {
    socket.destroy();
    rmSync(bundle, { recursive: true, force: true });
  }).listen(config.holderSocket);
  await once(holder, 'listening');
  await end();
  t.equal(connects, 0, 'while the daemon ends, what becomes of the container is waited for');
  holder.close();
  begin();
  await end();
  t.equal(connects, 1, 'of a daemon that died alone the next one is told');
  t.same(warned(), []);
});
