import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync } from 'node:fs';
import { chmod, mkdir, readdir, readFile, writeFile } from 'node:fs/promises';
import { hostname } from 'node:os';
import { join } from 'node:path';
import { text } from 'node:stream/consumers';
import { fileURLToPath } from 'node:url';
import t from 'tap';
import { runInContainer } from '../../src/mount/run-in-container.js';
import {
  containerState,
  deleteContainer,
  findRuntime,
  killContainer,
  runContainer,
} from '../../src/mount/runc.js';
import { temporaryFolder, until } from '../fuse/mounted-tree.js';
import { type PreparedContainer, prepareContainer } from './container.js';

const program = fileURLToPath(new URL('./run-container.program.ts', import.meta.url));

/** The container in the foreground of a process of its own, whose output is looked at. */
function start(container: PreparedContainer, wrap: readonly string[] = []) {
  const { id, root, bundle } = container;
  const words = [...wrap, process.execPath, '--import', 'tsx', program, id, root, bundle];
  const [command = '', ...args] = words;
  const child = spawn(command, args, { stdio: ['pipe', 'pipe', 'pipe'] });
  const ended = once(child, 'close').then(([code]) => code as unknown);
  return { child, ended, stdout: text(child.stdout), stderr: text(child.stderr) };
}

async function output(container: PreparedContainer): Promise<string> {
  const { ended, stdout, stderr } = start(container);
  const code = await ended;
  if (code !== 0) throw new Error(`exit code ${code}: ${await stderr}`);
  return (await stdout).trim();
}

function shell(script: string): string[] {
  return ['/bin/sh', '-c', script];
}

/** Its words; empty if it has ended. */
async function commandOf(pid: string): Promise<string> {
  const words = await readFile(`/proc/${pid}/cmdline`, 'latin1').catch(() => '');
  return words.split('\0').join(' ');
}

async function cgroupsOf(id: string): Promise<string[]> {
  const folders = await readdir('/sys/fs/cgroup');
  return folders.filter((folder) => existsSync(`/sys/fs/cgroup/${folder}/thinfs-${id}`));
}

t.test('exit codes: of the command, and of one that is none', async (t) => {
  const code = async (command: readonly string[]) => {
    const container = await prepareContainer(t, command);
    const { ended, stdout } = start(container);
    await stdout;
    return ended;
  };
  t.equal(await code(['/bin/sh', '-c', 'exit 0']), 0);
  t.equal(await code(shell('exit 37')), 37);
  t.equal(await code(['no-such-program']), 127);
  t.equal(await code(['/bin/no-such-program']), 127);
  t.equal(await code(['/not-a-program']), 126);
});

t.test('streams and arguments are passed as they are', async (t) => {
  const words = ['a b', '', '$HOME', '"q"', 'é', '*'];
  const container = await prepareContainer(t, [
    '/bin/sh',
    '-c',
    'cat; printf "[%s]" "$@"; echo err >&2',
    'sh',
    ...words,
  ]);
  const { child, ended, stdout, stderr } = start(container);
  child.stdin.end('from stdin\n');
  t.equal(await ended, 0);
  t.equal(await stdout, `from stdin\n${words.map((word) => `[${word}]`).join('')}`);
  t.equal(await stderr, 'err\n');
});

t.test('user, groups, home and working directory', async (t) => {
  const container = await prepareContainer(
    t,
    shell('id; echo $HOME; pwd; stat -c "%u %a" .; cat /proc/self/status'),
    { image: { User: 'web', WorkingDir: '/made/for/it' } },
  );
  const seen = await output(container);
  const [identity, ...rest] = seen.split('\n');
  t.equal(identity, 'uid=33(web) gid=34(web) groups=26(tape),34(web)');
  t.strictSame(rest.slice(0, 3), ['/var/www', '/made/for/it', '0 755']);
  t.match(seen, /CapEff:\s*0000000000000000/);
  t.match(seen, /CapBnd:\s*00000000a80425fb/, "docker's default set");
  t.match(seen, /Seccomp:\s*2/);
});

