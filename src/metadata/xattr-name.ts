import type { ByteString } from '../byte-string.js';
import { xattrPrefixes } from './erofs-layout.js';

/** An xattr's name as an image has it: the number of its start, and the rest. */
export interface XattrName {
  readonly prefix: number;
  readonly name: ByteString;
}

/** Undefined for a name that no file on Linux can have: of another namespace, or only its start. */
export function splitXattrName(fullName: ByteString): XattrName | undefined {
  for (const [prefix, start] of xattrPrefixes) {
    if (!fullName.startsWith(start)) continue;
    const name = fullName.slice(start.length) as ByteString;
    // `user.` alone is no name; the ACL names are whole, and nothing may follow them.
    return (name === '') === start.endsWith('.') ? undefined : { prefix, name };
  }
  return undefined;
}
