import { createHash } from 'node:crypto';
import { existsSync } from 'node:fs';
import { mkdir } from 'node:fs/promises';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { runCommand } from '../../test/support/run-command.js';
import { type ImageName, recipes } from './recipes.js';
import { tortureArchives } from './torture-archives.js';

/** Counted up when the same recipe gives other bytes, because the building itself changed. */
const builderVersion = 1;

/** Builds at once. Each keeps a core busy, and up to 1 GiB of memory. */
const buildsMax = 2;

const builder = fileURLToPath(new URL('./build-image.ts', import.meta.url));

/** Where built images are kept from run to run; safe to delete. */
export function imageCacheFolder(): string {
  const user = process.env.XDG_CACHE_HOME;
  return user ? join(user, 'thinfs-images') : '/var/cache/thinfs-images';
}

/** The OCI layout of an image: the same path as long as its recipe stays the same. */
export function layoutPath(name: ImageName): string {
  return join(imageCacheFolder(), `${name}-${recipeKey(name)}`);
}

/**
 * Builds an image if it is not there yet, and returns its OCI layout.
 *
 * The building process has mount and process namespaces of its own, and works in memory: when it is
 * killed, the kernel takes back all that it mounted and started. A lock, which the kernel gives back
 * in the same way, makes a second builder of the same image wait and then find it finished.
 */
export async function ensureImage(name: ImageName): Promise<string> {
  const layout = layoutPath(name);
  if (existsSync(layout)) return layout;
  const { foundation } = recipes[name];
  if ('image' in foundation) await ensureImage(foundation.image);
  await mkdir(imageCacheFolder(), { recursive: true });
  const alone = ['--mount', '--pid', '--fork', '--kill-child', '--mount-proc'];
  const build = [process.execPath, `--import=${import.meta.resolve('tsx')}`, builder, name];
  await runCommand('flock', [`${layout}.lock`, 'unshare', ...alone, ...build]);
  return layout;
}

/** Builds the missing ones of several images, and calls `built` for each that is there. */
export async function ensureImages(
  names: readonly ImageName[],
  built: (name: ImageName, layout: string) => void,
): Promise<void> {
  const waiting = [...names];
  const build = async (): Promise<void> => {
    for (let name = waiting.shift(); name; name = waiting.shift()) {
      built(name, await ensureImage(name));
    }
  };
  await Promise.all(Array.from({ length: buildsMax }, build));
}

function recipeKey(name: ImageName): string {
  const recipe = recipes[name];
  const { foundation } = recipe;
  const hash = createHash('sha256').update(JSON.stringify([builderVersion, recipe]));
  if ('image' in foundation) hash.update(recipeKey(foundation.image));
  if ('archives' in foundation) for (const tar of tortureArchives()) hash.update(tar);
  return hash.digest('hex').slice(0, 16);
}
