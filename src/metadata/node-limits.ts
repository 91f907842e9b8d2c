import { type ByteString, displayByteString } from '../byte-string.js';
import type { Attributes, Device, TreeNode } from '../image/tree.js';
import { limits } from '../limits.js';
import { fileSizeMax } from './erofs-layout.js';
import { escapeXattr } from './overlay-xattrs.js';

const uint32Max = 0xffffffff;
/** What Linux keeps of a device number: 12 and 20 bits. */
const majorMax = 0xfff;
const minorMax = 0xfffff;
/** Bytes of an xattr's full name, as Linux has it. */
const xattrNameBytesMax = 255;

// biome-ignore lint/suspicious/noControlCharactersInRegex: NUL is what is looked for
const nameGrammar = /^[^\x00/\u0100-\uffff]+$/;
// biome-ignore lint/suspicious/noControlCharactersInRegex: NUL is what is looked for
const bytesGrammar = /^[^\x00\u0100-\uffff]+$/;

/** What keeps `name` from being a name in a directory, undefined if nothing does. */
export function problemOfName(name: ByteString): string | undefined {
  if (name.length > limits.nameBytesMax) {
    return `its name has ${name.length} bytes (wanted at most ${limits.nameBytesMax})`;
  }
  if (name === '.' || name === '..' || !nameGrammar.test(name)) {
    return 'its name is not one (wanted no NUL, no /, not . or .., not empty)';
  }
  return undefined;
}

/** What keeps an inode from being written, its children aside; undefined if nothing does. */
export function problemOfNode(node: TreeNode): string | undefined {
  return problemOfAttributes(node) ?? problemOfContent(node);
}

function problemOfAttributes(node: Attributes): string | undefined {
  const { seconds, nanoseconds } = node.mtime;
  return (
    outside('mode', node.mode, 0o7777) ??
    outside('uid', node.uid, uint32Max) ??
    outside('gid', node.gid, uint32Max) ??
    outside('nanoseconds', nanoseconds, 999_999_999) ??
    (Number.isSafeInteger(seconds) ? undefined : `its mtime is ${seconds} s (wanted an integer)`) ??
    problemOfXattrs(node.xattrs)
  );
}

function problemOfContent(node: TreeNode): string | undefined {
  switch (node.type) {
    case 'file':
      return outside('size', node.size, fileSizeMax);
    case 'symlink':
      return problemOfTarget(node.target);
    case 'character':
    case 'block':
      return problemOfDevice(node.device);
    default:
      return undefined;
  }
}

function problemOfTarget(target: ByteString): string | undefined {
  if (target.length <= limits.linkTargetBytesMax && bytesGrammar.test(target)) return undefined;
  const wanted = `wanted 1 to ${limits.linkTargetBytesMax} without NUL`;
  return `its link target has ${target.length} bytes (${wanted})`;
}

function problemOfDevice({ major, minor }: Device): string | undefined {
  return outside('major number', major, majorMax) ?? outside('minor number', minor, minorMax);
}

function problemOfXattrs(xattrs: ReadonlyMap<ByteString, Buffer>): string | undefined {
  let listBytes = 0;
  for (const [name, value] of xattrs) {
    const nameBytes = escapeXattr(name).length;
    if (nameBytes > xattrNameBytesMax || !bytesGrammar.test(name)) {
      const wanted = `wanted 1 to ${xattrNameBytesMax} without NUL`;
      return `the name of one of its xattrs has ${nameBytes} bytes in the image (${wanted})`;
    }
    listBytes += nameBytes + 1;
    // The field has 16 bits; Linux takes one byte more.
    if (value.length >= limits.xattrValueBytesMax) {
      return `its xattr ${displayByteString(name)} has ${value.length} bytes (wanted fewer than ${limits.xattrValueBytesMax})`;
    }
  }
  if (listBytes <= limits.xattrListBytesMax) return undefined;
  return `its xattr names take ${listBytes} bytes (wanted at most ${limits.xattrListBytesMax})`;
}

function outside(field: string, value: number, max: number): string | undefined {
  if (Number.isInteger(value) && value >= 0 && value <= max) return undefined;
  return `its ${field} is ${value} (wanted 0 to ${max})`;
}
