import {
  initFlags,
  protocolMajor,
  protocolMinor,
  protocolMinorMin,
  readBytesMax,
  readPagesMax,
  writeBytesMax,
} from './protocol.js';
import type { InitRequest } from './request.js';

/**
 * Reads that the kernel may have under way without a program waiting for each (read-ahead). A read
 * that waits for the network holds its place, and when all are taken even files that are here wait;
 * so there are many.
 */
const backgroundReadsMax = 1024;
const congestionThreshold = 768;

const initReplyBytes = 64;

const wantedFlags =
  initFlags.asyncRead |
  initFlags.exportSupport |
  initFlags.doReaddirplus |
  initFlags.noOpenSupport |
  initFlags.parallelDirops |
  initFlags.maxPages |
  initFlags.cacheSymlinks |
  initFlags.noOpendirSupport;

/** What a kernel must offer: without it, OPEN and OPENDIR would need answers with state. */
const neededFlags = initFlags.noOpenSupport | initFlags.noOpendirSupport;

/** True if this server can serve the kernel that sent `request`. */
export function isServable(request: InitRequest): boolean {
  if (request.major !== protocolMajor) return request.major > protocolMajor;
  return request.minor >= protocolMinorMin && (request.flags & neededFlags) === neededFlags;
}

/**
 * `fuse_init_out`. A kernel with a newer major version gets our version only and asks again.
 * @param shows.accessLists whether the kernel is to ask for access control lists
 * @returns bytes written
 */
export function writeInitReply(
  body: Buffer,
  request: InitRequest,
  shows: { readonly accessLists: boolean },
): number {
  const flags = wantedFlags | (shows.accessLists ? initFlags.posixAcl : 0);
  body.fill(0, 0, initReplyBytes);
  body.writeUInt32LE(protocolMajor, 0);
  body.writeUInt32LE(Math.min(request.minor, protocolMinor), 4);
  if (request.major > protocolMajor) return initReplyBytes;
  body.writeUInt32LE(Math.min(request.readAheadBytesMax, readBytesMax), 8);
  body.writeUInt32LE((request.flags & flags) >>> 0, 12);
  body.writeUInt16LE(backgroundReadsMax, 16);
  body.writeUInt16LE(congestionThreshold, 18);
  body.writeUInt32LE(writeBytesMax, 20);
  body.writeUInt32LE(1, 24); // time granularity in nanoseconds
  body.writeUInt16LE(readPagesMax, 28);
  return initReplyBytes;
}
