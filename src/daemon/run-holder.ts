import { spawn } from 'node:child_process';
import type { Server } from 'node:net';
import { setTimeout as delay } from 'node:timers/promises';
import { type NodeFolders, nodeFolders } from '../config.js';
import { describeError, type ErrorCode, errorCodes, isThinError, ThinError } from '../errors.js';
import { Holder } from './holder.js';
import { askHolder, isListening } from './holder-client.js';
import { holderLog } from './holder-log.js';
import {
  adoptVariable,
  deviceDescriptor,
  deviceVariable,
  linkDescriptor,
  type ServerSettings,
  settingsOf,
} from './holder-protocol.js';
import { listenAsHolder } from './holder-socket.js';
import { ServerProcess } from './server-process.js';
import { openFuseDevice, spawnHolder, withoutHolderArguments } from './spawn-holder.js';

/** Milliseconds before a root that another daemon has is tried again. */
const busyPauseMs = 200;
/** Tries to listen where another holder does: two that start at once agree within one. */
const listenAttemptsMax = 50;
/** Milliseconds for answers to be read before this process ends. */
const farewellMs = 1_000;

/** For service managers: where another daemon has the root, wait for one's turn. */
const waitFlag = '--wait';

interface Place {
  readonly folders: NodeFolders;
  readonly settings: ServerSettings;
  /** Aborted by SIGTERM and the like. */
  readonly stop: AbortSignal;
}

/**
 * `thin daemon run`, to its end: keeps the server running. It holds /dev/fuse, so it must be small
 * and not fail.
 * @param words flags of the command line
 * @throws ThinError `busy` if another daemon has the root; else why the first server cannot start
 */
export async function runHolder(words: readonly string[]): Promise<void> {
  const { flags, env } = settingsOf(words.filter((word) => word !== waitFlag));
  const root = new Map(Object.entries(flags))
    .get('root')
    ?.at(-1)
    ?.replace(/^--root=/, '');
  const folders = nodeFolders(root, process.env, process.getuid?.() ?? 0);
  const place: Place = {
    folders,
    settings: {
      node: process.execPath,
      nodeArguments: withoutHolderArguments(process.execArgv),
      program: process.argv[1] ?? '',
      // Its working directory is not ours.
      flags: { ...flags, root: ['--root', folders.root] },
      env,
    },
    stop: stopSignal(),
  };
  process.on('uncaughtException', (error) => {
    holderLog('error', `defect in the holder: ${error.stack ?? describeError(error)}`);
  });
  const adopted = process.env[adoptVariable];
  if (adopted !== undefined) return takeOver(place, Number(adopted));
  if (!words.includes(waitFlag)) return hold(place);
  while (!place.stop.aborted) {
    try {
      return await ((await isListening(place.folders.holderSocket)) ? join(place) : hold(place));
    } catch (error) {
      // A server without holder, which will have one in a moment.
      if (!isThinError(error, 'busy')) throw error;
      holderLog('info', describeError(error));
    }
    await delay(busyPauseMs, undefined, { signal: place.stop }).catch(() => {});
  }
}

function stopSignal(): AbortSignal {
  const controller = new AbortController();
  for (const name of ['SIGTERM', 'SIGINT', 'SIGHUP'] as const) {
    process.on(name, () => controller.abort(new Error(name)));
  }
  return controller.signal;
}

async function hold(place: Place): Promise<void> {
  const { folders, settings } = place;
  if (await isListening(folders.holderSocket)) {
    throw new ThinError('busy', `Cannot start the daemon: another one has ${folders.root}`);
  }
  const holder = new Holder(settings, openFuseDevice());
  const report = await holder.start(settings);
  if (!report.ready) {
    await holder.stop({ force: true, unmount: true });
    throw new ThinError(errorCode(report.code), `Cannot start the daemon: ${report.message}`);
  }
  await serve(holder, place, await listenAsHolder(folders.holderSocket, holder));
}

/** Its server has the root, so nobody else becomes its holder. */
async function serve(holder: Holder, { folders, stop }: Place, socket: Server): Promise<void> {
  notifyServiceManager();
  const { pid, settings } = holder.status();
  holderLog('info', 'holding', { root: folders.root, pid, flags: settings.flags });
  await Promise.race([holder.finished, aborted(stop)]);
  // If it has finished meanwhile there is nothing to stop.
  if (stop.aborted) await holder.stop({ force: true, unmount: false }).catch(() => {});
  await close(socket);
  // Whoever told us to end gets that; the mounts get another holder.
  if (holder.needed) spawnHolder(holder.status().settings, 0, holder.device);
}

/** Becomes the holder of a running server, or of the device alone, which mounts need. */
async function takeOver(place: Place, serverPid: number): Promise<void> {
  const device = process.env[deviceVariable] === undefined ? undefined : deviceDescriptor;
  delete process.env[adoptVariable];
  delete process.env[deviceVariable];
  const holder = new Holder(place.settings, device, serverPid === 0);
  const server = serverPid === 0 ? undefined : ServerProcess.adopt(serverPid, linkDescriptor);
  if (server && !(await holder.adopt(server)).ready) {
    // It could not start, and has told whoever started it.
    await holder.stop({ force: true, unmount: true });
    return;
  }
  for (let attempt = 0; await isListening(place.folders.holderSocket); attempt++) {
    if (attempt === listenAttemptsMax) {
      throw new ThinError('busy', `Cannot hold ${place.folders.root}: another holder stays`);
    }
    await delay(busyPauseMs);
  }
  const socket = await listenAsHolder(place.folders.holderSocket, holder);
  await serve(holder, place, socket);
}

/** Another daemon has the root: lets it serve, and stays as long as it does. */
async function join({ folders, settings, stop }: Place): Promise<void> {
  const { holderSocket } = folders;
  const { signal } = new AbortController();
  await askHolder(holderSocket, { op: 'start', settings }, signal);
  notifyServiceManager();
  holderLog('info', 'another daemon serves; waiting for its end', { root: folders.root });
  await Promise.race([askHolder(holderSocket, { op: 'wait' }, signal), aborted(stop)]);
  if (!stop.aborted) return;
  await askHolder(holderSocket, { op: 'stop', force: true, unmount: false }, signal);
}

function aborted(signal: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    if (signal.aborted) resolve();
    else signal.addEventListener('abort', () => resolve(), { once: true });
  });
}

async function close(server: Server): Promise<void> {
  const closed = new Promise<void>((resolve) => {
    server.close(() => resolve());
  });
  await Promise.race([closed, delay(farewellMs)]);
}

/** Of systemd, for `Type=notify`: there is no other way to send a datagram from Node.js. */
function notifyServiceManager(): void {
  if (process.env.NOTIFY_SOCKET === undefined) return;
  const child = spawn('systemd-notify', ['--ready'], { stdio: 'ignore' });
  child.once('error', (error) => holderLog('warn', `Cannot notify systemd: ${error.message}`));
  delete process.env.NOTIFY_SOCKET;
}

function errorCode(text: string): ErrorCode {
  return errorCodes.find((code) => code === text) ?? 'unavailable';
}
