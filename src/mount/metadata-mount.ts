import { closeSync } from 'node:fs';
import { attachLoop } from '../../native-bindings/loop-device.js';
import { mount, mountFlags } from '../../native-bindings/mount-calls.js';
import { byteStringToBuffer } from '../byte-string.js';
import { detachPath } from '../fuse/kernel-mount.js';
import { findMount } from '../fuse/mount-table.js';
import { blockSize } from '../metadata/erofs-layout.js';

/** How the kernel reads the image: the file itself (Linux 6.12), or through a block device. */
export type MetadataForm = 'file' | 'loop';

export interface MetadataMount {
  readonly mountPoint: string;
  readonly form: MetadataForm;
}

/** Type of these mounts in the mount table. */
export const metadataType = 'erofs';

/**
 * Mounts an image's metadata, once for all of its containers: the file itself where the kernel and
 * the file's own file system can (not tmpfs, not overlayfs), else over a loop device. What an earlier
 * process has mounted at `mountPoint`, a folder for this image alone, is taken as it is.
 * @throws ThinError `denied` without root, `not-found`; `unavailable`, `invalid` if the kernel has no
 *   EROFS, or does not take the image
 */
export async function mountMetadata(options: {
  /** `metadata.erofs`, whose bytes were verified once; what a disk makes of them later the kernel meets. */
  readonly image: string;
  readonly mountPoint: string;
}): Promise<MetadataMount> {
  const { image, mountPoint } = options;
  const known = await findMetadata(mountPoint);
  if (known) return known;
  try {
    await mountErofs(image, mountPoint);
    return { mountPoint, form: 'file' };
  } catch {
    await mountLoop(image, mountPoint); // whatever was wrong with the other, this says it too
    return { mountPoint, form: 'loop' };
  }
}

/** Takes it away from the folder; containers that use it keep it. Never fails if it is not there. */
export async function unmountMetadata(mountPoint: string): Promise<void> {
  await detachPath(mountPoint);
}

async function findMetadata(mountPoint: string): Promise<MetadataMount | undefined> {
  const found = await findMount(mountPoint);
  if (found?.type !== metadataType) return undefined;
  const source = byteStringToBuffer(found.source).toString('utf8');
  return { mountPoint, form: source.startsWith('/dev/loop') ? 'loop' : 'file' };
}

async function mountLoop(image: string, mountPoint: string): Promise<void> {
  // The page cache of the file is asked ahead of what is needed; past it, each block is waited for.
  const device = await attachLoop(image, { blockSize, directIo: false });
  try {
    await mountErofs(device.path, mountPoint);
  } finally {
    closeSync(device.descriptor); // the mount holds the device from here on
  }
}

/** Nobody looks in there but the overlays above, which have their own rules for devices and setuid. */
async function mountErofs(source: string, mountPoint: string): Promise<void> {
  const { readOnly, noSuid, noDevices } = mountFlags;
  const flags = readOnly | noSuid | noDevices;
  await mount({ source, target: mountPoint, type: metadataType, flags });
}
