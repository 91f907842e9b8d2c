import { readSync } from 'node:fs';

/** Fills `target` from `offset` of a file. False if the file ends before, or the disk fails. */
export function readFully(descriptor: number, offset: number, target: Buffer): boolean {
  let done = 0;
  try {
    while (done < target.length) {
      const got = readSync(descriptor, target, done, target.length - done, offset + done);
      if (got === 0) return false;
      done += got;
    }
  } catch {
    return false; // a failing disk: the bytes may still be had from the store
  }
  return true;
}
