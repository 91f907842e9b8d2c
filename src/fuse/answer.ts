import type { ByteString } from '../byte-string.js';
import { errnoOfNamespace } from './errno.js';
import type { Namespace, NamespaceEntry } from './namespace.js';
import { isServable, writeInitReply } from './negotiate.js';
import { errno, opcodes } from './protocol.js';
import {
  listedNameBytes,
  writeAbsentEntry,
  writeAttributesReply,
  writeEntry,
  writeListedName,
  writeListedNamePlus,
  writeStatistics,
} from './reply.js';
import {
  decodeAccess,
  decodeInit,
  decodeName,
  decodeRead,
  decodeXattrSize,
  type FuseRequest,
  xattrNameOffset,
} from './request.js';

/**
 * The answer to one request: bytes of reply body written (0 or more), minus an error number, or
 * `none` for the requests that have no reply.
 */
export type Answer = number | 'none';

/** `access(2)`: the caller wants to write. */
const writeAccess = 2;

/**
 * Answers every request but READ and INTERRUPT from a namespace, at once. Never throws, whatever
 * the request's bytes are.
 * @param body where the reply's body goes; at least `readBytesMax` long
 */
export function answer(namespace: Namespace, request: FuseRequest, body: Buffer): Answer {
  if (unanswered.has(request.opcode)) return 'none';
  if (mutations.has(request.opcode)) return -errno.EROFS;
  try {
    // OPEN, OPENDIR, FLUSH and whatever is not named here: ENOSYS, which the kernel remembers.
    return answers.get(request.opcode)?.(namespace, request, body) ?? -errno.ENOSYS;
  } catch (error) {
    return -errnoOfNamespace(error);
  }
}

const unanswered: ReadonlySet<number> = new Set([
  opcodes.forget,
  opcodes.batchForget,
  opcodes.interrupt,
  opcodes.notifyReply,
]);

const mutations: ReadonlySet<number> = new Set([
  opcodes.setattr,
  opcodes.symlink,
  opcodes.mknod,
  opcodes.mkdir,
  opcodes.unlink,
  opcodes.rmdir,
  opcodes.rename,
  opcodes.rename2,
  opcodes.link,
  opcodes.write,
  opcodes.setxattr,
  opcodes.removexattr,
  opcodes.create,
  opcodes.fallocate,
  opcodes.copyFileRange,
  opcodes.tmpfile,
]);

type Handler = (namespace: Namespace, request: FuseRequest, body: Buffer) => Answer;

const answers: ReadonlyMap<number, Handler> = new Map<number, Handler>([
  [opcodes.init, answerInit],
  [opcodes.lookup, answerLookup],
  [opcodes.getattr, answerGetattr],
  [opcodes.readlink, answerReadlink],
  [opcodes.readdir, (namespace, request, body) => answerReaddir(namespace, request, body, false)],
  [
    opcodes.readdirplus,
    (namespace, request, body) => answerReaddir(namespace, request, body, true),
  ],
  [opcodes.getxattr, answerGetxattr],
  [opcodes.listxattr, answerListxattr],
  [opcodes.statfs, answerStatfs],
  [opcodes.access, answerAccess],
  [opcodes.release, () => 0],
  [opcodes.releasedir, () => 0],
  [opcodes.destroy, () => 0],
]);

function answerInit(namespace: Namespace, request: FuseRequest, body: Buffer): Answer {
  const init = decodeInit(request.body);
  if (!init || !isServable(init)) return -errno.EINVAL;
  return writeInitReply(body, init, { accessLists: namespace.xattrs !== undefined });
}

function answerLookup(namespace: Namespace, request: FuseRequest, body: Buffer): Answer {
  const name = decodeName(request.body);
  if (name === undefined) return -errno.EINVAL;
  // The kernel asks for `.` to make a node of a file handle, for nodes that are no directory too.
  const node = name === '.' ? request.node : namespace.lookup(request.node, name);
  if (node === undefined) {
    return namespace.absentNames === 'may come' ? -errno.ENOENT : writeAbsentEntry(body);
  }
  return writeEntry(body, node, namespace.attributes(node));
}

function answerGetattr(namespace: Namespace, request: FuseRequest, body: Buffer): Answer {
  return writeAttributesReply(body, namespace.attributes(request.node));
}

function answerReadlink(namespace: Namespace, request: FuseRequest, body: Buffer): Answer {
  return body.write(namespace.symlinkTarget(request.node), 'latin1');
}

function answerReaddir(
  namespace: Namespace,
  request: FuseRequest,
  body: Buffer,
  plus: boolean,
): Answer {
  const range = decodeRead(request.body);
  if (!range) return -errno.EINVAL;
  const entries = namespace.entries(request.node);
  const room = Math.min(range.size, body.length);
  let at = 0;
  for (let index = range.offset; index < entries.length; index++) {
    const entry = entries[index];
    if (!entry || at + listedNameBytes(entry.name, plus) > room) break;
    writeDirectoryEntry(namespace, body, at, entry, index, plus);
    at += listedNameBytes(entry.name, plus);
  }
  return at;
}

function writeDirectoryEntry(
  namespace: Namespace,
  body: Buffer,
  at: number,
  entry: NamespaceEntry,
  index: number,
  plus: boolean,
): void {
  const listed = { ...entry, next: index + 1 };
  const { node } = entry;
  if (!plus) {
    writeListedName(body, at, listed);
    return;
  }
  const found = node === undefined ? undefined : { node, attributes: namespace.attributes(node) };
  writeListedNamePlus(body, at, listed, found);
}

function answerGetxattr(namespace: Namespace, request: FuseRequest, body: Buffer): Answer {
  if (!namespace.xattrs) return -errno.ENOSYS;
  const size = decodeXattrSize(request.body);
  const name = decodeName(request.body, xattrNameOffset);
  if (size === undefined || name === undefined) return -errno.EINVAL;
  const value = namespace.xattrs(request.node).get(name);
  if (!value) return -errno.ENODATA;
  return answerSized(body, size, value.length, () => value.copy(body));
}

function answerListxattr(namespace: Namespace, request: FuseRequest, body: Buffer): Answer {
  if (!namespace.xattrs) return -errno.ENOSYS;
  const size = decodeXattrSize(request.body);
  if (size === undefined) return -errno.EINVAL;
  const list = [...namespace.xattrs(request.node).keys()].map(withNul).join('');
  return answerSized(body, size, list.length, () => body.write(list, 'latin1'));
}

/** `fuse_getxattr_out` if only the size was asked for, else the bytes themselves. */
function answerSized(body: Buffer, asked: number, length: number, write: () => number): Answer {
  if (asked === 0) {
    body.writeUInt32LE(length, 0);
    body.writeUInt32LE(0, 4);
    return 8;
  }
  return length > asked ? -errno.ERANGE : write();
}

function withNul(name: ByteString): string {
  return `${name}\0`;
}

function answerStatfs(namespace: Namespace, _: FuseRequest, body: Buffer): Answer {
  const { inodes, bytes } = namespace.statistics();
  return writeStatistics(body, inodes, bytes);
}

function answerAccess(_: Namespace, request: FuseRequest): Answer {
  const mask = decodeAccess(request.body);
  if (mask === undefined) return -errno.EINVAL;
  return mask & writeAccess ? -errno.EROFS : 0;
}
