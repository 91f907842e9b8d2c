import { closeSync, constants, openSync } from 'node:fs';
import { chmod, chown, mkdir, stat, utimes } from 'node:fs/promises';
import { join } from 'node:path';
import { mount } from '../../native-bindings/mount-calls.js';
import { getXattr, listXattrs, setXattr } from '../../native-bindings/xattr.js';
import { fromSystemError, isThinError, ThinError } from '../errors.js';
import { detachPath, mountSource, unmountPath } from '../fuse/kernel-mount.js';
import { runProgram } from '../fuse/run-program.js';

export interface OverlayOptions {
  /** The mounted tree, of the form `overlay-lower`. */
  readonly lower: string;
  /** Directory for what the container changes: `upper`, `work` and the mount itself, `merged`. */
  readonly directory: string;
}

/** A writable view of a tree. What was written stays in `upper` when the mount is gone. */
export interface Overlay extends AsyncDisposable {
  /** Absolute path of the view. */
  readonly merged: string;
  readonly upper: string;
  /** @throws ThinError `busy` if something uses it */
  unmount(): Promise<void>;
}

/**
 * `xino=on`: one device number for the whole view and inode numbers that survive a remount; `auto`
 * would not trust a FUSE file system to leave the upper bits of its inode numbers free, ours does.
 * The others are the kernel's defaults, said because distributions change them: `upper` then is an
 * ordinary tree that a differ can read alone.
 */
const settings = 'xino=on,metacopy=off,redirect_dir=off,index=off';

/** Paths that mean the same in the mount options of the kernel, without escapes. */
const plainPath = /^\/[\w\-./@+ ]*$/;

/**
 * Mounts a kernel overlay of a tree with a directory for changes. Disposal detaches it even if it
 * is in use.
 * @throws ThinError `denied` without root, `unavailable` if the kernel or the file system of
 *   `directory` cannot do it
 */
export async function mountOverlay(options: OverlayOptions): Promise<Overlay> {
  const { lower, directory } = options;
  const upper = join(directory, 'upper');
  const work = join(directory, 'work');
  const merged = join(directory, 'merged');
  try {
    const created = await mkdir(upper, { recursive: true, mode: 0o755 });
    if (created !== undefined) await copyAttributes(lower, upper);
    await mkdir(work, { recursive: true, mode: 0o700 });
    await mkdir(merged, { recursive: true, mode: 0o755 });
  } catch (error) {
    throw fromSystemError(`Cannot prepare ${directory} for a container's changes`, error);
  }
  await mountLayers(merged, { lowerdir: lower, upperdir: upper, workdir: work });
  return {
    merged,
    upper,
    unmount: () => unmountPath(merged),
    [Symbol.asyncDispose]: () => detachPath(merged),
  };
}

/** The root of the view is `upper` itself: it must look like the tree's. */
async function copyAttributes(lower: string, upper: string): Promise<void> {
  const { uid, gid, mode } = await stat(lower);
  await chown(upper, uid, gid);
  await chmod(upper, mode & 0o7777);
  const [from, to] = [Buffer.from(lower), Buffer.from(upper)];
  for (const name of await listXattrs(from)) {
    const value = await getXattr(from, name);
    if (value) await setXattr(to, name, value);
  }
  await copyTime(lower, upper);
}

async function copyTime(from: string, to: string): Promise<void> {
  const { mtimeNs } = await stat(from, { bigint: true });
  const seconds = Number(mtimeNs) / 1e9;
  await utimes(to, seconds, seconds);
  if ((await stat(to, { bigint: true })).mtimeNs === mtimeNs) return;
  await runProgram('touch', ['-r', from, to]); // Node's times are no more exact than microseconds
}

async function mountLayers(
  merged: string,
  layers: Readonly<Record<'lowerdir' | 'upperdir' | 'workdir', string>>,
): Promise<void> {
  const descriptors: number[] = [];
  try {
    const named = Object.entries(layers).map(
      ([option, path]) => `${option}=${optionValue(path, descriptors)}`,
    );
    const data = [...named, settings].join(',');
    await mount({ source: mountSource, target: merged, type: 'overlay', data });
  } catch (error) {
    throw explain(error, merged, layers.upperdir);
  } finally {
    for (const descriptor of descriptors) closeSync(descriptor);
  }
}

/** The kernel says EINVAL, and the rest only in its log. */
function explain(error: unknown, merged: string, upper: string): unknown {
  if (!isThinError(error, 'invalid')) return error;
  return new ThinError(
    'unavailable',
    `Cannot mount a writable layer at ${merged}: the kernel refuses (wanted overlayfs, and a file ` +
      `system with trusted.* attributes at ${upper})`,
    { cause: error },
  );
}

/** A path, or the name of a descriptor for one that would need escapes: `,` `:` `\` and quotes. */
function optionValue(path: string, descriptors: number[]): string {
  if (plainPath.test(path)) return path;
  try {
    const descriptor = openSync(path, constants.O_RDONLY | constants.O_DIRECTORY);
    descriptors.push(descriptor);
    return `/proc/self/fd/${descriptor}`;
  } catch (error) {
    throw fromSystemError(`Cannot use ${path} in a writable layer`, error);
  }
}
