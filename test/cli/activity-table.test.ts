import t from 'tap';
import { activityRows, activityTable } from '../../src/cli/activity-table.js';
import type { Activity, ImageActivity } from '../../src/daemon/observation.js';

function image(reference: string, over: Partial<ImageActivity> = {}): ImageActivity {
  const fetched = { requests: 0, bytes: 0, failures: 0 };
  const manifest = `sha256:${reference}`;
  return {
    manifest,
    reference,
    mounts: [],
    fetched,
    reads: 0,
    waiting: 0,
    local: undefined,
    ...over,
  };
}

const activity = (at: number, ...images: ImageActivity[]): Activity => {
  return { at, images, hosts: [], waiting: 0 };
};

t.test('rates are differences, and who does most comes first', async (t) => {
  const local = {
    files: 2,
    bytes: 200,
    localFiles: 1,
    localBytes: 50,
    partialFiles: 0,
    partialBytes: 0,
  };
  const before = activity(1000, image('a'), image('b', { reads: 10 }), image('c'));
  const after = activity(
    3000,
    image('a'),
    image('b', { reads: 30, fetched: { requests: 5, bytes: 4000, failures: 0 }, local }),
    image('c', { waiting: 1 }),
    image('d', { fetched: { requests: 1, bytes: 9000, failures: 0 } }),
  );
  const rows = activityRows(before, after);
  t.strictSame(
    rows.map((row) => row.image),
    ['c', 'd', 'b', 'a'],
  );
  t.match(rows[2], {
    bytesPerSecond: 2000,
    requestsPerSecond: 2.5,
    readsPerSecond: 10,
    hits: 0.75,
    complete: 0.25,
  });
  t.notOk(rows[3] && ('hits' in rows[3] || 'complete' in rows[3]));
});

t.test('a daemon that was restarted counts from zero', async (t) => {
  const fetched = { requests: 100, bytes: 100_000, failures: 0 };
  const rows = activityRows(
    activity(5000, image('a', { reads: 9, fetched })),
    activity(6000, image('a')),
  );
  t.match(rows, [{ bytesPerSecond: 0, requestsPerSecond: 0, readsPerSecond: 0 }]);
  t.match(activityRows(undefined, activity(0, image('a'))), [{ readsPerSecond: 0 }]);
});

t.test('columns are aligned, and lines no wider than the terminal', async (t) => {
  const mounts = ['web-1', 'web-2'];
  const rows = activityRows(undefined, activity(0, image('long/name:1', { mounts }), image('x:1')));
  const lines = activityTable(rows, 200);
  t.equal(lines[0], 'FETCHED/S  REQUESTS/S  READS/S  HITS  WAITING  HERE  IMAGE        MOUNTS');
  t.match(lines[1], /0 B +0 +0 +- +0 +- {2}long\/name:1 {2}web-1 web-2$/);
  t.equal(lines[2]?.indexOf('x:1'), lines[1]?.indexOf('long/name:1'));
  t.ok(activityTable(rows, 20).every((line) => line.length <= 20));
});
