import { chmod, chown, lstat, rename, stat } from 'node:fs/promises';
import { setTime } from '../../native-bindings/set-time.js';
import { getXattr, listXattrs, setXattr } from '../../native-bindings/xattr.js';
import { fromSystemError } from '../errors.js';
import { makeFolder } from '../make-folder.js';

/** Where a container's own changes are kept: two directories of one file system. */
export interface Changes {
  /** The changed files; stays when the mount is gone. */
  readonly upper: string;
  /** The kernel's own. */
  readonly work: string;
}

/**
 * Makes the directories where they are missing. `upper` is the root of what the container sees, so a
 * new one gets mode, owner, time and xattrs of the image's root, before it has its name.
 * @param root of the mounted image
 * @throws ThinError `denied`, `no-space`; `unavailable` if the file system has no such xattrs
 */
export async function prepareChanges(root: string, { upper, work }: Changes): Promise<void> {
  try {
    await makeFolder(work, 0o700);
    if (await exists(upper)) return;
    const unfinished = `${upper}.new`;
    await makeFolder(unfinished);
    await copyAttributes(root, unfinished);
    await rename(unfinished, upper);
  } catch (error) {
    throw fromSystemError(`Cannot prepare ${upper} for a container's changes`, error);
  }
}

async function exists(path: string): Promise<boolean> {
  try {
    await lstat(path);
    return true;
  } catch {
    return false; // what else is wrong with it, mkdir says
  }
}

async function copyAttributes(from: string, to: string): Promise<void> {
  const { uid, gid, mode, mtimeNs } = await stat(from, { bigint: true });
  await chown(to, Number(uid), Number(gid));
  await chmod(to, Number(mode) & 0o7777);
  const [source, target] = [Buffer.from(from), Buffer.from(to)];
  for (const name of await listXattrs(source)) {
    const value = await getXattr(source, name);
    if (value) await setXattr(target, name, value);
  }
  await setTime(to, mtimeNs);
}
