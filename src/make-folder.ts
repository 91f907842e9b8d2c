import { mkdirSync } from 'node:fs';
import { mkdir } from 'node:fs/promises';

/**
 * Makes a folder, and those above it, where they are missing. Node's asynchronous mkdir of several
 * levels says ENOENT whatever keeps it from making one of the upper ones, a full disk or a read-only
 * one among them; its other form says what it was.
 * @returns the topmost folder that was made; undefined if it was there
 * @throws the error of Node's file system call
 */
export async function makeFolder(path: string, mode = 0o777): Promise<string | undefined> {
  try {
    return await mkdir(path, { recursive: true, mode });
  } catch (error) {
    if (!(error instanceof Error && 'code' in error && error.code === 'ENOENT')) throw error;
    return mkdirSync(path, { recursive: true, mode });
  }
}
