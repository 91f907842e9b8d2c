import { byteStringFromText } from '../byte-string.js';
import { ThinError } from '../errors.js';
import { detachPath, mountSource } from '../fuse/kernel-mount.js';
import { readMountTable } from '../fuse/mount-table.js';

/** A mount of ours is `seen` at its mount point, or `covered` by what somebody else has mounted over it. */
export type Standing = 'seen' | 'covered' | 'gone';

/** Mounts of ours bear our name: who unmounts one may mount something else in its place, which is not ours to touch. */
export async function standingOf(mountPoint: string): Promise<Standing> {
  const wanted = byteStringFromText(mountPoint);
  const there = (await readMountTable()).filter((entry) => entry.mountPoint === wanted);
  if (there.at(-1)?.source === mountSource) return 'seen';
  return there.some(({ source }) => source === mountSource) ? 'covered' : 'gone';
}

/**
 * Takes a mount of ours away, by one of the calls that do. That it is not there any more is no error.
 * @throws ThinError `busy` if it is covered; what the call throws
 */
export async function takeAway(
  mountPoint: string,
  call: (mountPoint: string) => Promise<void>,
): Promise<void> {
  const standing = await standingOf(mountPoint);
  if (standing === 'seen') await call(mountPoint);
  if (standing !== 'covered') return;
  const what = `something else is mounted over it (wanted: umount ${mountPoint})`;
  throw new ThinError('busy', `Cannot unmount ${mountPoint}: ${what}`);
}

/** Takes what may be mounted in a folder of ours out of it. */
export function detachOwn(mountPoint: string): Promise<void> {
  return takeAway(mountPoint, detachPath);
}
