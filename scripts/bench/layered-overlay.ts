import { mkdir } from 'node:fs/promises';
import { join } from 'node:path';
import { mount } from '../../native-bindings/mount-calls.js';
import { runCommand } from '../../test/support/run-command.js';
import { openLayerCommand } from '../extracted-image.js';
import type { LayoutImage } from '../images/image-manifest.js';

/** Turns the whiteout files of an extracted layer into those of overlayfs. */
const convertWhiteouts = `
import os, sys
for folder, _, names in os.walk(sys.argv[1]):
    for name in names:
        if not name.startswith('.wh.'):
            continue
        os.unlink(os.path.join(folder, name))
        if name == '.wh..wh..opq':
            os.setxattr(folder, 'trusted.overlay.opaque', b'y')
        else:
            os.mknod(os.path.join(folder, name[4:]), 0o020000, 0)
`;

/**
 * An image as docker has it: each layer extracted into a directory of its own, and overlayfs of them
 * all at `target`, with a directory for changes. @param folder for the layers; the caller unmounts
 */
export async function mountLayered(
  image: LayoutImage,
  folder: string,
  target: string,
): Promise<void> {
  const lower: string[] = [];
  for (const [index, layer] of image.layers.entries()) {
    const root = join(folder, `${index}`);
    await mkdir(root, { recursive: true });
    const tar = `tar --extract --numeric-owner --xattrs --xattrs-include='*' --directory='${root}'`;
    await runCommand('bash', ['-c', `set -o pipefail; ${openLayerCommand(image, layer)} | ${tar}`]);
    await runCommand('python3', ['-c', convertWhiteouts, root]);
    lower.unshift(root);
  }
  const [upper, work] = [join(folder, 'upper'), join(folder, 'work')];
  for (const made of [upper, work, target]) await mkdir(made, { recursive: true });
  const data = `lowerdir=${lower.join(':')},upperdir=${upper},workdir=${work}`;
  await mount({ source: 'overlay', target, type: 'overlay', data });
}
