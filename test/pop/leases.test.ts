import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { fileURLToPath } from 'node:url';
import t from 'tap';
import type { Agreement } from '../../src/pop/agreement.js';
import { fairTimeout } from '../../src/pop/fair-timeout.js';
import { type LeaseText, markOf, parseLease } from '../../src/pop/lease-protocol.js';
import type { Claim } from '../../src/pop/leases.js';
import {
  channelPrefix,
  type FetchName,
  fetchName,
  leaseKeys,
  memberKeys,
} from '../../src/pop/pop-keys.js';
import { redisScripts, type ScriptName } from '../../src/pop/redis-scripts.js';
import { parseRedisAddress } from '../../src/pop-option.js';
import fc from '../support/properties.js';
import { startTcpProxy } from '../support/tcp-proxy.js';
import { emptyLease, modelClaim, modelPublish, modelRelease, type Told } from './lease-model.js';
import { RedisServer } from './redis-server.js';
import { joinSite, openAgreement, until } from './site.js';

const never = new AbortController().signal;
/** Milliseconds: less than the default of the others, as a Redis is waited for that hangs. */
const pausedAnswerMs = 1000;
const redis = await RedisServer.start(t);

function claim(node: Agreement, name: FetchName, patienceMs = 90_000): Promise<Claim> {
  return node.leases.claim(name, { background: () => false, patienceMs }, never);
}

function owned(claimed: Claim) {
  if (claimed.kind === 'own') return claimed.lease;
  throw new Error(`wanted to own it: ${claimed.kind}`);
}

/** The token of the lease that stands. */
async function tokenOf(frame: string): Promise<bigint> {
  const [key] = leaseKeys(fetchName('frame', frame));
  const text = await redis.ask((client) => client.get(key));
  return BigInt(text?.split(' ')[1] ?? 0);
}

/** Resolves when `node` waits for somebody. */
function waits(node: Agreement): Promise<void> {
  return until(async () => {
    const listed = await redis.ask((client) => client.keys('thinfs:3:{*}:wait:*'));
    const sets = await redis.ask((client) =>
      Promise.all(listed.map((key) => client.smembers(key))),
    );
    return sets.flat().includes(node.node);
  });
}

t.test('the scripts do what the model of the protocol test says', async (t) => {
  const node = fc.constantFrom('a', 'b', 'c');
  const operation = fc.oneof(
    fc.record({ kind: fc.constant('claim'), node, of: fc.nat(3) }),
    fc.record({ kind: fc.constant('publish'), node, of: fc.nat(3) }),
    fc.record({ kind: fc.constant('release'), node, of: fc.nat(3) }),
  );
  let run = 0;
  await redis.ask(async (client) => {
    const listener = client.duplicate();
    const heard: Told[] = [];
    await listener.psubscribe(`${channelPrefix}*`);
    listener.on('pmessage', (_, channel: string, text: string) => {
      const news = text.startsWith('free')
        ? 'free'
        : parseLease(text.split(' ').slice(2).join(' '));
      if (news) heard.push({ node: channel.slice(channelPrefix.length), news });
    });
    const ask = (script: ScriptName, keys: string[], args: (string | number)[]) =>
      client.eval(redisScripts[script].lua, keys.length, ...keys, ...args);
    await fc.assert(
      fc.asyncProperty(fc.array(operation, { maxLength: 12 }), async (operations) => {
        const name = fetchName('frame', `model ${run++}`);
        const [lease, waiters, fence] = leaseKeys(name);
        const base = Number(await client.incr(fence)); // also makes it exist
        let model = { ...emptyLease, token: base };
        const leases: LeaseText[] = [];
        for (const { kind, node: by, of } of operations) {
          const known = leases[of % Math.max(leases.length, 1)];
          let told: Told[] = [];
          heard.length = 0;
          if (kind === 'claim') {
            const args = [by, 60_000, 60_000, of === 3 ? (known ?? '') : '', '', channelPrefix];
            const given = await ask('claim', [lease, waiters, fence], args);
            const wanted = modelClaim(model, by, of === 3 ? known : undefined);
            t.same(given, [wanted.answer.ours ? 1 : 0, wanted.answer.lease]);
            model = wanted.model;
            leases.push(wanted.answer.lease);
          } else if (known) {
            const step = kind === 'publish' ? modelPublish : modelRelease;
            const text = kind === 'publish' ? markOf(known) : known;
            const next = step(model, text);
            const rest = [`${kind === 'publish' ? `done ${name} ${text}` : `free ${name}`}`];
            const args = kind === 'publish' ? [text, 60_000, ...rest] : [text, ...rest];
            await ask(
              kind === 'publish' ? 'publish' : 'release',
              [lease, waiters],
              [...args, channelPrefix],
            );
            ({ model, told } = next);
          }
          if (told.length > 0) await until(() => heard.length >= told.length);
          t.same(byNode(heard), byNode(told));
        }
      }),
      { numRuns: 60 },
    );
    listener.disconnect();
  });
});

