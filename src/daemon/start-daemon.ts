import { spawn } from 'node:child_process';
import { closeSync, mkdirSync, openSync } from 'node:fs';
import { connect, isIPv6 } from 'node:net';
import { join } from 'node:path';
import { text } from 'node:stream/consumers';
import { setTimeout as delay } from 'node:timers/promises';
import type { NodeConfig } from '../config.js';
import { fromSystemError, ThinError } from '../errors.js';

/** Milliseconds for a new daemon to open its cache and listen; rebuilding a lost index takes longest. */
const startDeadlineMs = 60_000;
/** Milliseconds before a root that was in use is tried again. */
const busyPauseMs = 50;

/** Threads for disk, decoding and hashing: a hanging disk may hold several, reads go on beside it. */
const poolSize = '16';

/** What the daemon writes to file descriptor 3 of its parent before it goes on alone. */
export type StartReport =
  | { readonly ready: true }
  | { readonly ready: false; readonly code: string; readonly message: string };

/**
 * Makes sure that a daemon listens for this root, starting one in the background if none does.
 * @param program the `thin` program itself, run with the arguments `daemon run …`
 * @throws ThinError if it cannot start, with the daemon's own reason
 */
export async function ensureDaemon(
  config: NodeConfig,
  program: string,
  signal: AbortSignal,
): Promise<void> {
  const deadline = Date.now() + startDeadlineMs;
  while (!(await isListening(config.socket))) {
    const report = await spawnDaemon(config, program, signal);
    if (report.ready) return;
    // Another one has the root's lock: it will listen soon, or it is ending and the next try wins.
    if (report.code !== 'busy' || Date.now() > deadline) {
      throw new ThinError('unavailable', `Cannot start the daemon: ${report.message}`);
    }
    await delay(busyPauseMs, undefined, { signal }).catch(() => {});
  }
}

/** True if something accepts connections on the Unix socket. */
export function isListening(socket: string): Promise<boolean> {
  return new Promise((resolve) => {
    const attempt = connect(socket);
    attempt.once('connect', () => {
      attempt.destroy();
      resolve(true);
    });
    attempt.once('error', () => resolve(false));
  });
}

async function spawnDaemon(
  config: NodeConfig,
  program: string,
  signal: AbortSignal,
): Promise<StartReport> {
  const log = openLog(config);
  const child = spawn(
    process.execPath,
    [...process.execArgv, program, ...daemonArguments(config)],
    {
      detached: true,
      stdio: ['ignore', log, log, 'pipe'],
      cwd: '/',
      env: { UV_THREADPOOL_SIZE: poolSize, ...process.env, THINFS_START_REPORT: '1' },
    },
  );
  closeSync(log);
  child.unref();
  const report = child.stdio[3];
  if (!report || !('resume' in report))
    throw new ThinError('unavailable', 'Cannot start the daemon');
  const timer = new AbortController();
  const late = delay(startDeadlineMs, '', { signal: timer.signal, ref: true }).catch(() => '');
  const aborted = new Promise<string>((resolve) => {
    signal.addEventListener('abort', () => resolve(''), { once: true });
  });
  const line = await Promise.race([text(report), late, aborted]);
  timer.abort();
  report.destroy();
  if (signal.aborted) throw new ThinError('canceled', 'Canceled');
  if (line !== '') return JSON.parse(line);
  const message = `it ended or did not answer; its log is ${join(config.root, 'daemon.log')}`;
  return { ready: false, code: 'unavailable', message };
}

function openLog(config: NodeConfig): number {
  try {
    mkdirSync(config.root, { recursive: true, mode: 0o700 });
    return openSync(join(config.root, 'daemon.log'), 'a', 0o600);
  } catch (error) {
    throw fromSystemError(`Cannot use ${config.root} for thinfs' state`, error);
  }
}

function daemonArguments(config: NodeConfig): string[] {
  const sizes = ['--cache-size', `${config.cacheSize}`, '--free-space', `${config.freeSpaceFloor}`];
  const { metrics, readDeadlineMs, logLevel } = config;
  const address = metrics && (isIPv6(metrics.host) ? `[${metrics.host}]` : metrics.host);
  return [
    ...['daemon', 'run', '--root', config.root, ...sizes],
    ...['--read-deadline', `${readDeadlineMs}ms`, '--log-level', logLevel],
    ...(metrics ? ['--metrics', `${address}:${metrics.port}`] : []),
  ];
}
