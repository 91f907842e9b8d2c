import { type Digest, digestFromBytes, digestSize } from '../src/digest.js';
import { addon, type HashHandle } from './addon.js';
import { fromNativeError } from './native-error.js';

/** SHA-256 of bytes that come one after the other, on another thread. */
export class HashStream {
  readonly #handle: HashHandle;

  /** @throws ThinError `unavailable` where the addon is missing */
  constructor() {
    this.#handle = addon().hashOpen();
  }

  /**
   * One call at a time.
   * @param bytes must not change until the promise is settled
   * @throws ThinError `invalid` while another call goes on, and after `digest`
   */
  async update(bytes: Buffer): Promise<void> {
    try {
      await addon().hashUpdate(this.#handle, bytes);
    } catch (error) {
      throw fromNativeError('Cannot hash bytes', error);
    }
  }

  /** Of all bytes that were given. To be asked once. @throws ThinError `invalid` as `update` does */
  digest(): Digest {
    const digest = Buffer.alloc(digestSize);
    try {
      addon().hashDigest(this.#handle, digest);
    } catch (error) {
      throw fromNativeError('Cannot hash bytes', error);
    }
    return digestFromBytes(digest);
  }
}
