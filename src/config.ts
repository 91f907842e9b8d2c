import { createHash } from 'node:crypto';
import { homedir } from 'node:os';
import { join, resolve } from 'node:path';
import { ThinError } from './errors.js';
import { type PopConfig, type PopOptions, popConfig } from './pop-option.js';
import { parseTiers, type TiersConfig } from './tier-option.js';
import { parseDuration, parseSize } from './units.js';

/**
 * Where one node keeps its state and how much it may use. Read once, here, from the command line
 * first and the environment second; each part is then given its own few fields.
 */
export interface NodeConfig extends TiersConfig {
  /** Absolute folder of tiers, images, containers. */
  readonly root: string;
  /** Absolute folder of sockets and of the mounts that containers share; empty after a boot. */
  readonly runFolder: string;
  /** Control socket of the daemon of this root. */
  readonly socket: string;
  /** Socket of the process that keeps that daemon running. */
  readonly holderSocket: string;
  /** Bytes that cached files may occupy. */
  readonly cacheSize: number;
  /** Bytes that stay free on the cache's file system. */
  readonly freeSpaceFloor: number;
  /** Milliseconds for which a read waits for a store that cannot be reached; then it fails. */
  readonly readDeadlineMs: number;
  /** When the rest of a mounted image is fetched: at once, when its program is quiet, or not. */
  readonly complete: CompletionMode;
  /** Whether what a container will read first is brought ahead of it. */
  readonly prefetch: PrefetchMode;
  /** Bytes a second of background work; undefined: no limit. */
  readonly bandwidth: number | undefined;
  /** Where metrics are served beside the control socket. */
  readonly metrics: TcpAddress | undefined;
  /** The site whose nodes share what they fetch; undefined: none. */
  readonly pop: PopConfig | undefined;
  readonly logLevel: LogLevel;
}

export interface TcpAddress {
  readonly host: string;
  readonly port: number;
}

export const completionModes = ['always', 'idle', 'never'] as const;
export type CompletionMode = (typeof completionModes)[number];

export const prefetchModes = ['auto', 'none'] as const;
export type PrefetchMode = (typeof prefetchModes)[number];

export const logLevels = ['silent', 'error', 'warn', 'info', 'debug'] as const;
export type LogLevel = (typeof logLevels)[number];

export interface NodeOptions extends PopOptions {
  readonly root?: string | undefined;
  readonly cacheSize?: string | undefined;
  readonly freeSpace?: string | undefined;
  readonly tier?: readonly string[] | undefined;
  readonly readDeadline?: string | undefined;
  readonly complete?: string | undefined;
  readonly prefetch?: string | undefined;
  readonly bandwidth?: string | undefined;
  readonly metrics?: string | undefined;
  readonly logLevel?: string | undefined;
}

export const defaultCacheSize = '20G';
export const defaultFreeSpace = '1G';
/** Of the disk's bytes files never take these: the cache's index and containers' own files need room. */
const freeSpaceMin = 2 * 1024 * 1024;
export const defaultReadDeadline = '5m';
export const defaultCompletion = 'idle';
export const defaultPrefetch = 'auto';

type Environment = Readonly<Record<string, string | undefined>>;

