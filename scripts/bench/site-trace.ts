import { z } from 'zod';
import { exponentFor, popularRanks, randomOf } from './popularity.js';

/** One download of one blob by one node. */
export interface Pull {
  readonly node: number;
  readonly blob: string;
  /** Bytes. */
  readonly size: number;
}

/**
 * Pulls and gigabytes of blobs of one zone in 75 days: Anwar et al., Improving Docker Registry Design
 * based on Production Workload Analysis, FAST 2018.
 */
export interface Zone {
  readonly name: string;
  readonly pulls: number;
  readonly gigabytes: number;
}

export const zones: readonly Zone[] = [
  { name: 'Frankfurt', pulls: 149_000, gigabytes: 86 },
  { name: 'Sydney', pulls: 55_000, gigabytes: 92 },
  { name: 'London', pulls: 349_000, gigabytes: 1719 },
  { name: 'Dallas', pulls: 937_000, gigabytes: 6789 },
  { name: 'Prestaging', pulls: 43_000, gigabytes: 213 },
  { name: 'Staging', pulls: 301_000, gigabytes: 1181 },
  { name: 'Development', pulls: 22_000, gigabytes: 283 },
];

/** Pulls that are drawn of a zone, and blobs in proportion: all zones take two minutes then. */
export const drawnPullsMax = 40_000;
/** Of the blobs, these are smaller than so many bytes, as the same paper tells; between them log-uniform. */
const sizeQuantiles: readonly (readonly [share: number, bytes: number])[] = [
  [0, 100],
  [0.65, 1e6],
  [0.8, 10e6],
  [1, 500e6], // assumed
];
/** Of the pulls, those of the most popular hundredth of the blobs, as the paper tells of two zones. */
const topShares: Readonly<Record<string, number>> = { Dallas: 0.42, Sydney: 0.59 };
/** The middle of the two, for the others. */
const topShareElsewhere = 0.5;

function drawSize(random: () => number): number {
  const at = random();
  const above = Math.max(
    sizeQuantiles.findIndex(([share]) => share > at),
    1,
  );
  const [from, least] = sizeQuantiles[above - 1] ?? [0, 1];
  const [to, most] = sizeQuantiles[above] ?? [1, 1];
  return Math.ceil(least * (most / least) ** ((at - from) / (to - from)));
}

/** Pulls as they could have been in a zone; each node is as likely as the others. */
export function drawTrace(zone: Zone, nodes: number, seed = 1): Pull[] {
  const random = randomOf(seed);
  const scale = Math.min(1, drawnPullsMax / zone.pulls);
  const sizes: number[] = [];
  for (let bytes = 0; bytes < zone.gigabytes * 1e9 * scale; ) {
    const size = drawSize(random);
    sizes.push(size);
    bytes += size;
  }
  const exponent = exponentFor(topShares[zone.name] ?? topShareElsewhere, sizes.length);
  const draw = popularRanks(sizes.length, random, exponent);
  return Array.from({ length: Math.round(zone.pulls * scale) }, () => {
    const at = draw();
    return { node: Math.floor(random() * nodes), blob: `${at}`, size: sizes[at] ?? 1 };
  });
}

const record = z.object({
  'http.request.method': z.string(),
  'http.request.uri': z.string(),
  'http.request.remoteaddr': z.string(),
  'http.response.written': z.number(),
});

/** The downloads of blobs in a file of the traces as they were published: a JSON array of requests. */
export function readTrace(text: string, nodes: number): Pull[] {
  const found: Pull[] = [];
  const clients = new Map<string, number>();
  for (const request of z.array(record).parse(JSON.parse(text))) {
    const blob = /\/blobs\/([^/]+)$/.exec(request['http.request.uri'])?.[1];
    const size = request['http.response.written'];
    if (blob === undefined || request['http.request.method'] !== 'GET' || size <= 0) continue;
    const client = request['http.request.remoteaddr'];
    const node = clients.get(client) ?? clients.size % nodes;
    clients.set(client, node);
    found.push({ node, blob, size });
  }
  return found;
}
