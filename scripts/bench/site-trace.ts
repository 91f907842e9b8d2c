import { z } from 'zod';
import { popularRanks, randomOf } from './popularity.js';

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

/** Pulls and blobs are drawn in this proportion to those of a zone: it takes seconds then. */
const scale = 0.1;
/**
 * What the numbers of a zone do not tell is assumed: sizes are log-normal with this median (bytes) and
 * this deviation of the logarithm.
 */
const medianBytes = 1_000_000;
const sizeDeviation = 2;

/** Pulls as they could have been in a zone; each node is as likely as the others. */
export function drawTrace(zone: Zone, nodes: number, seed = 1): Pull[] {
  const random = randomOf(seed);
  const normal = () => Math.sqrt(-2 * Math.log(1 - random())) * Math.cos(2 * Math.PI * random());
  const sizes: number[] = [];
  for (let bytes = 0; bytes < zone.gigabytes * 1e9 * scale; ) {
    const size = Math.ceil(medianBytes * Math.exp(sizeDeviation * normal()));
    sizes.push(size);
    bytes += size;
  }
  const draw = popularRanks(sizes.length, random);
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