/** @throws ThinError `invalid` if a size, duration, address or level cannot be read. */
export function nodeConfig(
  options: NodeOptions,
  environment: Environment,
  uid: number,
): NodeConfig {
  return {
    ...nodeFolders(options.root, environment, uid),
    cacheSize: parseSize(options.cacheSize ?? environment.THINFS_CACHE_SIZE ?? defaultCacheSize),
    freeSpaceFloor: Math.max(
      freeSpaceMin,
      parseSize(options.freeSpace ?? environment.THINFS_FREE_SPACE ?? defaultFreeSpace),
    ),
    ...parseTiers(options.tier ?? environment.THINFS_TIERS?.split(';') ?? []),
    readDeadlineMs: parseDuration(
      options.readDeadline ?? environment.THINFS_READ_DEADLINE ?? defaultReadDeadline,
    ),
    complete: completionMode(options.complete ?? environment.THINFS_COMPLETE ?? defaultCompletion),
    prefetch: prefetchMode(options.prefetch ?? environment.THINFS_PREFETCH ?? defaultPrefetch),
    bandwidth: bandwidth(options.bandwidth ?? environment.THINFS_BANDWIDTH),
    metrics: tcpAddress(options.metrics ?? environment.THINFS_METRICS),
    pop: popConfig({
      pop: options.pop ?? environment.THINFS_POP,
      popSecret: options.popSecret ?? environment.THINFS_POP_SECRET,
      popListen: options.popListen ?? environment.THINFS_POP_LISTEN,
      popSize: options.popSize ?? environment.THINFS_POP_SIZE,
      popPolicy: options.popPolicy ?? environment.THINFS_POP_POLICY,
      popUpload: options.popUpload ?? environment.THINFS_POP_UPLOAD,
    }),
    logLevel: logLevel(options.logLevel ?? environment.THINFS_LOG_LEVEL ?? 'info'),
  };
}

function completionMode(text: string): CompletionMode {
  const found = completionModes.find((mode) => mode === text);
  if (found) return found;
  throw new ThinError(
    'invalid',
    `Cannot complete images ${JSON.stringify(text)}: wanted ${completionModes.join(', ')}`,
  );
}

function prefetchMode(text: string): PrefetchMode {
  const found = prefetchModes.find((mode) => mode === text);
  if (found) return found;
  throw new ThinError(
    'invalid',
    `Cannot prefetch ${JSON.stringify(text)}: wanted ${prefetchModes.join(' or ')}`,
  );
}

/** Bytes a second; `0` and nothing: no limit. */
function bandwidth(text: string | undefined): number | undefined {
  if (text === undefined || text === '') return undefined;
  return parseSize(text.replace(/\/s$/, '')) || undefined;
}

/** `9100`, `:9100`, `localhost:9100`, `[::]:9100`; without a host: this machine only. */
function tcpAddress(text: string | undefined): TcpAddress | undefined {
  if (text === undefined || text === '') return undefined;
  const match = /^(?:(\[[0-9a-f:.]+\]|[a-z0-9.-]*):)?(\d{1,5})$/i.exec(text);
  const port = Number(match?.[2]);
  if (match && port <= 65_535) {
    return { host: match[1]?.replace(/[[\]]/g, '') || '127.0.0.1', port };
  }
  throw new ThinError(
    'invalid',
    `Cannot serve metrics at "${text}": wanted [host:]port, such as 9100 or 0.0.0.0:9100`,
  );
}

function logLevel(text: string): LogLevel {
  const level = logLevels.find((name) => name === text);
  if (level) return level;
  const wanted = logLevels.join(', ');
  throw new ThinError('invalid', `Cannot log at level "${text}": wanted one of ${wanted}`);
}

export type NodeFolders = Pick<NodeConfig, 'root' | 'runFolder' | 'socket' | 'holderSocket'>;

/** Where things are, whatever the sizes say. @param root as given on the command line */
export function nodeFolders(
  root: string | undefined,
  environment: Environment,
  uid: number,
): NodeFolders {
  const folder = resolve(root ?? environment.THINFS_ROOT ?? defaultRoot(environment, uid));
  const name = createHash('sha256').update(folder).digest('hex').slice(0, 12);
  const runFolder = join(defaultRunFolder(environment, uid), name);
  return {
    root: folder,
    runFolder,
    socket: join(runFolder, 'control.sock'),
    holderSocket: join(runFolder, 'holder.sock'),
  };
}

function defaultRoot(environment: Environment, uid: number): string {
  if (uid === 0) return '/var/lib/thinfs';
  return join(environment.XDG_DATA_HOME ?? join(homedir(), '.local/share'), 'thinfs');
}

function defaultRunFolder(environment: Environment, uid: number): string {
  if (uid === 0) return '/run/thinfs';
  return join(environment.XDG_RUNTIME_DIR ?? `/tmp/thinfs-${uid}`, 'thinfs');
}