function byNode(told: readonly Told[]): Told[] {
  return [...told].sort((a, b) => (a.node < b.node ? -1 : 1));
}

t.test('one of ten fetches, and the others are told who has it', async (t) => {
  const nodes = await Promise.all(
    Array.from({ length: 10 }, (_, at) => joinSite(t, redis.address, `ten${at}`)),
  );
  const name = fetchName('frame', 'of ten');
  const claims = nodes.map((node) => claim(node, name));
  const { at, lease } = await Promise.race(
    claims.map(async (claimed, at) => {
      const found = await claimed;
      return found.kind === 'own' ? { at, lease: found.lease } : new Promise<never>(() => {});
    }),
  );
  const others = nodes.filter((_, each) => each !== at);
  await Promise.all(others.map(waits));
  await lease.done();
  const kinds = (await Promise.all(claims)).map((found) =>
    found.kind === 'have' ? found.node : found.kind,
  );
  t.same(
    kinds,
    nodes.map((_, each) => (each === at ? 'own' : nodes[at]?.node)),
  );
  const [first, second] = others;
  if (!first || !second) throw new Error('ten nodes');
  const late = await claim(first, name);
  t.match(late, { kind: 'have', node: nodes[at]?.node }, 'and who comes later finds it');
  if (late.kind !== 'have') return;
  await first.leases.disown(name, late.mark);
  t.equal((await claim(second, name)).kind, 'own', 'a wrong mark goes');
});

t.test('a failed fetch is handed on, an owner is told of who waits', async (t) => {
  const [a, b] = [await joinSite(t, redis.address, 'a'), await joinSite(t, redis.address, 'b')];
  const name = fetchName('frame', 'handed on');
  const lease = owned(await claim(a, name));
  const hurried = new Promise<void>((resolve) => {
    lease.onHurry = resolve;
  });
  const second = claim(b, name);
  await hurried;
  await until(() => b.leases.counts.waits.length > 0);
  t.match(b.leases.counts, { held: 0, waiting: 1, waits: [{ node: a.node, pieces: 1 }] });
  t.match(a.leases.counts, { held: 1, waiting: 0, waits: [] });
  await lease.release();
  const next = owned(await second);
  t.equal((await claim(a, name, 1)).kind, 'alone', 'patience has an end');
  const gone = new AbortController();
  const third = a.leases.claim(name, { background: () => true, patienceMs: 30_000 }, gone.signal);
  gone.abort();
  await t.rejects(third, { code: 'canceled' });
  await next.done();
});

t.test('a killed owner is taken over from, and a stopped one too', async (t) => {
  let isThere = false;
  const node = await joinSite(t, redis.address, 'heir', { isThere: async () => isThere });
  for (const how of ['SIGKILL', 'SIGSTOP'] as const) {
    const program = fileURLToPath(new URL('lease-owner.ts', import.meta.url));
    const args = ['--import', 'tsx', program, redis.url, how];
    const owner = spawn(process.execPath, args, { stdio: ['ignore', 'pipe', 'inherit'] });
    t.teardown(() => owner.kill('SIGKILL'));
    await once(owner.stdout, 'data');
    const taken = claim(node, fetchName('frame', how));
    await waits(node);
    isThere = how === 'SIGSTOP';
    const [key] = leaseKeys(fetchName('frame', how));
    await redis.ask(async (client) => {
      owner.kill(how);
      t.equal(await client.persist(key), 1, "only its owner's silence ends it now");
    });
    let killedAt = performance.now();
    if (isThere) {
      // Who is silent and answers when it is asked is not dead.
      await until(() => node.members.list().some((each) => each.silentMs > 2000 && each.alive));
      await until(() => node.leases.counts.waits.length === 1); // but while it looks again
      isThere = false;
      killedAt = performance.now();
    }
    const lease = owned(await taken);
    t.comment(`${how}: taken over after ${Math.round(performance.now() - killedAt)} ms`);
    await lease.release();
    owner.kill('SIGKILL');
  }
});

