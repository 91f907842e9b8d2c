import t from 'tap';
import { type Deployment, DeploymentLog, deploymentsMax } from '../../src/page/deployment-log.js';
import { History, slotMs, slotsMax } from '../../src/page/history.js';
import { Html, html } from '../../src/page/html.js';
import { nodePage } from '../../src/page/node-page.js';
import type { PageData } from '../../src/page/page-data.js';
import fc from '../support/properties.js';

const start: Deployment = { at: 0, image: 'a', ms: 5, end: 'made', originBytes: 0, hit: true };

t.test('data becomes no markup', async (t) => {
  fc.assert(
    fc.property(fc.string({ unit: 'binary' }), (text) => {
      const shown = html`<p title="${text}">${[text, undefined, 7]}</p>`.toString();
      const inner = shown.slice('<p title="'.length, -'</p>'.length).replace('">', '');
      return !/[<>"'`]|&(?!#\d+;)|[^\P{Cc}\t\n]/u.test(inner);
    }),
  );
  t.equal(
    html`<b>${html`<i>${'<'}</i>`}${new Html('&amp;')}</b>`.toString(),
    '<b><i>&#60;</i>&amp;</b>',
  );
});

t.test('a history has all that came in its time, and no more than a day of it', async (t) => {
  const step = fc.record({ ms: fc.nat(5 * slotMs), a: fc.nat(1000), b: fc.nat(1000) });
  fc.assert(
    fc.property(fc.array(step, { minLength: 1, maxLength: 30 }), (steps) => {
      const history = new History();
      let [now, a, b] = [0, 0, 0];
      for (const each of steps) {
        [now, a, b] = [now + each.ms, a + each.a, b + each.b];
        history.note(
          now,
          new Map([
            ['a', a],
            ['b', b],
          ]),
        );
      }
      const spans = history.spans(now, 5 * slotMs, 31);
      const sum = (source: string) =>
        spans.reduce((total, { bytes }) => total + (bytes.get(source) ?? 0), 0);
      return spans.length === 31 && sum('a') === a && sum('b') === b;
    }),
  );
  const long = new History();
  for (let at = 0; at < 2 * slotsMax; at++) long.note(at * slotMs, new Map([['a', at]]));
  const spans = long.spans((2 * slotsMax - 1) * slotMs, slotMs, 3 * slotsMax);
  t.equal(spans.filter(({ bytes }) => bytes.size > 0).length, slotsMax);
});

t.test('a log of starts is bounded, and what has left it is not changed', async (t) => {
  const log = new DeploymentLog();
  const change = log.add(start);
  change({ ...start, ms: 6 });
  t.same(log.list(), [{ ...start, ms: 6 }]);
  for (let at = 1; at <= deploymentsMax; at++) log.add({ ...start, at });
  change({ ...start, ms: 7 });
  t.equal(log.list().length, deploymentsMax);
  t.notOk(log.list().some(({ ms }) => ms !== 5));
});

t.test('hostile names of all kinds stand on a page as text', async (t) => {
  const evil = '"><script>alert(1)</script><a href=javascript:x>';
  const none = { frames: 0, bytes: 0 };
  const info = { host: evil, url: evil, startedAt: 0 };
  const data: PageData = {
    ...{ host: evil, version: evil, upMs: 0, clock: 0, time: 0, images: 1, mounts: 1 },
    cache: { bytes: 1, quotaBytes: 2 },
    waiting: [{ reference: evil, paths: [evil], since: 0, sources: [evil], error: evil }],
    sources: [
      {
        source: evil,
        state: 'up',
        failuresInARow: 0,
        inFlight: 0,
        queued: 0,
        requests: 1,
        failures: 0,
        bytes: 1,
      },
    ],
    site: {
      ...{ node: 'a', agreed: true, shared: none },
      members: [{ node: evil, info, silentMs: 0, alive: false }],
      leases: { held: 0, waiting: 1, waits: [{ node: evil, pieces: 1, longestMs: 1 }] },
      aloneFor: { unready: 0, unanswered: 0, fetching: 0, notGiven: 0 },
      counts: { shelf: none, peers: none, origin: none, alone: none },
      peers: {
        requests: 0,
        asked: 0,
        hedged: 0,
        found: 0,
        bytes: 0,
        failures: 0,
        wrong: 0,
        given: 0,
      },
      served: { requests: 0, bytes: 0, busy: 0, refused: 0 },
      shelf: { frames: 0, bytes: 0, failures: 0 },
    },
    sharedTier: {
      ...{ quotaBytes: null, foundBytes: null },
      ...{ directory: evil, direct: true, away: evil, waiting: 0 },
      counts: {
        reads: 1,
        bytes: 1,
        absent: 0,
        late: 0,
        stored: 0,
        storedBytes: 0,
        wrong: 0,
        failures: 0,
        evicted: 0,
        evictedBytes: 0,
      },
    },
    spans: [{ start: 0, bytes: new Map([[evil, 5]]) }],
    deployments: [
      { ...start, image: evil },
      { ...start, end: 'failed', originBytes: undefined },
    ],
  };
  const page = nodePage(data, { hours: 1, refresh: false });
  t.notMatch(page, /<script|<a href=[^"]/);
  const escaped = page.match(/&#34;&#62;&#60;script&#62;/g) ?? [];
  t.ok(escaped.length >= 16, `${escaped.length} places have it as text`);
});
