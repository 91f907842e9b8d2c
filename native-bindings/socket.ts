import { ThinError } from '../src/errors.js';
import { addon } from './addon.js';
import { fromNativeError } from './native-error.js';

/** Milliseconds that a sender has: fusermount sends as soon as the kernel has mounted. */
const receiveTimeoutMs = 10_000;

/** Two connected UNIX stream sockets, close-on-exec. The caller closes both. */
export function socketPair(): [number, number] {
  try {
    return addon().socketPair();
  } catch (error) {
    throw fromNativeError('Cannot make a socket pair', error);
  }
}

/**
 * The descriptor that the next message on `socket` carries (SCM_RIGHTS), close-on-exec. The caller
 * closes it.
 * @param timeoutMs a thread of the libuv pool is taken for as long
 * @throws ThinError `unavailable` if there is none in time, or the sender closed its end
 */
export async function receiveFd(socket: number, timeoutMs = receiveTimeoutMs): Promise<number> {
  if (!isInt32(socket) || !isInt32(timeoutMs)) {
    throw new ThinError('invalid', `Cannot receive from socket ${socket} in ${timeoutMs} ms`);
  }
  try {
    return await addon().receiveFd(socket, timeoutMs);
  } catch (error) {
    throw fromNativeError('Cannot receive a file descriptor', error);
  }
}

function isInt32(number: number): boolean {
  return Number.isInteger(number) && number >= 0 && number < 2 ** 31;
}
