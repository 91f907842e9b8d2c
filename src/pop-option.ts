import { resolve } from 'node:path';
import { ThinError } from './errors.js';
import { parseSize } from './units.js';

/** How the Redis of a site is reached. */
export interface RedisAddress {
  /** One server, the sentinels that know it, or some nodes of a cluster. */
  readonly kind: 'server' | 'sentinel' | 'cluster';
  readonly tls: boolean;
  readonly hosts: readonly { readonly host: string; readonly port: number }[];
  readonly username?: string;
  readonly password?: string;
  /** What the sentinels call it. */
  readonly primary?: string;
  /** Number of the database; a cluster has only 0. */
  readonly database: number;
}

export const popSyntax =
  'redis[s]://[user:password@]host[:port][/database], redis[s]+sentinel://host,host/name[/database] or redis[s]+cluster://host,host';

const defaultPorts = { server: 6379, cluster: 6379, sentinel: 26_379 } as const;

/**
 * Reads the address of a site's Redis.
 * @throws ThinError `invalid`, without the password in it
 */
export function parseRedisAddress(text: string): RedisAddress {
  const match =
    /^(rediss?)(?:\+(sentinel|cluster))?:\/\/(?:([^@/]*)@)?([^/@?#]+)((?:\/[^/?#]*)*)$/.exec(text);
  if (!match) throw malformed();
  const [, scheme, kindText, login, hostText = '', path = ''] = match;
  const kind = kindText === 'sentinel' || kindText === 'cluster' ? kindText : 'server';
  const hosts = hostText.split(',').map((each) => parseHost(each, defaultPorts[kind]));
  const parts = path.split('/').filter((part) => part !== '');
  const primary = kind === 'sentinel' ? parts.shift() : undefined;
  const database = Number(parts.shift() ?? '0');
  const misplaced = kind === 'server' ? hosts.length !== 1 : kind === 'cluster' && database !== 0;
  const named = kind !== 'sentinel' || primary !== undefined;
  if (misplaced || !named || parts.length > 0 || !Number.isInteger(database)) throw malformed();
  return {
    ...{ kind, hosts, database, tls: scheme === 'rediss' },
    ...(primary !== undefined && { primary }),
    ...(login !== undefined && parseLogin(login)),
  };
}

function parseHost(text: string, defaultPort: number): { host: string; port: number } {
  const match = /^(\[[0-9a-f:.]+\]|[a-z0-9._-]+)(?::(\d{1,5}))?$/i.exec(text);
  const port = Number(match?.[2] ?? defaultPort);
  if (!match || port < 1 || port > 65_535) throw malformed();
  return { host: (match[1] ?? '').replace(/[[\]]/g, ''), port };
}

function parseLogin(login: string): { username?: string; password?: string } {
  const at = login.indexOf(':');
  try {
    const username = decodeURIComponent(at < 0 ? login : login.slice(0, at));
    const password = at < 0 ? '' : decodeURIComponent(login.slice(at + 1));
    return { ...(username !== '' && { username }), ...(password !== '' && { password }) };
  } catch {
    throw malformed();
  }
}

function malformed(): ThinError {
  return new ThinError(
    'invalid',
    `Cannot read the address of the PoP's Redis: wanted ${popSyntax}`,
  );
}

/** For people: where it is, without user and password. */
export function showRedisAddress({ kind, hosts, primary }: RedisAddress): string {
  const places = hosts.map(({ host, port }) => `${host}:${port}`).join(',');
  if (kind === 'server') return places;
  return kind === 'sentinel' ? `${primary} of sentinels ${places}` : `cluster ${places}`;
}

/** How this node takes part in the cache of its site. */
export interface PopConfig {
  readonly redis: RedisAddress;
  /** File with the secret that the nodes of the site know each other by. */
  readonly secretFile: string;
  /** Where the other nodes are served; port 0: any. Without a host: all addresses. */
  readonly listen: { readonly host: string | undefined; readonly port: number };
  /** Bytes of the node's disk for frames that the site keeps here. */
  readonly sizeBytes: number;
  /** What of them leaves first. */
  readonly policy: ReplacementPolicy;
  /** Bytes a second that the other nodes are given. */
  readonly uploadBytesPerSecond: number;
}

/** Least recently used, or GreedyDual-Size-Frequency. */
export const replacementPolicies = ['lru', 'gdsf'] as const;
export type ReplacementPolicy = (typeof replacementPolicies)[number];

/** As given on the command line or in the environment. */
export interface PopOptions {
  readonly pop?: string | undefined;
  readonly popSecret?: string | undefined;
  readonly popListen?: string | undefined;
  readonly popSize?: string | undefined;
  readonly popPolicy?: string | undefined;
  readonly popUpload?: string | undefined;
}

export const defaultPopSize = '5G';
export const defaultPopUpload = '200M';
/** Of the secret's file: what is shorter is guessed. */
export const secretBytesMin = 16;

/** @throws ThinError `invalid`. @returns undefined for a node that is on its own */
export function popConfig(options: PopOptions): PopConfig | undefined {
  const { pop = '', popSecret = '' } = options;
  if (pop === '') return undefined;
  if (popSecret === '') {
    throw new ThinError(
      'invalid',
      'Cannot take part in a PoP without its secret (--pop-secret <file>, the same on all nodes)',
    );
  }
  return {
    redis: parseRedisAddress(pop),
    secretFile: resolve(popSecret),
    listen: parseListen(options.popListen ?? '0'),
    sizeBytes: parseSize(options.popSize ?? defaultPopSize),
    policy: parsePolicy(options.popPolicy ?? 'lru'),
    uploadBytesPerSecond: parseSize((options.popUpload ?? defaultPopUpload).replace(/\/s$/, '')),
  };
}

function parsePolicy(text: string): ReplacementPolicy {
  const found = replacementPolicies.find((policy) => policy === text);
  if (found) return found;
  const wanted = replacementPolicies.join(' or ');
  throw new ThinError('invalid', `Cannot keep frames by "${text}": wanted ${wanted}`);
}

function parseListen(text: string): PopConfig['listen'] {
  const match = /^(?:(\[[0-9a-f:.]+\]|[a-z0-9.-]*):)?(\d{1,5})$/i.exec(text);
  const port = Number(match?.[2]);
  if (match && port <= 65_535) {
    return { host: match[1]?.replace(/[[\]]/g, '') || undefined, port };
  }
  throw new ThinError('invalid', `Cannot serve peers at "${text}": wanted [host:]port`);
}
