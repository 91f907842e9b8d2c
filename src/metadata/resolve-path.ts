import { type ByteString, displayByteString } from '../byte-string.js';
import { ThinError } from '../errors.js';
import { limits } from '../limits.js';
import type { ErofsImage } from './erofs-image.js';

/** Symlinks followed in one path, as Linux has it (MAXSYMLINKS). */
const linksMax = 40;

/**
 * The inode number of a path in an image. Symlinks, absolute ones too, are resolved inside the
 * image, and `..` of the root is the root. A path that ends in `/` must be a directory.
 * @throws ThinError `not-found` if there is no such path; `invalid` if it is too long or a loop
 */
export function resolvePath(
  image: ErofsImage,
  path: ByteString,
  options: { readonly followLast: boolean },
): number {
  const fail = failures(path);
  if (path.length > limits.pathBytesMax) {
    throw fail('invalid', `it has ${path.length} bytes (wanted at most ${limits.pathBytesMax})`);
  }
  /** Directories from the root to where the walk is; the last may be any inode. */
  const trail = [image.rootNid];
  /** Components still to be walked, the next one last. */
  const pending = componentsOf(path);
  let links = 0;
  for (let name = pending.pop(); name !== undefined; name = pending.pop()) {
    const at = trail.at(-1) ?? image.rootNid;
    if (image.inode(at).type !== 'directory') {
      throw fail('not-found', `what is before ${quoted(name)} is no directory`);
    }
    if (name === '.') continue;
    if (name === '..') {
      if (trail.length > 1) trail.pop();
      continue;
    }
    const found = image.lookup(at, name);
    if (found === undefined) throw fail('not-found', `${quoted(name)} does not exist`);
    const follow = options.followLast || pending.length > 0;
    if (!follow || image.inode(found).type !== 'symlink') {
      trail.push(found);
      continue;
    }
    if (++links > linksMax)
      throw fail('invalid', `it leads through more than ${linksMax} symlinks`);
    const target = image.readlink(found);
    if (target.startsWith('/')) trail.length = 1;
    pending.push(...componentsOf(target));
  }
  return trail.at(-1) ?? image.rootNid;
}

/** The components of a path, last first; a `/` at its end is one more `.`. */
function componentsOf(path: ByteString): ByteString[] {
  const names = path.split('/').filter((name) => name !== '') as ByteString[];
  if (path.endsWith('/')) names.push('.' as ByteString);
  return names.reverse();
}

function failures(path: ByteString): (code: 'invalid' | 'not-found', what: string) => ThinError {
  return (code, what) =>
    new ThinError(code, `Cannot find ${displayByteString(path)} in the image: ${what}`);
}

function quoted(name: ByteString): string {
  return JSON.stringify(displayByteString(name));
}
