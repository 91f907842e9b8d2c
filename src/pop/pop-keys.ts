import { createHash } from 'node:crypto';
import type { Frame } from '../chunk/frame.js';
import { frameKey } from '../store/frame-source.js';

/** Of what nodes have in Redis and say to each other. A change of meaning is a new number, and another site. */
export const siteVersion = 3;

/** Of everything that we have in Redis; KEYS.md lists it. */
const prefix = `thinfs:${siteVersion}`;

/**
 * Name of what is fetched once for the site: 32 hex digits. A hash, as nothing that an image says
 * becomes part of a key.
 */
export type FetchName = string & { readonly fetchName: unique symbol };

/** Bytes of a pack whose frames have one home: they are read, asked for and given together. */
const regionBytes = 1024 * 1024;

/** @param kind keeps frames, regions of packs, blobs, stretches of layers, parts of both, and words apart, whose names could otherwise be the same */
export function fetchName(
  kind: 'frame' | 'region' | 'blob' | 'layer' | 'part' | 'word',
  text: string,
): FetchName {
  const hex = createHash('sha256').update(`${kind} ${text}`).digest('hex');
  return hex.slice(0, 32) as FetchName;
}

export function frameName(frame: Frame): FetchName {
  return fetchName('frame', frameKey(frame));
}

/** What decides on the home of a frame. */
export function regionName({ pack, offset }: Frame): FetchName {
  return fetchName('region', `${pack} ${Math.floor(offset / regionBytes)}`);
}

/**
 * The keys of one lease. In a cluster a script may use keys of one slot only: what is in braces, the
 * name's first digit, makes the slot, so that leases are spread over 16 of them.
 */
export function leaseKeys(name: FetchName): [lease: string, waiters: string, fence: string] {
  const bucket = `${prefix}:{${name.charAt(0)}}`;
  return [`${bucket}:lease:${name}`, `${bucket}:wait:${name}`, `${bucket}:fence`];
}

/** What of a node's name stays when it is started again. */
export function stableNameOf(node: string): string {
  return node.split('.')[0] ?? node;
}

/** When each node was heard of last, and what it says of itself. */
export const memberKeys: [seen: string, info: string] = [
  `${prefix}:{members}:seen`,
  `${prefix}:{members}:info`,
];

/**
 * When each image was used last, how often it was mounted, `<image> <node>` for what is mounted, since
 * when all that is known, and who tidies up now.
 */
export const imageKeys: [used: string, times: string, inUse: string, since: string, turn: string] =
  [
    `${prefix}:{images}:used`,
    `${prefix}:{images}:times`,
    `${prefix}:{images}:in-use`,
    `${prefix}:{images}:since`,
    `${prefix}:{images}:turn`,
  ];

/** Channel that all nodes listen to. */
export const siteChannel = `${prefix}:all`;

/** Prefix of the channels of nodes: each listens to its own. */
export const channelPrefix = `${prefix}:to:`;

export function channelOf(node: string): string {
  return channelPrefix + node;
}
