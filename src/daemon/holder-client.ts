import { connect } from 'node:net';
import { setTimeout as delay } from 'node:timers/promises';
import type { NodeFolders } from '../config.js';
import { type ErrorCode, errorCodes, fromSystemError, isThinError, ThinError } from '../errors.js';
import {
  type HolderAnswer,
  type HolderRequest,
  type HolderStatus,
  holderProtocolVersion,
} from './holder-protocol.js';

/** Milliseconds for a server's holder to come, and between two looks for it. */
const comingMs = 10_000;
const comingPollMs = 5;

/**
 * As {@link askHolder}, of the daemon of a root: where a server has no holder yet, because both have
 * just been started or its holder has died, waits for it.
 */
export async function askDaemon(
  { socket, holderSocket }: NodeFolders,
  request: HolderRequest,
  signal: AbortSignal,
): Promise<HolderStatus> {
  const deadline = performance.now() + comingMs;
  for (;;) {
    try {
      return await askHolder(holderSocket, request, signal);
    } catch (error) {
      if (!isThinError(error, 'not-found') || performance.now() > deadline) throw error;
      if (!(await isListening(socket))) throw error;
    }
    await delay(comingPollMs, undefined, { signal }).catch(() => {});
  }
}

/**
 * One request to the holder that listens on `socket`.
 * @returns its state afterwards
 * @throws ThinError `not-found` if none listens; `unavailable` if it died; else what it answered
 */
export async function askHolder(
  socket: string,
  request: HolderRequest,
  signal: AbortSignal,
): Promise<HolderStatus> {
  const text = await exchange(
    socket,
    `${JSON.stringify({ version: holderProtocolVersion, ...request })}\n`,
    signal,
  );
  if (!text.endsWith('\n')) {
    throw new ThinError('unavailable', `Cannot ${request.op} the daemon: its holder has died`);
  }
  // The holder is this same program, or refuses to be asked by it.
  const answer: HolderAnswer = JSON.parse(text);
  if (answer.ok) return answer.status;
  throw new ThinError(errorCode(answer.code), answer.message);
}

/** All that is answered. */
function exchange(path: string, line: string, signal: AbortSignal): Promise<string> {
  return new Promise((resolve, reject) => {
    const socket = connect(path);
    const cancel = (): void => {
      socket.destroy(new ThinError('canceled', 'Canceled'));
    };
    signal.addEventListener('abort', cancel, { once: true });
    let text = '';
    socket.setEncoding('utf8').on('data', (piece) => {
      text += piece;
    });
    socket.once('error', (error) => {
      reject(isRefused(error) ? noHolder(path, error) : fromSystemError('Cannot ask', error));
    });
    socket.once('close', () => {
      signal.removeEventListener('abort', cancel);
      resolve(text);
    });
    socket.write(line);
    if (signal.aborted) cancel();
  });
}

function isRefused(error: Error): boolean {
  return 'code' in error && (error.code === 'ENOENT' || error.code === 'ECONNREFUSED');
}

function noHolder(path: string, cause: Error): ThinError {
  return new ThinError('not-found', `Cannot ask the daemon: none runs (${path})`, { cause });
}

function errorCode(text: string): ErrorCode {
  return errorCodes.find((code) => code === text) ?? 'unavailable';
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
