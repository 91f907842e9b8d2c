import type { PopReport } from '../pop/point-of-presence.js';
import type { AddMetric, Sample } from './metrics.js';
import type { NodeView } from './node-view.js';

/** What a node counts as one of its site; nothing where it is in none. */
export function addSite(add: AddMetric, view: NodeView): void {
  const each = (samples: (report: PopReport) => readonly Sample[]) => () =>
    view.site ? samples(view.site) : [];
  const one = (value: (report: PopReport) => number) => each((report) => [[{}, value(report)]]);
  const bySource = (value: (counts: { frames: number; bytes: number }) => number) =>
    each(({ counts }) =>
      Object.entries(counts).map(([source, of]): Sample => [{ source }, value(of)]),
    );
  const frames = bySource((of) => of.frames);
  add('counter', 'thinfs_site_frames_total', 'Frames by where they came from', frames);
  const bytes = bySource((of) => of.bytes);
  add('counter', 'thinfs_site_bytes_total', 'Their bytes as sent', bytes);
  const agreed = one((report) => (report.agreed ? 1 : 0));
  add('gauge', 'thinfs_site_agreed', '0 while Redis does not answer', agreed);
  const members = each((report) => [
    [{ state: 'alive' }, report.members.filter(({ alive }) => alive).length],
    [{ state: 'silent' }, report.members.filter(({ alive }) => !alive).length],
  ]);
  add('gauge', 'thinfs_site_members', 'Nodes of the site', members);
  const served = one((report) => report.served.bytes);
  add('counter', 'thinfs_site_served_bytes_total', 'Bytes given to other nodes', served);
  const wrong = one((report) => report.peers.wrong);
  add('counter', 'thinfs_site_wrong_total', 'Answers of other nodes that were wrong', wrong);
  const failures = one((report) => report.peers.failures);
  add('counter', 'thinfs_site_failures_total', 'Requests to them that failed', failures);
  const kept = one((report) => report.shelf.bytes);
  add('gauge', 'thinfs_site_kept_bytes', 'Frames that this node keeps for the site', kept);
  const waiting = one((report) => report.leases.waiting);
  add('gauge', 'thinfs_site_waiting', 'Frames that other nodes are fetching for us', waiting);
}
