import { writeFileSync } from 'node:fs';
import { debuglog } from 'node:util';
import { describeError, fromSystemError } from '../errors.js';
import { mayMount } from './kernel-mount.js';
import { readBytesMax } from './protocol.js';

const debug = debuglog('thinfs:fuse');

/**
 * As much as one request can hold: with 2 ms to the store that makes sequential reading seven times as
 * fast.
 */
export const readAheadMax = readBytesMax;
/**
 * While programs start. Around each page of a library that they touch the kernel reads this much, which
 * is waited for and learned: with a MiB a start of Python reads 55 MB, with 32 KiB 41, with 4 KiB 40.
 */
export const readAheadOfStarts = 32 * 1024;

/**
 * Has the kernel read so many bytes ahead in files that are opened from now on, which it allows only
 * after INIT and to root. A file keeps what it was opened with until it is closed: one that a start
 * opened and a program reads in order for hours is read by {@link readAheadOfStarts}.
 * @param device `major:minor` of the mount
 */
export function setReadAhead(device: string, bytes: number): void {
  if (!mayMount()) return;
  try {
    writeFileSync(`/sys/class/bdi/${device}/read_ahead_kb`, `${bytes / 1024}`);
  } catch (error) {
    debug('%s', describeError(fromSystemError('Cannot set the read-ahead', error)));
  }
}
