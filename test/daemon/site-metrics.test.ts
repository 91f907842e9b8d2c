import t from 'tap';
import { addSite } from '../../src/daemon/site-metrics.js';
import type { PopReport } from '../../src/pop/point-of-presence.js';

const none = { frames: 0, bytes: 0 };
const report: PopReport = {
  ...{ node: 'a', agreed: true, members: [], leases: { held: 4, waiting: 2, waits: [] } },
  shared: { frames: 3, bytes: 30 },
  aloneFor: { unready: 0, unanswered: 5, fetching: 0, notGiven: 0 },
  counts: { shelf: none, peers: { frames: 3, bytes: 300 }, origin: none, alone: none },
  peers: { requests: 0, asked: 0, hedged: 0, found: 0, bytes: 0, failures: 0, wrong: 1, given: 0 },
  served: { requests: 0, bytes: 0, busy: 0, refused: 0 },
  shelf: { frames: 0, bytes: 7, failures: 0 },
};

t.test('one report serves all metrics of a page, and each page has its own', async (t) => {
  let reports = 0;
  const view = {
    get site() {
      reports += 1;
      return report;
    },
  };
  const collects = new Map<string, () => unknown>();
  addSite((_type, name, _help, collect) => collects.set(name, collect), view);
  const page = () => [...collects].map(([name, collect]) => [name, collect()] as const);
  const first = new Map(page());
  t.equal(reports, 1);
  t.same(first.get('thinfs_site_waiting'), [[{}, 2]]);
  t.match(first.get('thinfs_site_alone_total'), [[], [{ why: 'unanswered' }, 5]]);
  t.same(first.get('thinfs_site_kept_bytes'), [[{}, 7]]);
  t.same(first.get('thinfs_site_shared_bytes'), [[{}, 30]]);
  t.same(first.get('thinfs_site_leases'), [[{}, 4]]);
  await Promise.resolve();
  page();
  t.equal(reports, 2);
});
