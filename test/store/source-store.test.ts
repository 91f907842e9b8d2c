import t from 'tap';
import { ThinError } from '../../src/errors.js';
import { frameSource } from '../../src/store/frame-source.js';
import { openStore } from '../../src/store/open-store.js';
import { SourceHealth } from '../../src/store/source-health.js';
import { SourceStore } from '../../src/store/source-store.js';
import { startHostile } from '../support/hostile-http.js';
import { madeUpDigest } from '../thin/made-up-chunks.js';
import { never } from './store-suite.js';

const pack = { digest: madeUpDigest('pack'), size: 4 };
const frame = { pack: pack.digest, offset: 0, length: 4, plainLength: 4, codec: 'stored' as const };
const login = (user: string) => `Basic ${Buffer.from(`${user}:secret`).toString('base64')}`;

t.test('a read that is refused waits for other credentials, and goes on with them', async (t) => {
  const server = await startHostile(t, ({ headers }) => {
    if (headers.authorization !== login('good')) return { status: 401 };
    return { status: 206, headers: { 'content-range': 'bytes 0-3/4' }, body: 'abcd' };
  });
  const openAs = (user: string) => () =>
    openStore(`http://${user}:secret@${server.host}/`, {}, never);
  await using store = new SourceStore('a server', new SourceHealth('host'), openAs('bad'));
  const source = frameSource({ stores: [store], packSize: () => 4, deadlineMs: 60_000 });
  const fetch = source.fetchFrame(frame, never);
  while (source.trouble() === undefined) await new Promise(setImmediate);
  t.match(source.trouble(), { code: 'denied' });
  t.equal(store.health.report().state, 'up', 'it has answered');
  await store.reopen(openAs('good'));
  t.equal((await fetch).toString(), 'abcd');
  t.equal(server.received.length, 2, 'at once');
});

t.test('a store that cannot be opened is tried again', async (t) => {
  const server = await startHostile(t, () => ({ status: 404 }));
  let opened = 0;
  await using store = new SourceStore('a server', new SourceHealth('host'), async () => {
    opened += 1;
    if (opened < 3) throw new ThinError('not-found', 'not mounted yet');
    return openStore(`${server.origin}/`, {}, never);
  });
  const ask = () => store.tagged('team/app', '1', never);
  await t.rejects(ask(), { code: 'not-found' });
  await t.rejects(ask(), { code: 'not-found' });
  t.strictSame(await ask(), []);
  t.strictSame(await ask(), []);
  t.equal(opened, 3);
  t.match(store.health.report(), { requests: 2, failures: 0, lastSuccess: Number });
  t.equal(`${store}`, 'a server');
});

t.test('outages are told once, and their end', async (t) => {
  const turns: (string | undefined)[] = [];
  const health = new SourceHealth('host', undefined, (_, why) => turns.push(why?.message));
  for (let failed = 0; failed < 9; failed++) health.failed(new ThinError('unavailable', 'away'));
  t.strictSame(turns, ['away']);
  t.match(health.report(), {
    state: 'down',
    pausedUntil: Number,
    lastFailure: { message: 'away' },
  });
  health.answered();
  health.answered();
  t.strictSame(turns, ['away', undefined]);
});
