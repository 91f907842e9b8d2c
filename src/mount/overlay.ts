import { join } from 'node:path';
import { mount } from '../../native-bindings/mount-calls.js';
import { fromSystemError, isThinError, ThinError } from '../errors.js';
import { detachPath, mountSource, unmountPath } from '../fuse/kernel-mount.js';
import { makeFolder } from '../make-folder.js';
import { prepareChanges } from './changes.js';
import { LayerPaths } from './layer-paths.js';

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
  await prepareChanges(lower, { upper, work });
  try {
    await makeFolder(merged, 0o755);
  } catch (error) {
    throw fromSystemError(`Cannot make mount point ${merged}`, error);
  }
  await mountLayers(merged, { lowerdir: lower, upperdir: upper, workdir: work });
  return {
    merged,
    upper,
    unmount: () => unmountPath(merged),
    [Symbol.asyncDispose]: () => detachPath(merged),
  };
}

async function mountLayers(
  merged: string,
  layers: Readonly<Record<'lowerdir' | 'upperdir' | 'workdir', string>>,
): Promise<void> {
  await using paths = new LayerPaths();
  const named: string[] = [];
  for (const [option, path] of Object.entries(layers)) {
    named.push(`${option}=${await paths.text(path)}`);
  }
  try {
    const data = [...named, settings].join(',');
    await mount({ source: mountSource, target: merged, type: 'overlay', data });
  } catch (error) {
    throw explain(error, merged, layers.upperdir);
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
