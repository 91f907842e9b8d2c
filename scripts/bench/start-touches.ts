import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { parseImageConfig } from '../../src/image/image-config.js';
import { findAccount, type ReadImageFile } from '../../src/mount/account.js';
import { commandLine } from '../../src/mount/container-process.js';
import { extractQuickly, makeBundle, runBundle } from '../extracted-image.js';
import { ensureImage } from '../images/image-cache.js';
import { readImage } from '../images/image-manifest.js';
import { blobPath } from '../images/oci-layout.js';
import type { StartProgram } from './start-programs.js';
import { type TouchedRanges, touchedRanges } from './touched-frames.js';

/**
 * Pages that a start of a program touches, run as its image's user on an extracted tree.
 * @param scratch a folder on a file system of its own, where nothing of this is yet
 */
export async function startTouches(
  { image: name, words: command, ...over }: StartProgram,
  scratch: string,
): Promise<TouchedRanges> {
  const image = await readImage(await ensureImage(name));
  const { config = {} } = parseImageConfig(
    await readFile(blobPath(image.layout, image.config.digest)),
  );
  const [tree, bundle] = [join(scratch, 'tree'), join(scratch, 'bundle')];
  await extractQuickly(image, tree);
  const args = commandLine(config, { command, ...over });
  await makeBundle(bundle, tree, args, {
    env: config.Env ?? [],
    cwd: config.WorkingDir || '/',
    readonly: false,
    ...(config.User && { user: await findAccount(config.User, readOf(tree)) }),
  });
  const id = `thinfs-bench-${process.pid}`;
  return await touchedRanges(tree, () => runBundle(bundle, id));
}

function readOf(tree: string): ReadImageFile {
  return (path) => readFile(join(tree, path));
}
