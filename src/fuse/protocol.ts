/**
 * Numbers of the FUSE kernel protocol 7, as far as a read-only server needs them. All integers are
 * in the machine's byte order; we run on little-endian machines only.
 * @see https://github.com/torvalds/linux/blob/v6.6/include/uapi/linux/fuse.h
 */
export const protocolMajor = 7;
/** The newest minor version whose rules this code follows; the kernel speaks older ones down to. */
export const protocolMinor = 38;
/** Linux 5.1. Older kernels have no FUSE_NO_OPENDIR_SUPPORT and shorter replies. */
export const protocolMinorMin = 29;

/** Node id of the root directory. */
export const rootNode = 1;

export const opcodes = {
  lookup: 1,
  forget: 2,
  getattr: 3,
  setattr: 4,
  readlink: 5,
  symlink: 6,
  mknod: 8,
  mkdir: 9,
  unlink: 10,
  rmdir: 11,
  rename: 12,
  link: 13,
  open: 14,
  read: 15,
  write: 16,
  statfs: 17,
  release: 18,
  setxattr: 21,
  getxattr: 22,
  listxattr: 23,
  removexattr: 24,
  init: 26,
  opendir: 27,
  readdir: 28,
  releasedir: 29,
  access: 34,
  create: 35,
  interrupt: 36,
  destroy: 38,
  notifyReply: 41,
  batchForget: 42,
  fallocate: 43,
  readdirplus: 44,
  rename2: 45,
  copyFileRange: 47,
  tmpfile: 51,
} as const;

/** Bits of `fuse_init_in.flags` and `fuse_init_out.flags`. */
export const initFlags = {
  asyncRead: 1 << 0,
  exportSupport: 1 << 4,
  doReaddirplus: 1 << 13,
  noOpenSupport: 1 << 17,
  parallelDirops: 1 << 18,
  posixAcl: 1 << 20,
  maxPages: 1 << 22,
  cacheSymlinks: 1 << 23,
  noOpendirSupport: 1 << 24,
} as const;

/** Bytes of the fixed structures that start every request and every reply. */
export const requestHeaderBytes = 40;
export const replyHeaderBytes = 16;

/** Bytes of one page, the unit of `fuse_init_out.max_pages`. */
const pageBytes = 4096;
/** Pages of one READ: the kernel's own limit before Linux 6.13 and its default after. */
export const readPagesMax = 256;
/** Bytes of one READ, and so of the longest reply's body. */
export const readBytesMax = readPagesMax * pageBytes;
/** Bytes of one WRITE: the least the kernel accepts, as nothing is ever written. */
export const writeBytesMax = 4096;
/** Bytes of the longest request: a SETXATTR with a value of 64 KiB, which we then refuse. */
export const requestBytesMax = 64 * 1024 + 4096;

/** Linux error numbers that we answer with (the same on x86-64 and arm64). */
export const errno = {
  ENOENT: 2,
  EINTR: 4,
  EIO: 5,
  EACCES: 13,
  ENOTDIR: 20,
  EINVAL: 22,
  ENOSPC: 28,
  EROFS: 30,
  ERANGE: 34,
  ENOSYS: 38,
  ENODATA: 61,
  ESTALE: 116,
} as const;
