import { openSync, readSync, writeSync } from 'node:fs';
import { fromSystemError } from '../errors.js';
import { replyHeaderBytes } from './protocol.js';
import { writeReplyHeader } from './reply.js';

const devicePath = '/dev/fuse';

/**
 * Opens a new connection, to be bound to a mount by mount(2). Blocking: a read waits for a request.
 * @throws ThinError `not-found`, `denied`
 */
export function openDevice(): number {
  try {
    return openSync(devicePath, 'r+');
  } catch (error) {
    throw fromSystemError(
      `Cannot open ${devicePath} (is FUSE in this kernel, or container?)`,
      error,
    );
  }
}

/**
 * Waits for one request.
 * @param buffer at least `requestBytesMax`
 * @returns its length, or `ended` when the mount is gone
 */
export function readRequest(device: number, buffer: Buffer): number | 'ended' {
  for (;;) {
    try {
      return readSync(device, buffer, 0, buffer.length, null);
    } catch (error) {
      const code = systemCode(error);
      // ENOENT: the request was withdrawn while it was read; EINTR, EAGAIN: read again.
      if (code === 'ENOENT' || code === 'EINTR' || code === 'EAGAIN') continue;
      if (code === 'ENODEV' || code === 'ECONNABORTED') return 'ended';
      throw error;
    }
  }
}

/**
 * Sends a reply that lies in one buffer: room for the header, then `bodyBytes` of body.
 * @param error 0 or a positive error number
 */
export function sendReply(
  device: number,
  unique: bigint,
  error: number,
  buffer: Buffer,
  bodyBytes: number,
): void {
  writeReplyHeader(buffer, unique, error, bodyBytes);
  try {
    writeSync(device, buffer, 0, replyHeaderBytes + bodyBytes);
  } catch (failure) {
    if (!isUnwanted(failure)) throw failure;
  }
}

/** How the kernel took {@link requestResend}. */
export type ResendAnswer =
  /** Whatever was not answered comes again. */
  | 'done'
  /** Before Linux 6.9: what a server took with it to its end is never answered. */
  | 'not-supported'
  /** The descriptor was never mounted. */
  | 'not-mounted';

/** `FUSE_NOTIFY_RESEND`, with which all requests come again that were read and not answered. */
const notifyResend = 7;

/**
 * Asks for all requests again that a process read and did not answer. They come with bit 63 of
 * `unique` set, which is to be answered as it is.
 * @throws ThinError `unavailable`
 */
export function requestResend(device: number): ResendAnswer {
  const notice = Buffer.alloc(replyHeaderBytes);
  writeReplyHeader(notice, 0n, -notifyResend, 0);
  try {
    writeSync(device, notice);
    return 'done';
  } catch (error) {
    const code = systemCode(error);
    if (code === 'EPERM') return 'not-mounted';
    if (code === 'EINVAL') return 'not-supported';
    throw fromSystemError('Cannot take over a FUSE connection', error);
  }
}

/** Nobody waits for the reply: the request was given up, answered before, or the mount is gone. */
export function isUnwanted(error: unknown): boolean {
  const code = systemCode(error);
  return code === 'ENOENT' || code === 'ENODEV' || code === 'ECONNABORTED';
}

function systemCode(error: unknown): string {
  return error instanceof Error && 'code' in error ? String(error.code) : '';
}
