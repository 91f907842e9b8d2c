/** Requests as the kernel writes them, for tests of the protocol without a kernel. */
export interface RequestParts {
  readonly opcode: number;
  readonly unique?: bigint;
  readonly node?: bigint;
  readonly pid?: number;
  readonly body?: Buffer;
}

/** `fuse_in_header` and a body. */
export function encodeRequest(parts: RequestParts): Buffer {
  const body = parts.body ?? Buffer.alloc(0);
  const header = Buffer.alloc(40);
  header.writeUInt32LE(40 + body.length, 0);
  header.writeUInt32LE(parts.opcode, 4);
  header.writeBigUInt64LE(parts.unique ?? 2n, 8);
  header.writeBigUInt64LE(parts.node ?? 1n, 16);
  header.writeUInt32LE(parts.pid ?? 0, 32);
  return Buffer.concat([header, body]);
}

/** `fuse_read_in`, of READ, READDIR and READDIRPLUS. */
export function readBody(offset: bigint, size: number): Buffer {
  const body = Buffer.alloc(40);
  body.writeBigUInt64LE(offset, 8);
  body.writeUInt32LE(size, 16);
  return body;
}

/** `fuse_getxattr_in` and a name, with its NUL. */
export function xattrBody(size: number, name: string): Buffer {
  const head = Buffer.alloc(8);
  head.writeUInt32LE(size, 0);
  return Buffer.concat([head, Buffer.from(`${name}\0`, 'latin1')]);
}

export function nameBody(name: string): Buffer {
  return Buffer.from(`${name}\0`, 'latin1');
}

/** `fuse_init_in` */
export function initBody(major: number, minor: number, flags: number): Buffer {
  const body = Buffer.alloc(64);
  body.writeUInt32LE(major, 0);
  body.writeUInt32LE(minor, 4);
  body.writeUInt32LE(131_072, 8);
  body.writeUInt32LE(flags >>> 0, 12);
  return body;
}