t.test('without Redis everybody is on his own at once, and joins again', async (t) => {
  const [a, b] = [await joinSite(t, redis.address, 'c'), await joinSite(t, redis.address, 'd')];
  const held = owned(await claim(a, fetchName('frame', 'before')));
  const first = await tokenOf('before');
  const waiting = claim(b, fetchName('frame', 'before'));
  await waits(b);
  await redis.kill();
  t.equal((await waiting).kind, 'alone', 'who waits goes on');
  t.equal((await claim(b, fetchName('frame', 'down'))).kind, 'alone');
  await held.done();
  await redis.restart();
  await until(() => a.ready && b.ready);
  const again = owned(await claim(a, fetchName('frame', 'before')));
  t.ok((await tokenOf('before')) > first, 'an empty Redis knows nothing of it, and tokens grow');
  const hasty = await joinSite(t, redis.address, 'hasty', { answerMs: pausedAnswerMs });
  redis.pause();
  const asked = await Promise.all(
    ['one', 'two', 'three'].map((each) => claim(hasty, fetchName('frame', each))),
  );
  t.same(
    asked.map(({ kind }) => kind),
    ['alone', 'alone', 'alone'],
  );
  t.notOk(hasty.ready, 'nobody asks a Redis that hangs');
  redis.resume();
  await until(() => a.ready && b.ready);
  // What was answered too late was given back.
  await until(async () => (await claim(b, fetchName('frame', 'one'), 1000)).kind === 'own');
  await again.done();
});

t.test('tokens grow, also where Redis has lost its memory', async (t) => {
  const node = await joinSite(t, redis.address, 'e');
  const name = fetchName('frame', 'fence');
  const [, , fence] = leaseKeys(name);
  const token = async () => {
    const lease = owned(await claim(node, name));
    const found = await tokenOf('fence');
    await lease.release();
    return found;
  };
  const first = await token();
  const second = await token();
  t.ok(second > first);
  await redis.ask((client) => client.flushall());
  t.ok((await token()) > second, 'after FLUSHALL');
  t.equal(await redis.ask((client) => client.ttl(fence)), -1);
});

t.test('nodes that fell silent make room for others, and nothing stays for ever', async (t) => {
  await redis.ask(async (client) => {
    await client.flushall();
    const [seen, info] = memberKeys;
    const { lua, keys } = redisScripts.beat;
    const beat = async (node: string): Promise<Set<unknown>> => {
      const answer = await client.eval(lua, keys, ...memberKeys, node, '{}', 30_000, 2);
      const items: unknown[] = Array.isArray(answer) ? answer : [];
      return new Set(items.filter((item) => typeof item === 'string'));
    };
    await beat('a');
    t.same(await beat('b'), new Set(['a', 'b']));
    await t.rejects(beat('c'), /FULL/);
    await client.zadd(seen, 1, 'a');
    t.same(await beat('c'), new Set(['b', 'c']), 'who is forgotten is not counted');
    t.same(new Set(await client.hkeys(info)), new Set(['b', 'c']));
    t.ok((await client.pttl(seen)) > 0);
    t.ok((await client.pttl(info)) > 0);
  });
});

/** 150 ms, and more steps of this process than a node waits, however busy that is. */
async function muchLater(): Promise<void> {
  for (let times = 0; times < 3; times++) {
    await new Promise<void>((resolve) => fairTimeout(50, resolve));
  }
}

t.test('a Redis that answers late is left alone, until it is fast again', async (t) => {
  let late: boolean = true;
  const proxy = await startTcpProxy(t, `127.0.0.1:${redis.port}`, (client, upstream) => {
    client.pipe(upstream);
    let sent = Promise.resolve();
    upstream.on('data', (bytes) => {
      const due = late ? muchLater() : Promise.resolve();
      sent = sent.then(() => due).then(() => void client.write(bytes));
    });
  });
  const turns: unknown[] = [];
  const address = parseRedisAddress(`redis://${proxy}`);
  const node = await openAgreement(address, 'slow', (why) => turns.push(why));
  t.teardown(() => node[Symbol.asyncDispose]());
  await until(() => node.members.list().length > 0);
  t.notOk(node.ready);
  t.equal((await claim(node, fetchName('frame', 'slow'))).kind, 'alone');
  t.same(turns, [], 'heartbeats are answered, and nobody is sent there');
  late = false;
  await until(() => node.ready);
  t.same(turns.slice(0, 1), [undefined]);
});
