import { posix } from 'node:path';
import { variable } from './command-files.js';
import type { ImageFiles } from './image-files.js';

const folder = '/usr/lib/locale';
/** All locales but those with a folder of their own. */
const archive = posix.join(folder, 'locale-archive');

/**
 * What the C library reads for a program that takes its language from the environment, and to
 * convert its texts.
 * @see https://man7.org/linux/man-pages/man7/locale.7.html
 */
export function localeFiles(files: ImageFiles, env: readonly string[]): string[] {
  const names = ['LC_ALL', 'LC_CTYPE', 'LANG'].map((name) => variable(env, name) ?? '');
  const name = names.find((value) => value !== '');
  if (name === undefined || name === 'C' || name === 'POSIX') return [];
  const wanted = plain(name);
  const found = files.names(folder).find((entry) => plain(entry) === wanted);
  const own = found === undefined ? undefined : posix.join(folder, found);
  const parts = own === undefined ? [] : files.names(own).filter((part) => part.startsWith('LC_'));
  const libraries = files.names('/usr/lib').filter((entry) => entry.endsWith('-linux-gnu'));
  return [
    ...(own === undefined ? [archive] : parts.map((part) => posix.join(own, part))),
    ...libraries.map((entry) => posix.join('/usr/lib', entry, 'gconv/gconv-modules.cache')),
  ];
}

/** The same for `C.UTF-8` and `C.utf8`. */
function plain(name: string): string {
  return name.toLowerCase().replaceAll('-', '');
}
