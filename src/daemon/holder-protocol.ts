/**
 * What is said to and by the holder. Nothing here, nor in what the holder imports, may load a
 * library: it is the one process that must stay small and never fail.
 *
 * Two conversations, both of JSON lines:
 * - commands → holder, on `holder.sock`: one {@link HolderRequest}, one {@link HolderAnswer};
 * - holder ↔ server, on the server's descriptor 3: {@link HolderOrder} and {@link ServerNews}.
 *   It ends when either process does, whatever way: that is how one learns of the other's death.
 */

/** A holder lives through upgrades of everything else, so requests name what they speak. */
export const holderProtocolVersion = 1;

/** Descriptors of the server, and of a holder that takes a running server over. */
export const linkDescriptor = 3;
export const deviceDescriptor = 4;

/** Set for a server: `linkDescriptor` is its link to a holder. */
export const linkVariable = 'THINFS_HOLDER_LINK';
/** Set for a server if the holder has /dev/fuse open: the descriptor's number. */
export const deviceVariable = 'THINFS_FUSE_FD';
/** Set for a holder that takes over: the server's process id, or 0 for the device alone. */
export const adoptVariable = 'THINFS_ADOPT';

/** Set for a server that a command started: descriptor 3 takes a {@link StartReport}. */
export const reportVariable = 'THINFS_START_REPORT';

/** How a server is run. */
export interface ServerSettings {
  /** The Node.js program and its own arguments. */
  readonly node: string;
  readonly nodeArguments: readonly string[];
  /** Path of `thin`, which is run with `daemon serve` and the flags. */
  readonly program: string;
  /** By name without dashes, as they are written: `{ "cache-size": ["--cache-size", "5G"] }`. */
  readonly flags: Readonly<Record<string, readonly string[]>>;
  /** What the environment has beyond the holder's own. */
  readonly env: Readonly<Record<string, string>>;
}

export type HolderRequest =
  | { readonly op: 'status' }
  /** Flags and environment are added to those of before; answered when the server is ready. */
  | { readonly op: 'start'; readonly settings: ServerSettings }
  | { readonly op: 'restart'; readonly settings: ServerSettings; readonly force: boolean }
  | ({ readonly op: 'stop' } & StopOrder)
  /** Answered when the holder ends in order. */
  | { readonly op: 'wait' };

/** What becomes of mounts when the server ends. */
export interface StopOrder {
  /** End also what cannot go on without a server; otherwise that is refused as `busy`. */
  readonly force: boolean;
  /** End everything, also what could go on. */
  readonly unmount: boolean;
}

export type ServerPhase =
  | 'starting'
  | 'serving'
  /** A command stopped it. */
  | 'stopped'
  /** It died, and is started again at `retryAt`. */
  | 'waiting'
  /** As `waiting`, after so many deaths that the pauses have become long. */
  | 'degraded';

export interface HolderStatus {
  readonly pid: number;
  /** Milliseconds since 1970. */
  readonly startedAt: number;
  readonly phase: ServerPhase;
  readonly serverPid: number | undefined;
  /** Milliseconds since 1970, of the next attempt. */
  readonly retryAt: number | undefined;
  /** Whether /dev/fuse is held, and whether mounts live by it. */
  readonly device: boolean;
  readonly needed: boolean;
  /** Deaths of servers since the holder started, and what is known of the last. */
  readonly crashes: number;
  readonly lastError: string | undefined;
  readonly settings: ServerSettings;
}

export type HolderAnswer =
  | { readonly ok: true; readonly status: HolderStatus }
  | { readonly ok: false; readonly code: string; readonly message: string };

/** Of a server's start, to whoever asked for it. */
export type StartReport =
  | { readonly ready: true }
  | { readonly ready: false; readonly code: string; readonly message: string };

export type ServerNews =
  | { readonly news: 'ready' }
  | { readonly news: 'failed'; readonly code: string; readonly message: string }
  /** A stop is refused. */
  | { readonly news: 'refused'; readonly code: string; readonly message: string }
  /** Whether mounts live by the holder's /dev/fuse: the holder stays as long as they do. */
  | { readonly news: 'mounts'; readonly needDevice: boolean }
  /** It ends in order; `renew`: because its connection is dead, it wants another /dev/fuse. */
  | { readonly news: 'ending'; readonly renew: boolean };

/** A stop, as its server is told of it. */
export interface ServerStop extends StopOrder {
  /** Another server is started at once: who waits for an answer is to ask that one. */
  readonly again: boolean;
}

export type HolderOrder = { readonly order: 'stop' } & ServerStop;

/** `--name value`, `--name=value` and `--name` by name; `--no-name` counts as `name`. */
export function readFlags(words: readonly string[]): Record<string, string[]> {
  const flags: Record<string, string[]> = {};
  let current: string[] | undefined;
  for (const word of words) {
    const name = /^--(?:no-)?([a-z0-9-]+)/.exec(word)?.[1];
    if (name === undefined) {
      current?.push(word);
    } else {
      current = flags[name] ??= [];
      current.push(word);
    }
  }
  return flags;
}

/** Flags that may hold a password: processes get them as variables, which no other user sees. */
const secretFlags: Readonly<Record<string, string>> = { pop: 'THINFS_POP' };

/** Words of a command line as processes that run for long are given them. */
export function settingsOf(words: readonly string[]): Pick<ServerSettings, 'flags' | 'env'> {
  const flags: Record<string, string[]> = {};
  const env: Record<string, string> = {};
  for (const [name, given] of Object.entries(readFlags(words))) {
    const variable = secretFlags[name];
    if (variable === undefined) flags[name] = given;
    else env[variable] = (given.at(-1) ?? '').replace(`--${name}=`, '');
  }
  return { flags, env };
}

/** Later ones win, flag by flag and variable by variable; the program is the later one's. */
export function mergeSettings(before: ServerSettings, later: ServerSettings): ServerSettings {
  return {
    ...later,
    flags: { ...before.flags, ...later.flags },
    env: { ...before.env, ...later.env },
  };
}
