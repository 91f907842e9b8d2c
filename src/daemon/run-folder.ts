import { mkdirSync } from 'node:fs';
import { fromSystemError } from '../errors.js';

/** Makes the folder of sockets and mounts, for its owner alone. @throws ThinError */
export function makeRunFolder(folder: string): void {
  try {
    mkdirSync(folder, { recursive: true, mode: 0o700 });
  } catch (error) {
    throw fromSystemError(`Cannot use ${folder} for sockets and mounts`, error);
  }
}
