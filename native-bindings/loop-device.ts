import { ThinError } from '../src/errors.js';
import { addon } from './addon.js';
import { fromNativeError } from './native-error.js';

export interface LoopDevice {
  /** `/dev/loop<number>`. */
  readonly path: string;
  /** Close-on-exec; the caller closes it once the device is mounted. */
  readonly descriptor: number;
}

export interface LoopOptions {
  /** Bytes: a power of two from 512 to 4096; the file's size must be a multiple. */
  readonly blockSize: number;
  /** Reads past the page cache of the file, where its file system can; ignored where not. */
  readonly directIo: boolean;
}

/**
 * Makes a file a read-only block device. The kernel detaches it when the descriptor is closed and
 * nothing has it mounted any more, also when this process is killed.
 * @throws ThinError `not-found`, `denied`; `busy` if others take every free device
 */
export async function attachLoop(path: string, options: LoopOptions): Promise<LoopDevice> {
  if (path.includes('\0')) {
    throw new ThinError('invalid', 'Cannot attach a loop device: the path holds NUL');
  }
  const { blockSize, directIo } = options;
  try {
    const [descriptor, number] = await addon().attachLoop(
      Buffer.from(path),
      blockSize,
      directIo ? 1 : 0,
    );
    return { path: `/dev/loop${number}`, descriptor };
  } catch (error) {
    throw fromNativeError(`Cannot attach a loop device to ${path}`, error);
  }
}
