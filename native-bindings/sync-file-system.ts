import { ThinError } from '../src/errors.js';
import { addon } from './addon.js';
import { fromNativeError } from './native-error.js';

/**
 * syncfs(2): waits until all that was written to the file system that holds `path` is on its disk.
 * @throws ThinError `unavailable` if a write failed since the last call, `no-space`, `not-found`
 */
export async function syncFileSystem(path: string): Promise<void> {
  if (path.includes('\0')) throw new ThinError('invalid', 'Cannot sync: the path holds NUL');
  try {
    await addon().syncFileSystem(Buffer.from(path));
  } catch (error) {
    throw fromNativeError(`Cannot sync the file system of ${path}`, error);
  }
}
