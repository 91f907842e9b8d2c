import { createHash } from 'node:crypto';
import { constants } from 'node:fs';
import { type FileHandle, open } from 'node:fs/promises';
import { copyVerified } from '../../native-bindings/copy-verified.js';
import { errnoName } from '../cache/disk.js';
import type { SharedTierAnswer, SharedTierRequest, WithoutId } from './shared-tier-messages.js';

/** Bytes copied to the tier, and hashed, at a time. */
const stepBytes = 1024 * 1024;

/** What stands in the place of a file may be a link, or a FIFO, which nobody ever writes to. */
const readFlags = constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK;

type CopyRequest = Extract<SharedTierRequest, { ask: 'copy' }>;
type Answer = WithoutId<SharedTierAnswer>;

export interface OpenFile {
  readonly handle: FileHandle;
  readonly size: number;
}

/**
 * Copies a file of the shared tier to this node, verified.
 * @throws ThinError of the shared tier; what fails on this node is part of the answer
 */
export async function copyFromTier(source: string, request: CopyRequest): Promise<Answer> {
  const { content, size, incoming, path, offset, length } = request;
  const wanted = Buffer.allocUnsafeSlow(Math.max(0, Math.min(length, size - offset)));
  const places = { source, incoming, target: path };
  const outcome = await copyVerified(places, { content, size, wanted, offset });
  if (outcome !== 'copied' && outcome !== 'not-kept') return { is: outcome };
  return { is: 'copied', bytes: wanted, kept: outcome === 'copied' };
}

/** A file of the shared tier; `wrong`: what is there is none. */
export async function openInTier(path: string): Promise<OpenFile | 'absent' | 'wrong'> {
  const handle = await open(path, readFlags).catch(whyNoFile);
  if (typeof handle === 'string') return handle;
  try {
    const found = await handle.stat();
    if (found.isFile()) return { handle, size: found.size };
  } catch (error) {
    await handle.close().catch(() => undefined);
    throw error;
  }
  await handle.close();
  return 'wrong';
}

function whyNoFile(error: unknown): 'absent' | 'wrong' {
  const code = errnoName(error);
  if (code === 'ENOENT') return 'absent';
  if (code === 'ELOOP' || code === 'ENXIO') return 'wrong'; // a link, or a socket
  throw error;
}

/**
 * Hands on a file in steps.
 * @returns the digest of what was handed on: less than `size` where the file ends before
 */
export async function hashedCopy(
  source: FileHandle,
  size: number,
  write: (bytes: Buffer, at: number) => Promise<void>,
): Promise<string> {
  const hash = createHash('sha256');
  const step = Buffer.allocUnsafe(Math.min(stepBytes, Math.max(size, 1)));
  for (let at = 0; at < size; ) {
    const { bytesRead } = await source.read(step, 0, Math.min(step.length, size - at), at);
    if (bytesRead === 0) break;
    const bytes = step.subarray(0, bytesRead);
    hash.update(bytes);
    await write(bytes, at);
    at += bytesRead;
  }
  return `sha256:${hash.digest('hex')}`;
}

export async function writeAll(target: FileHandle, bytes: Buffer, at: number): Promise<void> {
  for (let done = 0; done < bytes.length; ) {
    done += (await target.write(bytes, done, bytes.length - done, at + done)).bytesWritten;
  }
}
