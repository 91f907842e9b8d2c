import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { writeFileSync } from 'node:fs';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Redis } from 'ioredis';
import t, { type Test } from 'tap';
import { fetchName } from '../../src/pop/pop-keys.js';
import { parseRedisAddress } from '../../src/pop-option.js';
import { freePort } from '../support/free-port.js';
import { RedisServer } from './redis-server.js';
import { joinSite, until } from './site.js';

const never = new AbortController().signal;
const options = { background: () => false, patienceMs: 90_000 };

/** One fetches, the other is told: scripts, messages and heartbeats go through. */
async function works(t: Test, url: string): Promise<void> {
  const address = parseRedisAddress(url);
  const [a, b] = [await joinSite(t, address, 'a'), await joinSite(t, address, 'b')];
  for (const each of ['one', 'two', 'three', 'four']) {
    const name = fetchName('frame', each);
    const first = await a.leases.claim(name, options, never);
    if (first.kind !== 'own') throw new Error(`wanted to own it: ${first.kind}`);
    const second = b.leases.claim(name, options, never);
    await until(() => b.leases.counts.waiting > 0);
    await first.lease.done();
    t.match(await second, { kind: 'have', node: a.node });
  }
  await until(() => a.members.list().filter(({ alive }) => alive).length === 2);
}

t.test('a server with a password', async (t) => {
  const redis = await RedisServer.start(t);
  await redis.ask((client) => client.config('SET', 'requirepass', 'p@ss word'));
  await works(t, `redis://:p%40ss%20word@127.0.0.1:${redis.port}/1`);
});

t.test('a cluster', async (t) => {
  const redis = await RedisServer.start(t, [
    ...['--cluster-enabled', 'yes', '--cluster-announce-ip', '127.0.0.1'],
  ]);
  await redis.ask((client) => client.call('CLUSTER', 'ADDSLOTSRANGE', '0', '16383'));
  await until(async () => {
    const state = await redis.ask((client) => client.call('CLUSTER', 'INFO'));
    return String(state).includes('cluster_state:ok');
  });
  await works(t, `redis+cluster://127.0.0.1:${redis.port}`);
});

t.test('sentinels, which tell of another primary after its death', async (t) => {
  const primary = await RedisServer.start(t);
  const replica = await RedisServer.start(t, ['--replicaof', '127.0.0.1', String(primary.port)]);
  const port = await startSentinel(t, primary.port);
  await until(async () => {
    const state = await replica.ask((client) => client.info('replication'));
    return state.includes('master_link_status:up');
  });
  await until(async () => (await sentinelKnows(port, 'slaves')) > 0);
  const url = `redis+sentinel://127.0.0.1:${port}/main`;
  await works(t, url);
  const node = await joinSite(t, parseRedisAddress(url), 'c');
  await askSentinel(port, 'set', 'main', 'down-after-milliseconds', '500');
  await primary.kill();
  await until(() => !node.ready);
  await until(() => node.ready);
  const claim = await node.leases.claim(fetchName('frame', 'after'), options, never);
  t.equal(claim.kind, 'own', 'the replica has become the primary');
});

async function startSentinel(t: Test, primaryPort: number): Promise<number> {
  const folder = await mkdtemp(join(tmpdir(), 'thinfs-sentinel-'));
  const port = await freePort();
  const config = join(folder, 'sentinel.conf');
  const lines = [
    ...[`port ${port}`, 'bind 127.0.0.1', `dir ${folder}`],
    `sentinel monitor main 127.0.0.1 ${primaryPort} 1`,
    // Not before it is to die: a busy machine is no dead primary.
    ...['sentinel down-after-milliseconds main 60000', 'sentinel failover-timeout main 5000'],
  ];
  writeFileSync(config, `${lines.join('\n')}\n`);
  const sentinel = spawn('redis-server', [config, '--sentinel'], { stdio: 'ignore' });
  t.teardown(async () => {
    const ended = once(sentinel, 'exit');
    sentinel.kill('SIGKILL');
    await ended; // it writes to the folder until then
    await rm(folder, { recursive: true, force: true });
  });
  await until(async () => (await sentinelKnows(port, 'masters')) > 0);
  return port;
}

/** How many of them. */
async function sentinelKnows(port: number, what: 'masters' | 'slaves'): Promise<number> {
  const about = what === 'slaves' ? ['main'] : [];
  const found = await askSentinel(port, what, ...about).catch(() => undefined);
  return Array.isArray(found) ? found.length : 0;
}

async function askSentinel(port: number, ...words: string[]): Promise<unknown> {
  const client = new Redis({
    port,
    host: '127.0.0.1',
    lazyConnect: true,
    retryStrategy: () => null,
  });
  client.on('error', () => undefined);
  try {
    await client.connect();
    return await client.call('SENTINEL', ...words);
  } finally {
    client.disconnect();
  }
}
