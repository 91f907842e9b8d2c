import {
  type MountSetting,
  mountAttributes,
  mountWithSettings,
  reconfigureMount,
} from '../../native-bindings/mount-api.js';
import { mount, mountFlags } from '../../native-bindings/mount-calls.js';
import { describeError, fromSystemError, isThinError, ThinError } from '../errors.js';
import { mountSource } from '../fuse/kernel-mount.js';
import { makeFolder } from '../make-folder.js';
import { type Changes, prepareChanges } from './changes.js';
import { LayerPaths } from './layer-paths.js';

export interface ComposedMount {
  /** Where the image's metadata is mounted (metadata-mount.ts). */
  readonly metadata: string;
  /** Directories of files by digest; a file is taken from the first that has it. */
  readonly data: readonly string[];
  /** Mount point; made if it is missing. */
  readonly target: string;
  /** Absent: the mount is read-only. */
  readonly changes?: Changes | undefined;
  /** `nosuid,nodev`: for people's folders, not for containers, which have a devices cgroup. */
  readonly sealed?: boolean;
}

/**
 * `metacopy=on`: a changed mode or owner does not fetch the file, and kernels before 6.16 look into
 * data layers only with it. `xino=on`: one device number for the whole tree, and inode numbers that
 * stay; `auto` is the same on ext4 but not on every file system that changes may lie on. `index=off`
 * is the kernel's default, said because distributions change it.
 */
const settings: readonly (readonly [string, string])[] = [
  ['metacopy', 'on'],
  ['xino', 'on'],
  ['index', 'off'],
];

/**
 * Mounts an image for one container: names, modes and the rest from its metadata, content from the
 * data directories, changes in a directory of their own. The kernel alone serves it from then on.
 * @throws ThinError `unavailable` with the kernel's words if it cannot, `denied` without root,
 *   `not-found` for a missing directory
 */
export async function mountComposed(options: ComposedMount): Promise<void> {
  const { metadata, target, changes } = options;
  if (changes) await prepareChanges(metadata, changes);
  try {
    await makeFolder(target);
  } catch (error) {
    throw fromSystemError(`Cannot make mount point ${target}`, error);
  }
  await using layers = new LayerPaths();
  try {
    await mountByLayer(options, layers);
  } catch (error) {
    if (!isThinError(error, 'invalid', 'unavailable')) throw error;
    // Kernels before 6.8 know data layers only in the text of mount(2), before 6.13 no descriptors.
    await mountByText(options, layers).catch((cause: unknown) => {
      const reason = `${describeError(error)} (dmesg may say more)`;
      throw new ThinError('unavailable', reason, { cause });
    });
  }
}

async function mountByLayer(options: ComposedMount, layers: LayerPaths): Promise<void> {
  const { metadata, data, target, changes, sealed = false } = options;
  const ordered: MountSetting[] = [await layers.setting('lowerdir+', metadata)];
  for (const path of data) ordered.push(await layers.setting('datadir+', path));
  if (changes) {
    ordered.push(await layers.setting('upperdir', changes.upper));
    ordered.push(await layers.setting('workdir', changes.work));
  }
  const { readOnly, noSuid, noDevices } = mountAttributes;
  await mountWithSettings({
    type: 'overlay',
    settings: [['source', mountSource], ...ordered, ...settings],
    target,
    attributes: (changes ? 0 : readOnly) | (sealed ? noSuid | noDevices : 0),
  });
}

async function mountByText(options: ComposedMount, layers: LayerPaths): Promise<void> {
  const { metadata, data, target, changes, sealed = false } = options;
  const lower = await Promise.all([metadata, ...data].map((path) => layers.text(path)));
  const named = [['lowerdir', lower.join('::')]];
  if (changes) {
    named.push(['upperdir', await layers.text(changes.upper)]);
    named.push(['workdir', await layers.text(changes.work)]);
  }
  const { readOnly, noSuid, noDevices } = mountFlags;
  await mount({
    source: mountSource,
    target,
    type: 'overlay',
    flags: (changes ? 0 : readOnly) | (sealed ? noSuid | noDevices : 0),
    data: [...named, ...settings].map((pair) => pair.join('=')).join(','),
  });
}

/**
 * Makes the kernel look into the data directories again, from the first on, for all files that are
 * not open now; it remembers for each file where it was. Open files are not disturbed.
 * @param readOnly the mount has no changes
 * @throws ThinError `not-found`
 */
export async function refreshComposed(target: string, readOnly: boolean): Promise<void> {
  // To reconfigure an overlay drops what the kernel remembers of its names and changes nothing else.
  await reconfigureMount(target, readOnly ? [['ro', true]] : []);
}
