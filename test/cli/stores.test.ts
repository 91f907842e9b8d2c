import { cpSync, mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import t from 'tap';
import { startRegistry } from '../support/docker-registry.js';
import { pushToRegistry, testImage } from '../support/images.js';
import { runCommand } from '../support/run-command.js';
import { startNginx } from '../support/static-http.js';
import { mountsBelow, startNode, thinifyProgram } from './test-node.js';

t.setTimeout(400_000); // dozens of processes on a busy machine
const registry = await startRegistry(t);
const image = `${registry.host}/busybox:1`;
await pushToRegistry(await testImage('busybox'), image);
const node = startNode(t);
const published = join(node.folder, 'published');
await runCommand(process.execPath, [thinifyProgram, image]);
await runCommand(process.execPath, [thinifyProgram, image, '--to', `dir:${published}`]);

t.test('a folder as the store, by a path from here', async (t) => {
  const flags = ['--rm', '--store', 'dir:./published'];
  const ran = await node.thin(['run', ...flags, image, 'echo', 'here'], { cwd: node.folder });
  t.same([ran.code, ran.stdout], [0, 'here\n'], ran.stderr);
  t.match(await node.status(), { images: [{ kind: 'thin', source: `dir:${published}` }] });
  const none = await node.thin(['run', ...flags, `${registry.host}/none:1`], { cwd: node.folder });
  t.equal(none.code, 3);
  t.match(none.stderr, /^error: Cannot [^\n]+\n$/);
});

t.test('any web server as the store', async (t) => {
  const web = await startNginx(t, published);
  const other = startNode(t);
  const flags = ['--rm', '-q', '--store', web.url];
  const ran = await other.thin(['run', ...flags, image, 'echo', 'here']);
  t.same([ran.code, ran.stdout], [0, 'here\n'], ran.stderr);
  t.match(await other.status(), { images: [{ kind: 'thin', source: web.url }] });
  const secretly = startNode(t);
  const named = web.url.replace('//', '//somebody:hunter2@');
  const said = await secretly.thin(['run', '--rm', '--store', named, image, 'true']);
  t.equal(said.code, 0, said.stderr);
  const shown = await Promise.all([
    ...[['status'], ['status', '--json'], ['why', image]].map((words) => secretly.thin(words)),
  ]);
  const told = [said, ...shown].map(({ stdout, stderr }) => stdout + stderr).join('');
  const log = readFileSync(join(secretly.root, 'daemon.log'), 'utf8');
  t.match(told, web.url.replace('http://', ''));
  t.notMatch(told + log, /hunter2|somebody/);
  await web.stop();
  t.equal((await other.thin(['run', ...flags, image, 'echo', 'cached'])).stdout, 'cached\n');
  t.equal((await other.thin(['run', ...flags, `${registry.host}/none:1`])).code, 5);
});

t.test('a pack with a wrong byte is never shown', async (t) => {
  const bad = join(node.folder, 'bad');
  cpSync(published, bad, { recursive: true });
  const blobs = join(bad, 'blobs/sha256');
  for (const name of readdirSync(blobs)) {
    const bytes = readFileSync(join(blobs, name));
    if (bytes.length < 500_000) continue;
    for (let at = 0; at < bytes.length; at += 4096) bytes[at] = (bytes[at] ?? 0) ^ 1;
    writeFileSync(join(blobs, name), bytes);
  }
  const other = startNode(t);
  const read = await other.thin(['cat', '--store', `dir:${bad}`, image, '/bin/busybox']);
  t.equal(read.code, 6, read.stderr);
  t.equal(read.stdout, '');
  t.match(read.stderr, /^error: [^\n]+\n$/);
  const own = ['cat', '--store', `dir:${bad}`, image, '/etc/passwd'];
  t.match(await other.thin(own), { code: 0, stdout: /^root:/ }, 'what is whole can be read');
});

t.test('a daemon that was killed is followed by one that takes over', async (t) => {
  const target = join(node.folder, 'mounted');
  t.equal((await node.thin(['mount', image, target])).code, 0);
  t.equal(readFileSync(join(target, 'etc/group'), 'utf8').slice(0, 5), 'root:');
  const { pid } = await node.status();
  process.kill(pid, 'SIGKILL');
  const ran = await node.thin(['run', '--rm', '-q', image, 'echo', 'recovered']);
  t.same([ran.code, ran.stdout], [0, 'recovered\n'], ran.stderr);
  t.not((await node.status()).pid, pid);
  t.match((await node.status()).mounts, [{ target }]);
  t.match(readFileSync(join(target, 'etc/passwd'), 'utf8'), /^root:/, 'it can be read');
  t.equal((await node.thin(['unmount', target])).code, 0);
  t.strictSame((await node.status()).mounts, []);
  t.strictSame(mountsBelow(node.folder), [], 'nothing is left');
});

t.test('damaged metadata is fetched again', async (t) => {
  const { images } = await node.status();
  const path = images[0]?.metadataPath ?? '';
  const right = readFileSync(path);
  const damages = [() => writeFileSync(path, right.fill(0, 1024, 1100)), () => rmSync(path)];
  const uses = [
    ['run', '--rm', image, 'cat', '/etc/group'],
    ['cat', image, '/etc/group'],
  ];
  for (const damage of damages) {
    for (const use of uses) {
      await node.stop();
      damage();
      t.match(await node.thin(['gc']), { code: 0 }, 'the other images are looked at');
      const used = await node.thin(use);
      t.equal(used.code, 0, used.stderr);
      t.match(used.stdout, /^root:/);
      if (use[0] === 'run') t.match(used.stderr, /fetching it again/);
    }
  }
});

t.test('a user without rights mounts for reading', async (t) => {
  const home = join(node.folder, 'home');
  mkdirSync(home);
  await runCommand('chown', ['65534:65534', home]);
  await runCommand('chmod', ['755', node.folder]);
  const env = {
    THINFS_ROOT: join(home, 'state'),
    XDG_RUNTIME_DIR: home,
    HOME: home,
    THINFS_FREE_SPACE: '0',
  };
  const words = ['--reuid=65534', '--regid=65534', '--clear-groups', process.execPath];
  const thin = async (...args: string[]) => {
    const program = [join(process.cwd(), 'dist/src/cli/thin.js'), ...args];
    return await runCommand('setpriv', [...words, ...program], { env, mayFail: true });
  };
  t.teardown(() => thin('daemon', 'stop', '--force'));
  const target = join(home, 'mounted');
  const mounted = await thin('mount', image, target);
  t.equal(mounted.code, 0, mounted.stderr);
  const read = ['--reuid=65534', '--regid=65534', '--clear-groups', 'cat', `${target}/etc/group`];
  t.match((await runCommand('setpriv', read)).stdout, /^root:/);
  t.match(JSON.parse((await thin('status', '--json')).stdout), {
    mounts: [{ target, readOnly: true }],
  });
  t.equal((await thin('unmount', target)).code, 0);
  t.equal((await thin('daemon', 'stop')).code, 0);
});
