import { statfs } from 'node:fs/promises';
import { type ByteString, byteStringFromText, byteStringToBuffer } from '../byte-string.js';
import { detachPath, mountSource, mountType } from '../fuse/kernel-mount.js';
import { type MountEntry, readMountTable } from '../fuse/mount-table.js';

/** Milliseconds for a living server to answer statfs(2), which it does from memory. */
const answerTimeoutMs = 5_000;

export interface Leftovers {
  /** Mount points that were taken away. */
  readonly detached: readonly string[];
  /** Trees that somebody still serves. */
  readonly alive: readonly string[];
}

/**
 * Takes away the mounts that a killed server left at or below `directory`: trees whose server is
 * gone, and overlays. The caller makes sure that nobody serves `directory` now (it holds the lock
 * of its root). Programs that still run in an overlay keep it, and get errors for what is not
 * cached; nothing can bring its tree back.
 */
export async function detachLeftovers(directory: string): Promise<Leftovers> {
  const ours = (await readMountTable()).filter((entry) => isOurs(entry, directory));
  const detached: string[] = [];
  const alive: string[] = [];
  for (const { mountPoint, type } of ours.reverse()) {
    const path = byteStringToBuffer(mountPoint).toString('utf8');
    if (type === mountType && (await isServed(path))) {
      alive.push(path);
      continue;
    }
    await detachPath(path);
    detached.push(path);
  }
  return { detached, alive };
}

function isOurs({ type, source, mountPoint }: MountEntry, directory: string): boolean {
  const ours = type === mountType || (type === 'overlay' && source === mountSource);
  return ours && isWithin(mountPoint, byteStringFromText(directory));
}

function isWithin(path: ByteString, directory: ByteString): boolean {
  return path === directory || path.startsWith(directory === '/' ? '/' : `${directory}/`);
}

/** ENOTCONN means that the server is gone. One that does not answer may only be stopped. */
async function isServed(path: string): Promise<boolean> {
  let timer: NodeJS.Timeout | undefined;
  const late = new Promise<boolean>((resolve) => {
    timer = setTimeout(resolve, answerTimeoutMs, true);
  });
  const answered = statfs(path).then(
    () => true,
    (error: NodeJS.ErrnoException) => error.code !== 'ENOTCONN' && error.code !== 'ECONNABORTED',
  );
  try {
    return await Promise.race([answered, late]);
  } finally {
    clearTimeout(timer);
  }
}
