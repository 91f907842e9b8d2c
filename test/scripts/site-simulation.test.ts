import t from 'tap';
import { deploymentsPlot } from '../../scripts/bench/deployments-plot.js';
import { summaryOf } from '../../scripts/bench/deployments-table.js';
import { exponentFor, popularRanks, randomOf } from '../../scripts/bench/popularity.js';
import { simulatedDisk } from '../../scripts/bench/simulated-disk.js';
import { drawnPullsMax, drawTrace, readTrace, zones } from '../../scripts/bench/site-trace.js';
import { replacement } from '../../src/pop/replacement.js';
import fc from '../support/properties.js';

t.test('popularity is as steep as it is said to be', async (t) => {
  const count = 2000;
  const draw = popularRanks(count, randomOf(7), exponentFor(0.5, count));
  const drawn = Array.from({ length: 20_000 }, draw);
  const top = drawn.filter((rank) => rank < count / 100).length / drawn.length;
  t.ok(top > 0.48 && top < 0.52, `the first hundredth has ${top}`);
  t.ok(drawn.every((rank) => rank >= 0 && rank < count));
});

t.test('drawn pulls have the numbers of their zone', async (t) => {
  for (const zone of zones.slice(0, 2)) {
    const trace = drawTrace(zone, 5);
    t.equal(trace.length, Math.min(zone.pulls, drawnPullsMax));
    const small = trace.filter(({ size }) => size < 1e6).length / trace.length;
    t.ok(small > 0.2 && small < 0.99, `${zone.name}: ${small} of the pulls are of small blobs`);
    t.same(new Set(trace.map(({ node }) => node)).size, 5);
    t.same(drawTrace(zone, 5), trace, 'and are the same each time');
  }
});

t.test('a trace as it was published: its downloads of blobs, a node for each client', async (t) => {
  const request = (method: string, path: string, client: string, written: number) => ({
    host: 'a0',
    'http.request.duration': 0.3,
    'http.request.method': method,
    'http.request.remoteaddr': client,
    'http.request.uri': `v2/x/y/${path}`,
    'http.response.status': 200,
    'http.response.written': written,
    timestamp: '2017-06-20T02:41:36.000Z',
  });
  const trace = readTrace(
    JSON.stringify([
      request('GET', 'blobs/one', 'p', 100),
      request('GET', 'manifests/latest', 'p', 90),
      request('HEAD', 'blobs/one', 'q', 0),
      request('GET', 'blobs/two', 'q', 50),
      request('GET', 'blobs/one', 'p', 100),
      request('PUT', 'blobs/uploads/1', 'p', 7),
    ]),
    5,
  );
  t.same(trace, [
    { node: 0, blob: 'one', size: 100 },
    { node: 1, blob: 'two', size: 50 },
    { node: 0, blob: 'one', size: 100 },
  ]);
});

t.test("a cache's index and eviction keep what a list in the order of use would", async () => {
  const pulls = fc.array(fc.nat(12), { maxLength: 60 });
  fc.assert(
    fc.property(pulls, fc.integer({ min: 20, max: 120 }), (blobs, bytes) => {
      using disk = simulatedDisk('lru', bytes);
      const list = replacement<number>('lru');
      return blobs.every((blob) => {
        const size = 5 + blob;
        const hit = list.sizeOf(blob) !== undefined;
        list.used(blob, size);
        for (let gone = list.victim(); list.bytes > bytes && gone !== undefined; ) {
          list.removed(gone);
          gone = list.victim();
        }
        return disk.use(`${blob}`, size) === hit;
      });
    }),
    { numRuns: 50 },
  );
});

t.test('deployments are told by what did not have to come over the link', async (t) => {
  const one = { image: 'base', phase: 'nothing' } as const;
  const deployments = [
    { ...one, ms: 300, bytes: 1000 },
    { ...one, ms: 100, bytes: 0 },
    { ...one, ms: 0, bytes: 500, error: 'it failed' },
  ];
  t.match(
    summaryOf(deployments, () => 1000),
    { count: 3, meanMs: 200, medianMs: 300, bytes: 1500, hitRatio: 0.5, errors: 1 },
  );
  const variant = { name: 'shared', shared: true, diskBytes: 1 };
  const svg = deploymentsPlot([{ variant, deployments, wrongFiles: 0 }], () => 1000);
  t.match(svg, />0\.20 s</);
  t.match(svg, />50 %</);
  t.match(svg, />1\.5 kB</);
});
