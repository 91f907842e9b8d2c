import { chmod, mkdir, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { byteStringFromText } from '../byte-string.js';
import { tierPath } from '../cache/layout.js';
import { digestOf } from '../digest.js';
import { describeError, fromSystemError, ThinError } from '../errors.js';
import { detachPath } from '../fuse/kernel-mount.js';
import type { Attributes, DirectoryNode, TreeNode } from '../image/tree.js';
import { makeFolder } from '../make-folder.js';
import { writeErofs } from '../metadata/erofs-writer.js';
import { mountComposed, refreshComposed } from './composed-mount.js';
import { type MetadataForm, mountMetadata, unmountMetadata } from './metadata-mount.js';

/** Whether this machine can do composed mounts, and how, or what it said. */
export type ComposedProbe =
  | { readonly available: true; readonly metadataForm: MetadataForm }
  /** `full`: nothing could be tried, for want of space. */
  | { readonly available: false; readonly reason: string; readonly full: boolean };

/** In the first data directory and in the last. */
const contents = ['the first', 'the last'];

/**
 * Tries all of a composed mount on a small image: kernels are built and patched in too many ways to
 * go by their version. Takes some milliseconds and leaves nothing.
 * @param scratchFolder on the file system that images and changes will be on; made if it is missing
 */
export async function probeComposed(scratchFolder: string): Promise<ComposedProbe> {
  let folder: string | undefined;
  try {
    await makeFolder(scratchFolder, 0o700);
    folder = await mkdtemp(join(scratchFolder, 'probe-'));
    return { available: true, metadataForm: await tryMounts(folder) };
  } catch (error) {
    const full = fromSystemError('Cannot compose mounts', error).code === 'no-space';
    return { available: false, reason: describeError(error), full };
  } finally {
    if (folder !== undefined) await rm(folder, { recursive: true, force: true });
  }
}

async function tryMounts(folder: string): Promise<MetadataForm> {
  const at = (name: string): string => join(folder, name);
  const [image, mountPoint, target] = [at('metadata.erofs'), at('metadata'), at('target')];
  const data = contents.map((_, index) => at(`data-${index}`));
  await writeFile(image, writeErofs(tinyTree()));
  await mkdir(mountPoint);
  for (const [index, text] of contents.entries()) {
    const path = tierPath(data[index] ?? '', digestOf(Buffer.from(text)));
    await makeFolder(dirname(path));
    await writeFile(path, text);
  }
  try {
    const { form } = await mountMetadata({ image, mountPoint });
    const changes = { upper: at('upper'), work: at('work') };
    await mountComposed({ metadata: mountPoint, data, target, changes });
    await expectContents(target);
    await chmod(join(target, '0'), 0o600);
    await refreshComposed(target, false);
    await expectContents(target);
    return form;
  } finally {
    await detachPath(target);
    await unmountMetadata(mountPoint);
  }
}

async function expectContents(target: string): Promise<void> {
  for (const [index, text] of contents.entries()) {
    const found = await readFile(join(target, `${index}`), 'utf8');
    if (found === text) continue;
    throw new ThinError('unavailable', 'Cannot compose mounts: the kernel reads wrong bytes');
  }
}

function tinyTree(): DirectoryNode {
  const time = { seconds: 0, nanoseconds: 0 };
  const attributes: Attributes = { mode: 0o755, uid: 0, gid: 0, mtime: time, xattrs: new Map() };
  const files = contents.map((text, index): [ReturnType<typeof byteStringFromText>, TreeNode] => {
    const bytes = Buffer.from(text);
    const file = { type: 'file', size: bytes.length, content: digestOf(bytes) } as const;
    return [byteStringFromText(`${index}`), { ...attributes, ...file }];
  });
  return { ...attributes, type: 'directory', children: new Map(files) };
}
