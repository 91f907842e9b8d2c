import t from 'tap';
import { LinkPolicy, type LinkSample } from '../../src/pull/link-policy.js';

const ms = 100;

/** What is seen for `seconds` of a link where `rate` says how fast so many streams are. */
function observe(
  policy: LinkPolicy,
  seconds: number,
  rate: (streams: number) => number,
  starved = 1,
): number[] {
  const seen: number[] = [];
  for (let at = 0; at < seconds * 1000; at += ms) {
    const sample: LinkSample = { ms, bytes: rate(policy.streams) * ms, starved };
    policy.sample(sample);
    seen.push(policy.streams);
  }
  return seen;
}

t.test(
  'a link that is faster than the cores is used by as many layers as there are cores',
  async (t) => {
    const policy = new LinkPolicy(4);
    t.equal(policy.streams, 1, 'nothing is known yet');
    policy.sample({ ms: 50, bytes: 5_000_000, starved: 0.1 });
    t.equal(policy.streams, 4);
    const stalled = new LinkPolicy(4);
    stalled.sample({ ms: 50, bytes: 0, starved: 0 });
    t.equal(stalled.streams, 4, 'also where what has come is not taken yet');
    const wide = new LinkPolicy(4);
    wide.sample({ ms: 50, bytes: 1_000_000, starved: 1 });
    t.equal(wide.streams, 1, 'of 160 Mbit/s one has all');
    wide.sample({ ms: 50, bytes: 5_000_000, starved: 0.8 });
    t.equal(wide.streams, 4, 'of 800 Mbit/s one layer at a time would leave cores idle');
  },
);

t.test('a slow link stays with one layer at a time, but for a try now and then', async (t) => {
  const policy = new LinkPolicy(4);
  const seen = observe(policy, 40, () => 2000);
  t.equal(seen.filter((streams) => streams === 1).length > 0.9 * seen.length, true);
  t.ok(Math.max(...seen) <= 2);
});

t.test('a link whose single connections are slow gets more, as long as they gain', async (t) => {
  const policy = new LinkPolicy(2);
  const seen = observe(policy, 30, (streams) => Math.min(streams, 4) * 1000);
  const steady = seen.slice(80);
  t.ok(Math.min(...steady) >= 4, `${steady.join(' ')}`);
  t.ok(Math.max(...seen) <= 5, 'one was tried in vain');
});

t.test('however much they gain, there are never more than six', async (t) => {
  t.ok(Math.max(...observe(new LinkPolicy(2), 60, (streams) => streams * 1000)) <= 6);
});

t.test('nothing is concluded from silence', async (t) => {
  t.same(new Set(observe(new LinkPolicy(2), 30, () => 0)), new Set([1]));
});
