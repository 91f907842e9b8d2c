import type { Activity, ImageActivity } from '../daemon/observation.js';
import { formatSize } from '../units.js';

/** What one image did between two looks. Rates are per second. */
export interface ActivityRow {
  readonly image: string;
  readonly mounts: readonly string[];
  readonly bytesPerSecond: number;
  readonly requestsPerSecond: number;
  readonly readsPerSecond: number;
  /** Share of its reads that needed no request of their own, 0 to 1; absent if there were none. */
  readonly hits?: number;
  readonly waiting: number;
  /** Share of its bytes that is here, 0 to 1; absent while that is not known. */
  readonly complete?: number;
}

/** The rows of all images, those that do most first. @param before undefined at the first look */
export function activityRows(before: Activity | undefined, now: Activity): ActivityRow[] {
  const seconds = before ? Math.max(now.at - before.at, 1) / 1000 : Number.POSITIVE_INFINITY;
  const known = new Map(before?.images.map((image) => [image.manifest, image]));
  return now.images
    .map((image) => rowOf(known.get(image.manifest), image, seconds))
    .sort(
      (a, b) =>
        b.waiting - a.waiting ||
        b.bytesPerSecond - a.bytesPerSecond ||
        b.readsPerSecond - a.readsPerSecond ||
        a.image.localeCompare(b.image),
    );
}

function rowOf(
  before: ImageActivity | undefined,
  now: ImageActivity,
  seconds: number,
): ActivityRow {
  const { local, fetched } = now;
  // A daemon that was restarted counts from zero again.
  const since = (value: number, earlier = 0) => Math.max(0, value - earlier);
  const reads = since(now.reads, before?.reads);
  const requests = since(fetched.requests, before?.fetched.requests);
  return {
    image: now.reference,
    mounts: now.mounts,
    bytesPerSecond: since(fetched.bytes, before?.fetched.bytes) / seconds,
    requestsPerSecond: requests / seconds,
    readsPerSecond: reads / seconds,
    ...(reads > 0 && { hits: Math.max(0, 1 - requests / reads) }),
    waiting: now.waiting,
    ...(local && { complete: local.bytes === 0 ? 1 : local.localBytes / local.bytes }),
  };
}

const titles = ['FETCHED/S', 'REQUESTS/S', 'READS/S', 'HITS', 'WAITING', 'HERE', 'IMAGE', 'MOUNTS'];
/** Columns from here on are aligned to the left. */
const leftFrom = titles.indexOf('IMAGE');

/** Lines of a table with a title line, none longer than `width` characters. */
export function activityTable(rows: readonly ActivityRow[], width: number): string[] {
  const cells = [titles, ...rows.map(cellsOf)];
  const widths = titles.map((_, column) =>
    Math.max(...cells.map((row) => row[column]?.length ?? 0)),
  );
  return cells.map((row) =>
    row
      .map((cell, column) => {
        const size = widths[column] ?? 0;
        return column < leftFrom ? cell.padStart(size) : cell.padEnd(size);
      })
      .join('  ')
      .trimEnd()
      .slice(0, width),
  );
}

function cellsOf(row: ActivityRow): string[] {
  return [
    formatSize(row.bytesPerSecond),
    row.requestsPerSecond.toFixed(0),
    row.readsPerSecond.toFixed(0),
    percent(row.hits),
    `${row.waiting}`,
    percent(row.complete),
    row.image,
    row.mounts.join(' '),
  ];
}

function percent(share: number | undefined): string {
  return share === undefined ? '-' : `${Math.floor(100 * share)} %`;
}