t.test('isolation: processes, network, kernel files, devices, mounts', async (t) => {
  const script = `
    echo pid $$
    ip -o link | grep -c .
    cat /etc/hostname /etc/hosts /etc/resolv.conf | tail -1
    ls /sys/firmware | wc -l
    echo x > /proc/sys/kernel/hostname || echo refused
    mknod /tmp-disk b 253 0 && cat < /tmp-disk || echo no disk
    mount -t tmpfs none /bin || echo no mount
    cat /proc/self/cgroup | grep -c thinfs-
    echo done > /dev/null`;
  const container = await prepareContainer(t, shell(script), { hostname: 'alone' });
  const lines = (await output(container)).split('\n');
  t.strictSame(lines.slice(0, 7), [
    'pid 1',
    '1',
    '127.0.1.1\talone',
    '0',
    'refused',
    'no disk',
    'no mount',
  ]);
  t.ok(Number(lines[7]) > 0);
});

t.test('the network of the host', async (t) => {
  const script = 'hostname; ip -o link | grep -c .; cat /etc/hosts';
  const container = await prepareContainer(t, shell(script), { network: 'host' });
  const [name, links, ...hosts] = (await output(container)).split('\n');
  t.equal(name, hostname());
  t.equal(Number(links), (await readdir('/sys/class/net')).length);
  t.equal(hosts.join('\n'), (await readFile('/etc/hosts', 'utf8')).trim());
});

t.test('changes go above the image, or nowhere', async (t) => {
  const script = 'cat notes; echo changed > notes; echo $?; echo x > /etc/hosts; cat notes';
  const writable = await prepareContainer(t, shell(script));
  t.equal(await output(writable), 'of the image\n0\nchanged');
  t.equal(await readFile(join(writable.overlay.upper, 'notes'), 'utf8'), 'changed\n');
  const readOnly = await prepareContainer(t, shell(script), { readOnly: true });
  t.equal(await output(readOnly), 'of the image\n1\nof the image');
  t.notOk(existsSync(join(readOnly.overlay.upper, 'notes')));
});

t.test('volumes, to write and to read', async (t) => {
  const folder = await temporaryFolder(t, 'mount');
  await mkdir(join(folder, 'data'));
  await writeFile(join(folder, 'file'), 'of the host\n');
  const script = `cat /one; echo w > /two/new; cat /two/new
    echo x > /three/new || echo read-only; cat /etc/resolv.conf`;
  const container = await prepareContainer(t, shell(script), {
    volumes: [
      `${folder}/file:/one`,
      `${folder}/data:/two`,
      `${folder}/data:/three:ro`,
      `${folder}/file:/etc/resolv.conf`,
    ],
  });
  t.equal(await output(container), 'of the host\nw\nread-only\nof the host');
  t.equal(await readFile(join(folder, 'data/new'), 'utf8'), 'w\n');
  const missing = prepareContainer(t, ['sh'], { volumes: ['/nonexistent/x:/x'] });
  await t.rejects(missing, { code: 'not-found', message: /volume \/nonexistent/ });
});

t.test('memory is limited', async (t) => {
  const files = '/sys/fs/cgroup/memory/memory.limit_in_bytes /sys/fs/cgroup/memory.max';
  const script = `cat ${files} 2> /tmp-errors; tail -n 1 /dev/zero > /dev/null || echo killed`;
  const container = await prepareContainer(t, shell(script), { memory: 32 * 2 ** 20 });
  t.equal(await output(container), `${32 * 2 ** 20}\nkilled`);
});

t.test('signals reach the command, and nothing is left after it', async (t) => {
  const script =
    'trap "echo usr" USR1; trap "echo term; exit 5" TERM; echo up; while :; do sleep 0.05; done';
  const container = await prepareContainer(t, shell(script));
  const { child, ended } = start(container);
  let seen = '';
  child.stdout.setEncoding('utf8').on('data', (piece: string) => {
    seen += piece;
  });
  await until('it is up', () => seen.includes('up'));
  t.equal((await containerState(container))?.status, 'running');
  t.ok((await cgroupsOf(container.id)).length > 0);
  child.kill('SIGUSR1');
  await until('it has the signal', () => seen.includes('usr'));
  child.kill('SIGTERM');
  t.equal(await ended, 5);
  t.equal(seen, 'up\nusr\nterm\n');
  t.equal(await containerState(container), undefined);
  t.strictSame(await cgroupsOf(container.id), []);
  await container.overlay.unmount();
});

