import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { connect } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Test } from 'tap';
import { cleanUp } from './clean-up.js';
import { freePort } from './free-port.js';
import { runCommand } from './run-command.js';

/** Milliseconds for a server to answer, and between two looks. */
const startMs = 90_000;
const pollMs = 50;

export interface Gluster {
  /** Where the client has mounted the volume. */
  readonly path: string;
  /** The client hangs, and who asks the file system with it. */
  pause(): void;
  resume(): void;
}

/**
 * A GlusterFS of two bricks, over which files are distributed, mounted by its FUSE client. The
 * daemons are given their parts by volume files: glusterd would do no more than write those.
 */
export async function startGluster(t: Test): Promise<Gluster> {
  const folder = mkdtempSync(join(tmpdir(), 'thinfs-gluster-'));
  cleanUp(t, () => rmSync(folder, { recursive: true, force: true }));
  const ports = [await freePort(), await freePort()];
  for (const [at, port] of ports.entries()) {
    const brick = join(folder, `brick${at}`);
    mkdirSync(brick);
    start(t, 'glusterfsd', folder, `brick${at}`, brickVolume(brick, port), []);
  }
  // A client that finds one of them missing tries again only after seconds.
  for (const port of ports) await waitFor(folder, () => listens(port));
  const path = join(folder, 'mount');
  mkdirSync(path);
  const client = start(t, 'glusterfs', folder, 'client', clientVolume(ports), [path]);
  cleanUp(t, async () => {
    client.kill('SIGCONT');
    await runCommand('umount', ['--lazy', path], { mayFail: true });
  });
  await waitFor(folder, async () => {
    if (!readFileSync('/proc/self/mounts', 'utf8').includes(` ${path} fuse.glusterfs `))
      return false;
    return (await runCommand('mkdir', [join(path, 'works')], { mayFail: true })).code === 0;
  });
  await runCommand('rmdir', [join(path, 'works')]);
  return {
    path,
    pause: () => void client.kill('SIGSTOP'),
    resume: () => void client.kill('SIGCONT'),
  };
}

async function waitFor(folder: string, condition: () => Promise<boolean>): Promise<void> {
  const deadline = Date.now() + startMs;
  while (!(await condition())) {
    if (Date.now() > deadline) throw new Error(readFileSync(join(folder, 'client.log'), 'utf8'));
    await new Promise((resolve) => setTimeout(resolve, pollMs));
  }
}

function listens(port: number): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = connect(port, '127.0.0.1', () => resolve(true));
    socket.once('error', () => resolve(false));
    socket.once('connect', () => socket.destroy());
  });
}

function start(
  t: Test,
  program: string,
  folder: string,
  name: string,
  volume: string,
  args: readonly string[],
): ChildProcess {
  const file = join(folder, `${name}.vol`);
  writeFileSync(file, volume);
  const log = join(folder, `${name}.log`);
  const words = ['-N', '-f', file, '-l', log, '-p', join(folder, `${name}.pid`), ...args];
  const child = spawn(program, words, { stdio: 'ignore' });
  cleanUp(t, async () => {
    if (child.exitCode !== null || child.signalCode !== null) return;
    child.kill('SIGKILL');
    await once(child, 'exit');
  });
  return child;
}

function brickVolume(directory: string, port: number): string {
  return `
volume posix
  type storage/posix
  option directory ${directory}
end-volume
volume locks
  type features/locks
  subvolumes posix
end-volume
volume brick
  type performance/io-threads
  subvolumes locks
end-volume
volume server
  type protocol/server
  option transport-type tcp
  option transport.socket.bind-address 127.0.0.1
  option transport.socket.listen-port ${port}
  option auth.addr.brick.allow *
  subvolumes brick
end-volume
`;
}

function clientVolume(ports: readonly number[]): string {
  const clients = ports.map(
    (port, at) => `
volume client${at}
  type protocol/client
  option transport-type tcp
  option remote-host 127.0.0.1
  option remote-port ${port}
  option remote-subvolume brick
end-volume
`,
  );
  const names = ports.map((_, at) => `client${at}`).join(' ');
  return `${clients.join('')}
volume distribute
  type cluster/distribute
  subvolumes ${names}
end-volume
`;
}
