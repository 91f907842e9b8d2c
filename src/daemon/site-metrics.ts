import type { PopReport } from '../pop/point-of-presence.js';
import type { AddMetric, Sample } from './metrics.js';
import type { NodeView } from './node-view.js';

/** What a node counts as one of its site; nothing where it is in none. */
export function addSite(add: AddMetric, view: Pick<NodeView, 'site'>): void {
  let current: PopReport | null | undefined;
  /** All metrics of a page are asked for at one stroke: one report serves them. */
  const report = (): PopReport | null => {
    if (current === undefined) {
      current = view.site;
      queueMicrotask(() => {
        current = undefined;
      });
    }
    return current;
  };
  const each = (samples: (of: PopReport) => readonly Sample[]) => () => {
    const site = report();
    return site ? samples(site) : [];
  };
  const one = (value: (of: PopReport) => number) => each((of) => [[{}, value(of)]]);
  const bySource = (value: (counts: { frames: number; bytes: number }) => number) =>
    each(({ counts }) =>
      Object.entries(counts).map(([source, of]): Sample => [{ source }, value(of)]),
    );
  const frames = bySource((of) => of.frames);
  add('counter', 'thinfs_site_frames_total', 'Frames by where they came from', frames);
  const bytes = bySource((of) => of.bytes);
  add('counter', 'thinfs_site_bytes_total', 'Their bytes as sent', bytes);
  const alone = each(({ aloneFor }) =>
    Object.entries(aloneFor).map(([why, pieces]): Sample => [{ why }, pieces]),
  );
  add('counter', 'thinfs_site_alone_total', 'Pieces fetched without an agreement', alone);
  const agreed = one((of) => (of.agreed ? 1 : 0));
  add('gauge', 'thinfs_site_agreed', '0 while Redis does not answer', agreed);
  const members = each((of) => [
    [{ state: 'alive' }, of.members.filter(({ alive }) => alive).length],
    [{ state: 'silent' }, of.members.filter(({ alive }) => !alive).length],
  ]);
  add('gauge', 'thinfs_site_members', 'Nodes of the site', members);
  const served = one((of) => of.served.bytes);
  add('counter', 'thinfs_site_served_bytes_total', 'Bytes given to other nodes', served);
  const wrong = one((of) => of.peers.wrong);
  add('counter', 'thinfs_site_wrong_total', 'Answers of other nodes that were wrong', wrong);
  const failures = one((of) => of.peers.failures);
  add('counter', 'thinfs_site_failures_total', 'Requests to them that failed', failures);
  const kept = one((of) => of.shelf.bytes);
  add('gauge', 'thinfs_site_kept_bytes', 'Frames that this node keeps for the site', kept);
  const shared = one((of) => of.shared.bytes);
  add('gauge', 'thinfs_site_shared_bytes', 'The same of all nodes that live', shared);
  const leases = one((of) => of.leases.held);
  add('gauge', 'thinfs_site_leases', 'What this node is fetching for the site', leases);
  const waiting = one((of) => of.leases.waiting);
  add('gauge', 'thinfs_site_waiting', 'Frames that are asked about or waited for', waiting);
}
