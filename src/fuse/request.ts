import { type ByteString, byteString } from '../byte-string.js';
import { requestHeaderBytes } from './protocol.js';

/** One request of the kernel (`fuse_in_header` and what follows it). */
export interface FuseRequest {
  readonly opcode: number;
  /** Names the request in its reply; bit 63 is set when the kernel sends it again. */
  readonly unique: bigint;
  /** The inode it is about; {@link noNode} if the kernel's number is none of ours. */
  readonly node: number;
  /** Thread that waits for the answer, in our PID namespace; 0 if it is not in there. */
  readonly pid: number;
  /** What follows the header. A view, valid until the next request is read. */
  readonly body: Buffer;
}

/** A node id that no namespace gives out. */
export const noNode = 0;

/** Decoders answer `undefined` for bytes that are no such request; nothing here throws. */
export function decodeRequest(bytes: Buffer): FuseRequest | undefined {
  if (bytes.length < requestHeaderBytes) return undefined;
  const length = bytes.readUInt32LE(0);
  if (length < requestHeaderBytes || length > bytes.length) return undefined;
  return {
    opcode: bytes.readUInt32LE(4),
    unique: bytes.readBigUInt64LE(8),
    node: readUint64(bytes, 16) ?? noNode,
    pid: bytes.readUInt32LE(32),
    body: bytes.subarray(requestHeaderBytes, length),
  };
}

/** `fuse_init_in` */
export interface InitRequest {
  readonly major: number;
  readonly minor: number;
  readonly readAheadBytesMax: number;
  readonly flags: number;
}

export function decodeInit(body: Buffer): InitRequest | undefined {
  if (body.length < 16) return undefined;
  return {
    major: body.readUInt32LE(0),
    minor: body.readUInt32LE(4),
    readAheadBytesMax: body.readUInt32LE(8),
    flags: body.readUInt32LE(12),
  };
}

/** `fuse_read_in`, of READ, READDIR and READDIRPLUS. */
export interface ReadRange {
  readonly offset: number;
  readonly size: number;
}

export function decodeRead(body: Buffer): ReadRange | undefined {
  if (body.length < 40) return undefined;
  // Offsets from 2^53 on are beyond the end of every file.
  return { offset: readUint64(body, 8) ?? Number.MAX_SAFE_INTEGER, size: body.readUInt32LE(16) };
}

/** `fuse_getxattr_in`, of GETXATTR (a name follows) and LISTXATTR. `size` 0 asks for the size. */
export function decodeXattrSize(body: Buffer): number | undefined {
  return body.length < 8 ? undefined : body.readUInt32LE(0);
}

/** Bytes of {@link decodeXattrSize}'s structure, after which the name stands. */
export const xattrNameOffset = 8;

/** A name that ends with NUL. */
export function decodeName(body: Buffer, offset = 0): ByteString | undefined {
  const end = body.indexOf(0, offset);
  return end <= offset ? undefined : byteString(body.subarray(offset, end));
}

/** `fuse_access_in` */
export function decodeAccess(body: Buffer): number | undefined {
  return body.length < 8 ? undefined : body.readUInt32LE(0);
}

/** `fuse_interrupt_in`: the request that is no longer wanted. */
export function decodeInterrupt(body: Buffer): bigint | undefined {
  return body.length < 8 ? undefined : body.readBigUInt64LE(0);
}

function readUint64(bytes: Buffer, offset: number): number | undefined {
  const value = bytes.readUInt32LE(offset + 4) * 2 ** 32 + bytes.readUInt32LE(offset);
  return Number.isSafeInteger(value) ? value : undefined;
}
