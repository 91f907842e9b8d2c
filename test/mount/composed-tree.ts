import { mkdir, writeFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { tierPath } from '../../src/cache/layout.js';
import { detachPath } from '../../src/fuse/kernel-mount.js';
import type { DirectoryNode } from '../../src/image/tree.js';
import { writeErofs } from '../../src/metadata/erofs-writer.js';
import { type ComposedMount, mountComposed } from '../../src/mount/composed-mount.js';
import { mountMetadata, unmountMetadata } from '../../src/mount/metadata-mount.js';
import { temporaryFolder } from '../fuse/mounted-tree.js';
import type { Contents } from '../fuse/torture-tree.js';

type Test = Parameters<typeof temporaryFolder>[0];

/** Writes contents as a tier has them. */
export async function fillTier(folder: string, contents: Contents): Promise<void> {
  await mkdir(folder, { recursive: true });
  for (const [content, bytes] of contents) {
    const path = tierPath(folder, content);
    await mkdir(dirname(path), { recursive: true });
    await writeFile(path, bytes);
  }
}

/** An image's metadata, mounted below `folder` until the test ends. */
export async function mountTreeMetadata(t: Test, folder: string, tree: DirectoryNode) {
  const [image, mountPoint] = [join(folder, 'metadata.erofs'), join(folder, 'metadata')];
  await mkdir(mountPoint, { recursive: true });
  await writeFile(image, writeErofs(tree));
  t.teardown(() => unmountMetadata(mountPoint));
  return { image, ...(await mountMetadata({ image, mountPoint })) };
}

export interface ComposeOptions {
  /** Where everything is; default: a folder of its own. */
  readonly folder?: string;
  /** Data directories; default: one, with all contents. */
  readonly data?: readonly string[];
  /** Default: with changes. */
  readonly readOnly?: boolean;
  readonly sealed?: boolean;
}

/** A composed mount of `tree`, taken away again with the test. */
export async function composeTree(
  t: Test,
  tree: DirectoryNode,
  contents: Contents,
  options: ComposeOptions = {},
) {
  const folder = options.folder ?? (await temporaryFolder(t, 'mount'));
  const { form, mountPoint, image } = await mountTreeMetadata(t, folder, tree);
  const tier = join(folder, 'tier');
  await fillTier(tier, contents);
  const [target, upper] = [join(folder, 'target'), join(folder, 'upper')];
  const mount: ComposedMount = {
    metadata: mountPoint,
    data: options.data ?? [tier],
    target,
    changes: options.readOnly ? undefined : { upper, work: join(folder, 'work') },
    sealed: options.sealed ?? false,
  };
  t.teardown(() => detachPath(target));
  await mountComposed(mount);
  return { folder, form, image, tier, target, upper, mount };
}
