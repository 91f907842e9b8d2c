import { type ChildProcess, spawn } from 'node:child_process';
import { closeSync, mkdirSync, openSync } from 'node:fs';
import { join } from 'node:path';
import { text } from 'node:stream/consumers';
import { setTimeout as delay } from 'node:timers/promises';
import type { NodeConfig } from '../config.js';
import { fromSystemError, isThinError, ThinError } from '../errors.js';
import { askHolder, isListening } from './holder-client.js';
import { reportVariable, type ServerSettings, type StartReport } from './holder-protocol.js';
import { serverArguments, serverEnvironment } from './server-process.js';

/** Milliseconds for a new daemon to open its cache and listen; rebuilding a lost index takes longest. */
const startDeadlineMs = 60_000;
/** Milliseconds before a root that was in use is tried again. */
const busyPauseMs = 50;

/**
 * Makes sure that a daemon listens for this root. Where a holder runs it is asked to start a server;
 * else a server is started in the background, which starts its holder while it opens the cache.
 * @throws ThinError if it cannot start, with the daemon's own reason
 */
export async function ensureDaemon(
  config: NodeConfig,
  settings: ServerSettings,
  signal: AbortSignal,
): Promise<void> {
  const deadline = performance.now() + startDeadlineMs;
  while (!(await isListening(config.socket))) {
    const report =
      (await startByHolder(config, settings, signal)) ??
      (await spawnDaemon(config, settings, signal));
    if (!report.ready && report.code !== 'busy') throw cannotStart(report.message);
    // A holder may not know yet that its server has just died.
    if (report.ready && (await isListening(config.socket))) return;
    // Another one has the root's lock: it will listen soon, or it is ending and the next try wins.
    if (performance.now() > deadline)
      throw cannotStart(report.ready ? 'it keeps dying' : report.message);
    await delay(busyPauseMs, undefined, { signal }).catch(() => {});
  }
}

function cannotStart(why: string): ThinError {
  return new ThinError('unavailable', `Cannot start the daemon: ${why}`);
}

/** Undefined if no holder listens, or it has just gone. */
async function startByHolder(
  config: NodeConfig,
  settings: ServerSettings,
  signal: AbortSignal,
): Promise<StartReport | undefined> {
  try {
    await askHolder(config.holderSocket, { op: 'start', settings }, signal);
    return { ready: true };
  } catch (error) {
    if (!isThinError(error) || error.code === 'canceled') throw error;
    if (error.code === 'not-found') return undefined;
    return { ready: false, code: error.code, message: error.message };
  }
}

async function spawnDaemon(
  config: NodeConfig,
  settings: ServerSettings,
  signal: AbortSignal,
): Promise<StartReport> {
  const child = spawnServer(config, settings);
  let why = 'it ended or did not answer';
  const failed = new Promise<string>((resolve) => {
    child.once('error', ({ message }: Error) => {
      why = message;
      resolve('');
    });
  });
  child.unref();
  const report = child.stdio?.[3]; // there is none for want of descriptors
  if (!report || !('resume' in report)) throw cannotStart('there is no pipe to hear it by');
  const timer = new AbortController();
  const late = delay(startDeadlineMs, '', { signal: timer.signal, ref: true }).catch(() => '');
  const aborted = new Promise<string>((resolve) => {
    signal.addEventListener('abort', () => resolve(''), { once: true });
  });
  const line = await Promise.race([text(report), late, aborted, failed]);
  timer.abort();
  report.destroy();
  if (signal.aborted) throw new ThinError('canceled', 'Canceled');
  if (line !== '') return JSON.parse(line);
  const message = `${why}; its log is ${join(config.root, 'daemon.log')}`;
  return { ready: false, code: 'unavailable', message };
}

/** @throws ThinError where no process can be had, for want of memory say; or it has an `error`, a moment later */
function spawnServer(config: NodeConfig, settings: ServerSettings): ChildProcess {
  const log = openLog(config);
  try {
    return spawn(settings.node, serverArguments(settings), {
      detached: true,
      stdio: ['ignore', log, log, 'pipe'],
      cwd: '/',
      env: {
        ...process.env,
        ...settings.env,
        ...serverEnvironment,
        [reportVariable]: '1',
      },
    });
  } catch (error) {
    throw fromSystemError('Cannot start the daemon', error);
  } finally {
    closeSync(log);
  }
}

function openLog(config: NodeConfig): number {
  try {
    mkdirSync(config.root, { recursive: true, mode: 0o700 });
    return openSync(join(config.root, 'daemon.log'), 'a', 0o600);
  } catch (error) {
    throw fromSystemError(`Cannot use ${config.root} for thinfs' state`, error);
  }
}
