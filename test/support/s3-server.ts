import { type ChildProcess, spawn } from 'node:child_process';
import { randomUUID } from 'node:crypto';
import { once } from 'node:events';
import { mkdirSync, mkdtempSync, openSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { CreateBucketCommand, S3Client } from '@aws-sdk/client-s3';
import type { Test } from 'tap';
import { cleanUp } from './clean-up.js';
import { freePort } from './free-port.js';
import { runCommand } from './run-command.js';

/** Longest wait for one step, in milliseconds: all of them together take 10 s on an idle machine. */
const stepTimeoutMs = 120_000;
/** Milliseconds between two tries to reach the server. */
const pollMs = 50;
/** Starts of the storage daemon. */
const storageTriesMax = 5;
/** Bytes that the store in memory may hold. */
const deviceBytes = 1024 * 1024 * 1024;

export interface TestS3 {
  /** `http://127.0.0.1:<port>` */
  readonly endpoint: string;
  /** An empty bucket that exists. */
  readonly bucket: string;
  readonly accessKeyId: string;
  readonly secretAccessKey: string;
  /** Stops the service, as an outage; what it holds is lost with the test. */
  stop(): Promise<void>;
}

/**
 * A real S3 service on the loopback, gone when the test `t` ends: Ceph's radosgw over one monitor
 * and one storage daemon that keeps its objects in memory (Debian: radosgw, ceph-mon, ceph-osd). The
 * AWS variables of this process's environment are set to its account while the test runs.
 */
export async function startS3(t: Test): Promise<TestS3> {
  const folder = mkdtempSync(join(tmpdir(), 'thinfs-test-s3-'));
  const cluster = new Cluster(folder);
  cleanUp(t, () => cluster.stop());
  try {
    return await start(t, cluster);
  } catch (error) {
    // An error at the top level of a test file ends it before its teardown.
    await cluster.stop();
    throw error;
  }
}

/** A part of the cluster that was started; what it says goes to the file `log`. */
interface Program {
  readonly child: ChildProcess;
  readonly log: string;
  readonly stop: () => Promise<void>;
}

async function start(t: Test, cluster: Cluster): Promise<TestS3> {
  const port = await freePort();
  const monitor = await cluster.startMonitor(await freePort(), port);
  await cluster.startStorage(monitor);
  const account = await cluster.makeAccount();
  const stop = await cluster.startGateway(port);
  const endpoint = `http://127.0.0.1:${port}`;
  setEnvironment(t, account);
  const bucket = 'thin-images';
  await makeBucket(endpoint, bucket);
  return { endpoint, bucket, ...account, stop };
}

/** A cluster of one of each, without authentication between its parts. */
class Cluster {
  readonly #folder: string;
  readonly #fsid = randomUUID();
  readonly #stops: (() => Promise<void>)[] = [];

  constructor(folder: string) {
    this.#folder = folder;
    for (const name of ['mon', 'osd', 'rgw']) mkdirSync(join(folder, name));
  }

  async startMonitor(port: number, gatewayPort: number): Promise<Program> {
    const address = `v1:127.0.0.1:${port}`;
    writeFileSync(this.#path('ceph.conf'), this.#configuration(address, gatewayPort));
    const map = this.#path('monmap');
    const create = ['--create', '--fsid', this.#fsid, '--addv', 'a', `[${address}]`, map];
    await this.#run('monmaptool', create);
    await this.#run('ceph-mon', ['-i', 'a', '--mkfs', '--monmap', map]);
    return this.#start('ceph-mon', ['-i', 'a']);
  }

  async startStorage(monitor: Program): Promise<void> {
    const id = randomUUID();
    // It is the same after the second time; a monitor that has just begun still refuses everybody.
    const isNew = async () => {
      const { code } = await this.#run(
        'ceph',
        ['--connect-timeout', '60', 'osd', 'new', id, '0'],
        true,
      );
      return code === 0;
    };
    await until('ceph-mon', monitor.child, monitor.log, isNew);
    await this.#run('ceph-osd', ['-i', '0', '--mkfs', '--osd-uuid', id, '--no-mon-config']);
    const isUp = async () => {
      // The monitor may be refusing everybody once more.
      const { stdout } = await this.#run('ceph', ['osd', 'dump', '--format=json'], true);
      return /"osd":0,[^}]*"up":1/.test(stdout);
    };
    for (let tries = 1; ; tries++) {
      const { child, log } = this.#start('ceph-osd', ['-i', '0']);
      try {
        return await until('ceph-osd', child, log, isUp);
      } catch (error) {
        // It sometimes asks the monitor for something before it has learnt the cluster's name.
        if (tries === storageTriesMax || child.exitCode === null) throw error;
      }
    }
  }

  /** The account is kept in the storage, and the pools for it are made now. */
  async makeAccount() {
    const account = { accessKeyId: 'thinfs-test', secretAccessKey: 'secret-of-the-tests' };
    await this.#run('radosgw-admin', [
      'user',
      'create',
      '--uid=test',
      '--display-name=test',
      `--access-key=${account.accessKeyId}`,
      `--secret-key=${account.secretAccessKey}`,
    ]);
    return account;
  }

  async startGateway(port: number): Promise<() => Promise<void>> {
    const { child, stop, log } = this.#start('radosgw', ['-n', 'client.rgw']);
    await until('radosgw', child, log, () => answers(port));
    return stop;
  }

  #configuration(monitor: string, gatewayPort: number): string {
    return `[global]
fsid = ${this.#fsid}
mon host = ${monitor}
mon initial members = a
auth cluster required = none
auth service required = none
auth client required = none
run dir = ${this.#folder}
admin socket = ${this.#folder}/$name.socket
pid file = ${this.#folder}/$name.pid
log file = ${this.#folder}/$name.log
osd pool default size = 1
osd pool default min size = 1
osd pool default pg num = 1
osd pool default pgp num = 1
osd pool default pg autoscale mode = off
osd crush chooseleaf type = 0
mon allow pool size one = true
paxos propose interval = 0.02
paxos min wait = 0.01
mon data avail warn = 1
mon data avail crit = 0
[mon.a]
mon data = ${this.#folder}/mon
[osd]
osd objectstore = memstore
memstore device bytes = ${deviceBytes}
osd data = ${this.#folder}/osd
osd class update on start = false
public addr = 127.0.0.1
cluster addr = 127.0.0.1
[client.rgw]
rgw frontends = beast endpoint=127.0.0.1:${gatewayPort}
rgw data = ${this.#folder}/rgw
rgw thread pool size = 16
rgw enable gc threads = false
rgw enable lc threads = false
rgw run sync thread = false
`;
  }

  #path(name: string): string {
    return join(this.#folder, name);
  }

  #run(command: string, args: readonly string[], mayFail = false) {
    const config = ['-c', this.#path('ceph.conf')];
    const words = command === 'monmaptool' ? args : [...config, ...args];
    return runCommand(command, words, { timeoutMs: stepTimeoutMs, mayFail });
  }

  #start(command: string, args: readonly string[]): Program {
    const log = this.#path(`${command}.out`);
    const output = openSync(log, 'w');
    const child = spawn(command, ['-c', this.#path('ceph.conf'), '-f', ...args], {
      stdio: ['ignore', output, output],
    });
    const stop = stopper(child);
    this.#stops.push(stop);
    return { child, stop, log };
  }

  async stop(): Promise<void> {
    await Promise.all(this.#stops.map((stop) => stop()));
    rmSync(this.#folder, { recursive: true, force: true });
  }
}

/** Polls until the program is ready, with a deadline. */
async function until(
  name: string,
  child: ChildProcess,
  log: string,
  ready: () => Promise<boolean>,
): Promise<void> {
  const deadline = Date.now() + stepTimeoutMs;
  while (!(await ready())) {
    if (child.exitCode !== null || Date.now() > deadline) {
      throw new Error(`${name} does not start:\n${readFileSync(log, 'utf8').slice(-4000)}`);
    }
    await new Promise((resolve) => setTimeout(resolve, pollMs));
  }
}

function stopper(child: ChildProcess): () => Promise<void> {
  const exited = once(child, 'exit').then(
    () => undefined,
    () => undefined,
  );
  return async () => {
    child.kill('SIGKILL');
    await exited;
  };
}

async function answers(port: number): Promise<boolean> {
  try {
    const answer = await fetch(`http://127.0.0.1:${port}/`);
    await answer.arrayBuffer();
    return answer.ok;
  } catch {
    return false;
  }
}

async function makeBucket(endpoint: string, bucket: string): Promise<void> {
  const client = new S3Client({ endpoint, region: 'us-east-1', forcePathStyle: true });
  try {
    await client.send(new CreateBucketCommand({ Bucket: bucket }));
  } finally {
    client.destroy();
  }
}

/** Credentials are found as a user's are, and none of the machine's own are used. */
function setEnvironment(
  t: Test,
  account: { readonly accessKeyId: string; readonly secretAccessKey: string },
): void {
  const variables: Readonly<Record<string, string>> = {
    AWS_ACCESS_KEY_ID: account.accessKeyId,
    AWS_SECRET_ACCESS_KEY: account.secretAccessKey,
    AWS_EC2_METADATA_DISABLED: 'true',
    AWS_CONFIG_FILE: '/dev/null',
    AWS_SDK_JS_NODE_VERSION_SUPPORT_WARNING_DISABLED: 'true',
    AWS_SHARED_CREDENTIALS_FILE: '/dev/null',
  };
  for (const [name, value] of Object.entries(variables)) {
    const before = process.env[name];
    process.env[name] = value;
    cleanUp(t, () => {
      if (before === undefined) delete process.env[name];
      else process.env[name] = before;
    });
  }
}
