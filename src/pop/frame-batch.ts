import type { ShelvedFrame } from './frame-shelf.js';
import type { FetchName } from './pop-keys.js';
import { type Voucher, voucherBytes } from './voucher.js';

/*
 * What nodes ask each other for: `POST /v1/frames`, with up to 64 names of 32 hex digits, one behind the
 * other. The answer has of each, in their order:
 *
 *   | 0   | 1  | 0: not here, 1: here, 2: here, and left out of this answer, 3: being fetched by the node
 *
 * and where it is here:
 *
 *   | 1   | 4  | its bytes, little-endian
 *   | 5   | 96 | who vouches for it, or zeros
 *   | 101 |    | the frame
 */

/** Names in one request, and bytes of frames in one answer, unless there is only one. */
export const batchNamesMax = 64;
export const batchBytesMax = 1024 * 1024;
const nameDigits = 32;
export const batchRequestBytesMax = batchNamesMax * nameDigits;
const headBytes = 1 + 4 + voucherBytes;
/** Bytes of an answer with the largest frame. */
export const batchAnswerBytesMax = 2 * batchBytesMax;
const nobody = Buffer.alloc(voucherBytes);
const states = ['absent', 'here', 'later', 'fetching'] as const;

/** `later`: it is here, and to be asked for again; `fetching`: the node is about to have it. */
export type BatchEntry = ShelvedFrame | 'absent' | 'later' | 'fetching';

export function packNames(names: readonly FetchName[]): Buffer {
  return Buffer.from(names.join(''));
}

/** Undefined for what is no request. */
export function parseNames(bytes: Buffer): FetchName[] | undefined {
  const text = bytes.toString('latin1');
  if (!/^[0-9a-f]+$/.test(text) || text.length % nameDigits !== 0) return undefined;
  const count = text.length / nameDigits;
  if (count > batchNamesMax) return undefined;
  return Array.from({ length: count }, (_, at) => {
    return text.slice(at * nameDigits, (at + 1) * nameDigits) as FetchName;
  });
}

export function packBatch(entries: readonly BatchEntry[]): Buffer {
  return Buffer.concat(
    entries.flatMap((entry) => {
      if (typeof entry === 'string') return [Buffer.of(states.indexOf(entry))];
      const { bytes, voucher = nobody } = entry;
      const head = Buffer.alloc(5);
      head.writeUInt8(states.indexOf('here'));
      head.writeUInt32LE(bytes.length, 1);
      return [head, voucher, bytes];
    }),
  );
}

/** Undefined for what is no answer to a request for so many. */
export function parseBatch(bytes: Buffer, count: number): BatchEntry[] | undefined {
  const entries: BatchEntry[] = [];
  let at = 0;
  while (entries.length < count && at < bytes.length) {
    const state = states[bytes.readUInt8(at)];
    if (state === undefined) return undefined;
    if (state !== 'here') {
      entries.push(state);
      at += 1;
      continue;
    }
    if (at + headBytes > bytes.length) return undefined;
    const end = at + headBytes + bytes.readUInt32LE(at + 1);
    if (end > bytes.length) return undefined;
    // A copy: what is remembered of one frame must not keep all the others.
    const voucher = Buffer.from(bytes.subarray(at + 5, at + headBytes));
    const frame = Buffer.from(bytes.subarray(at + headBytes, end));
    entries.push({
      bytes: frame,
      voucher: voucher.equals(nobody) ? undefined : (voucher as Voucher),
    });
    at = end;
  }
  return entries.length === count && at === bytes.length ? entries : undefined;
}