t.test('killing and deleting', async (t) => {
  const container = await prepareContainer(t, shell('echo up; exec sleep 1000'));
  const { child, ended } = start(container);
  await once(child.stdout, 'data');
  await killContainer(container, 'SIGKILL');
  t.equal(await ended, 137);
  await t.rejects(killContainer(container, 'SIGTERM'), { code: 'not-found' });

  const orphan = await prepareContainer(t, shell('echo up; exec sleep 1000'));
  const started = start(orphan);
  await once(started.child.stdout, 'data');
  const pid = (await containerState(orphan))?.pid ?? 0;
  const runtime = await readFile(`/proc/${pid}/stat`, 'utf8');
  process.kill(Number(runtime.split(' ')[3]), 'SIGKILL'); // runc itself: its parent
  t.equal(await started.ended, 137);
  t.equal((await containerState(orphan))?.status, 'running');
  await deleteContainer(orphan);
  t.equal(await containerState(orphan), undefined);
  await deleteContainer(orphan);
  await orphan.overlay.unmount();
});

t.test(
  'a command inside that does not end by itself is killed, with what it has begun',
  async (t) => {
    const container = await prepareContainer(t, shell('while sleep 0.05; do :; done'));
    const { ended } = start(container);
    await until('it runs', async () => (await containerState(container))?.status === 'running');
    const cgroups = await cgroupsOf(container.id);
    const pids = async () => {
      const paths = cgroups.map((folder) => `/sys/fs/cgroup/${folder}/thinfs-${container.id}`);
      const lists = await Promise.all(
        paths.map((path) => readFile(join(path, 'cgroup.procs'), 'latin1').catch(() => '')),
      );
      const commands = lists.flatMap((list) => list.split('\n').filter(Boolean));
      return await Promise.all(commands.map((pid) => commandOf(pid)));
    };
    const stubborn = async () =>
      (await pids()).filter((command) => /^sleep (777|888)/.test(command));
    const wait = new AbortController();
    const command = shell("trap '' TERM; sleep 777 & sleep 888");
    const running = runInContainer(container, command, { signal: wait.signal, timeoutMs: 600_000 });
    await until('both run', async () => new Set(await stubborn()).size === 2);
    wait.abort();
    t.equal(await running, false);
    await until('none does', async () => (await stubborn()).length === 0);
    await killContainer(container, 'SIGKILL');
    await ended;
  },
);

t.test('a terminal', async (t) => {
  const script = 'test -t 0 && test -t 1 && echo a terminal; echo $TERM; stat -c %F /dev/console';
  const container = await prepareContainer(t, shell(script), { terminal: true });
  const { id, root, bundle } = container;
  const words = [process.execPath, '--import', 'tsx', program, id, root, bundle].join(' ');
  const typescript = spawn('script', ['-qec', words, '/dev/null'], {
    stdio: ['pipe', 'pipe', 'inherit'],
  });
  const ended = once(typescript, 'exit');
  t.equal(await text(typescript.stdout), 'a terminal\r\nxterm\r\ncharacter special file\r\n');
  t.strictSame(await ended, [0, null]);
});

t.test('a runtime that fails says why', async (t) => {
  const container = await prepareContainer(t, ['/bin/sh']);
  const nowhere = { ...container, bundle: '/nonexistent', stdin: false };
  t.throws(() => runContainer(nowhere), { code: 'not-found' });
  await writeFile(join(container.bundle, 'config.json'), '{"ociVersion":"1.0.2"}');
  const broken = runContainer({ ...container, stdin: false });
  await t.rejects(broken.exitCode, { code: 'unavailable', message: /Cannot start container/ });
});

t.test('a runtime that cannot tell has not said that nothing runs', async (t) => {
  const root = t.testdir({
    known: {},
    unsaid: {},
    'fails.sh': '#!/bin/sh\necho $4: no memory >&2\nexit 1\n',
  });
  const runtime = join(root, 'fails.sh');
  await chmod(runtime, 0o755);
  const key = { id: 'known', root, runtime };
  await t.rejects(containerState(key), { code: 'unavailable', message: /no memory/ });
  t.equal(await containerState({ ...key, id: 'gone' }), undefined);
  for (const real of ['runc', 'crun']) {
    t.equal(await containerState({ id: 'unsaid', root, runtime: findRuntime(real) }), undefined);
  }
});

t.test('without a runtime, what to install', async (t) => {
  const path = process.env.PATH;
  t.teardown(async () => {
    process.env.PATH = path;
  });
  t.match(findRuntime(), /\/(runc|crun)$/);
  process.env.PATH = '/nonexistent';
  t.throws(findRuntime, {
    code: 'not-found',
    message: /neither runc nor crun.*apt-get install runc/,
  });
});
