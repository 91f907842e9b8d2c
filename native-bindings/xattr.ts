import { type ByteString, byteString, byteStringToBuffer } from '../src/byte-string.js';
import { ThinError } from '../src/errors.js';
import { addon } from './addon.js';
import { fromNativeError } from './native-error.js';

/** Names of the extended attributes of `path` itself, not of what a symbolic link there names. */
export async function listXattrs(path: Buffer): Promise<ByteString[]> {
  checkText(path);
  try {
    const list = byteString(await addon().listXattrs(path));
    return list.split('\0').slice(0, -1) as ByteString[];
  } catch (error) {
    throw fromNativeError(`Cannot list xattrs of ${path}`, error);
  }
}

/** Value of one extended attribute of `path` itself; undefined if it has none of that name. */
export async function getXattr(path: Buffer, name: ByteString): Promise<Buffer | undefined> {
  checkText(path, byteStringToBuffer(name));
  try {
    return await addon().getXattr(path, byteStringToBuffer(name));
  } catch (error) {
    throw fromNativeError(`Cannot read xattr ${name} of ${path}`, error);
  }
}

/** Makes or replaces one extended attribute of `path` itself. */
export async function setXattr(path: Buffer, name: ByteString, value: Buffer): Promise<void> {
  checkText(path, byteStringToBuffer(name));
  try {
    await addon().setXattr(path, byteStringToBuffer(name), value);
  } catch (error) {
    throw fromNativeError(`Cannot write xattr ${name} of ${path}`, error);
  }
}

function checkText(...texts: Buffer[]): void {
  if (texts.some((text) => text.length === 0 || text.includes(0))) {
    throw new ThinError('invalid', 'Cannot use xattrs: a path or name is empty or holds NUL');
  }
}
