import { addon } from './addon.js';

/**
 * A buffer of zeros that the kernel can always fill without a page fault: its pages are in memory from the
 * start, are not swapped out where the system allows that (mlock(2)), and a fork of the process does not make
 * them copy-on-write (`MADV_DONTFORK`). Where the addon is missing, they are only in memory from the start.
 * @param bytes more than 0
 */
export function residentMemory(bytes: number): Buffer {
  try {
    return addon().residentMemory(bytes);
  } catch {
    return Buffer.alloc(bytes).fill(0);
  }
}
