import { randomBytes } from 'node:crypto';
import t, { type Test } from 'tap';
import { digestOf } from '../../src/digest.js';
import { RegistryClient } from '../../src/registry/registry-client.js';
import { type Answer, type HostileServer, startHostile } from '../support/hostile-http.js';

const { signal } = new AbortController();
const bytes = randomBytes(10_000);
const blob = { digest: digestOf(bytes), size: bytes.length };

interface Pair {
  readonly registry: HostileServer;
  readonly store: HostileServer;
  readonly state: { valid: string; wrong: Answer; issues: 'fresh' | 'expired' };
  readonly client: RegistryClient;
}

/** A registry that sends us to a store, whose URLs are good while `state.valid` is in them. */
async function startPair(t: Test): Promise<Pair> {
  const state: Pair['state'] = { valid: 'a', wrong: { status: 403 }, issues: 'fresh' };
  const store = await startHostile(t, ({ path, headers }) => {
    if (!path.endsWith(`sig=${state.valid}`)) return state.wrong;
    const [, from, to] = /^bytes=(\d+)-(\d+)$/.exec(headers.range ?? '') ?? [];
    if (from === undefined) return { status: 200, body: bytes };
    const part = bytes.subarray(Number(from), Number(to) + 1);
    return {
      status: 206,
      headers: { 'content-range': `bytes ${from}-${to}/${bytes.length}` },
      body: part,
    };
  });
  let issued = 'a';
  const registry = await startHostile(t, () => {
    const location = `${store.origin}/blob?sig=${issued}`;
    issued = state.issues === 'fresh' ? state.valid : 'expired';
    return { status: 307, headers: { location } };
  });
  const client = await RegistryClient.open({
    registry: registry.host,
    repository: 'team/app',
    credentials: 'anonymous',
    patience: { attemptsMax: 2, backoffMs: 1 },
  });
  t.teardown(() => client[Symbol.asyncDispose]());
  return { registry, store, state, client };
}

async function read(client: RegistryClient, offset: number, length: number): Promise<Buffer> {
  const parts: Buffer[] = [];
  for await (const part of client.blob(blob, { offset, length, signal })) parts.push(part);
  return Buffer.concat(parts);
}

t.test('the place behind a redirect is remembered', async (t) => {
  const { registry, store, client } = await startPair(t);
  for (const offset of [0, 100, 5000]) {
    t.same(await read(client, offset, 50), bytes.subarray(offset, offset + 50));
  }
  t.equal(registry.received.length, 1);
  t.equal(store.received.length, 3);
});

t.test('an expired URL is asked for anew', async (t) => {
  for (const status of [400, 401, 403, 404, 410, 500]) {
    const { registry, state, client } = await startPair(t);
    t.same(await read(client, 0, 50), bytes.subarray(0, 50));
    state.wrong = { status };
    state.valid = 'b'; // the remembered URL is no good, and neither is the first that comes now
    await read(client, 10, 50).catch(() => undefined);
    t.same(await read(client, 20, 50), bytes.subarray(20, 70), String(status));
    t.ok(registry.received.length <= 4);
  }
});

t.test('a place that breaks is forgotten', async (t) => {
  const { registry, state, client } = await startPair(t);
  t.same(await read(client, 0, 50), bytes.subarray(0, 50));
  state.wrong = { status: 200, misdeed: { kind: 'garbage', bytes: '' } };
  state.valid = 'b';
  t.same(await read(client, 10, 50).catch(() => read(client, 10, 50)), bytes.subarray(10, 60));
  t.ok(registry.received.length > 1);
});

t.test('a store that always refuses is an error, soon', async (t) => {
  const { store, state, client } = await startPair(t);
  state.valid = 'b';
  state.issues = 'expired'; // each URL that the registry makes
  await t.rejects(read(client, 0, 50), { code: 'denied', message: /HTTP 403/ });
  t.equal(store.received.length, 2);
});

t.test('a blob that is too short does not mean that its registry knows no ranges', async (t) => {
  const state: { held: number; refuses: boolean } = { held: 6000, refuses: false };
  const registry = await startHostile(t, ({ headers }) => {
    const [, from, to] = /^bytes=(\d+)-(\d+)$/.exec(headers.range ?? '') ?? [];
    if (from === undefined) return { status: 200, body: bytes.subarray(0, state.held) };
    if (state.refuses || Number(from) >= state.held) return { status: 416 };
    const range = `bytes ${from}-${to}/${bytes.length}`;
    const body = bytes.subarray(Number(from), Number(to) + 1);
    return { status: 206, headers: { 'content-range': range }, body };
  });
  const client = await RegistryClient.open({
    ...{ registry: registry.host, repository: 'team/app', credentials: 'anonymous' },
    patience: { attemptsMax: 2, backoffMs: 1 },
  });
  t.teardown(() => client[Symbol.asyncDispose]());
  await t.rejects(read(client, 7000, 50), { code: 'corrupt' });
  t.ok(client.knowsRanges);
  t.same(await read(client, 100, 50), bytes.subarray(100, 150));
  t.equal(registry.received.at(-1)?.headers.range, 'bytes=100-149');
  Object.assign(state, { held: bytes.length, refuses: true });
  t.same(await read(client, 7000, 50), bytes.subarray(7000, 7050));
  t.notOk(client.knowsRanges, 'it has what it refused a part of');
});
