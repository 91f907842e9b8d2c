import t from 'tap';
import { byteStringFromText as name } from '../../src/byte-string.js';
import { errno, initFlags, opcodes, readBytesMax } from '../../src/fuse/protocol.js';
import { decodeRequest } from '../../src/fuse/request.js';
import { type ForwardedRead, respond, type ServeHooks } from '../../src/fuse/serve.js';
import { TreeNamespace } from '../../src/fuse/tree-namespace.js';
import { ErofsImage } from '../../src/metadata/erofs-image.js';
import { writeErofs } from '../../src/metadata/erofs-writer.js';
import fc from '../support/properties.js';
import {
  encodeRequest,
  initBody,
  nameBody,
  type RequestParts,
  readBody,
  xattrBody,
} from './fuse-requests.js';
import { type Contents, directory, file, tortureTree } from './torture-tree.js';

const metadata = writeErofs(tortureTree(new Map()));
const body = Buffer.alloc(readBytesMax);

class RecordingHooks implements ServeHooks {
  readonly reads: ForwardedRead[] = [];
  readonly interrupts: bigint[] = [];
  readLocal(): boolean {
    return false;
  }
  forwardRead(read: ForwardedRead): void {
    this.reads.push(read);
  }
  interrupt(unique: bigint): void {
    this.interrupts.push(unique);
  }
  initialized(): void {}
  stopped(): boolean {
    return false;
  }
}

function ask(parts: RequestParts, image = metadata, hooks = new RecordingHooks()) {
  const request = decodeRequest(encodeRequest(parts));
  if (!request) throw new Error('no request');
  const namespace = new TreeNamespace(ErofsImage.parse(image), 'image');
  return { result: respond(namespace, hooks, request, body), hooks };
}

/** Node id and inode number of a LOOKUP's answer. */
function lookup(parent: bigint, child: string): { node: bigint; inode: bigint } {
  const { result } = ask({ opcode: opcodes.lookup, node: parent, body: nameBody(child) });
  if (result !== 128) throw new Error(`LOOKUP of ${child} was answered ${result}`);
  return { node: body.readBigUInt64LE(0), inode: body.readBigUInt64LE(40) };
}

t.test('INIT: the flags both sides know, and a kernel that is too old', async (t) => {
  const needed = initFlags.noOpenSupport | initFlags.noOpendirSupport;
  const init = (major: number, minor: number, flags: number) =>
    ask({ opcode: opcodes.init, body: initBody(major, minor, flags) }).result;
  t.equal(init(7, 45, 0xffff_ffff), 64);
  t.strictSame([body.readUInt32LE(0), body.readUInt32LE(4)], [7, 38]);
  const flags = body.readUInt32LE(12);
  t.equal(flags & needed, needed);
  t.equal(flags & (1 << 16), 0, 'no write-back cache');
  t.equal(body.readUInt16LE(28), 256, 'pages of one read');
  t.equal(init(7, 31, needed), 64);
  t.strictSame([body.readUInt32LE(4), body.readUInt32LE(12)], [31, needed]);
  t.equal(init(7, 28, needed), -errno.EINVAL, 'older than Linux 5.1');
  t.equal(init(7, 45, initFlags.noOpenSupport), -errno.EINVAL, 'without NO_OPENDIR');
  t.equal(init(6, 45, needed), -errno.EINVAL);
  t.equal(init(8, 1, 0), 64, 'a newer kernel asks again');
  t.equal(body.readUInt32LE(0), 7);
});

t.test('node ids are the same for every server of an image, 1 is the root', async (t) => {
  const image = ErofsImage.parse(metadata);
  const bin = lookup(1n, 'bin');
  t.equal(bin.node, BigInt(image.lookup(image.rootNid, name('bin')) ?? 0));
  t.equal(bin.inode, bin.node);
  t.strictSame(lookup(bin.node, '..'), { node: 1n, inode: BigInt(image.rootNid) });
  t.strictSame(lookup(bin.node, '.'), bin);
  const script = lookup(bin.node, 'script');
  t.strictSame(lookup(script.node, '.'), script, 'of a file too, for file handles');
  t.strictSame(lookup(1n, 'link-a'), lookup(1n, 'link-c'));
  t.equal(lookup(1n, 'absent').node, 0n, 'which the kernel remembers');
});

t.test('requests about nodes that are none', async (t) => {
  const beyond = BigInt(metadata.length);
  for (const node of [0n, beyond, 2n ** 53n, 2n ** 64n - 1n]) {
    const stale = { node, result: -errno.ESTALE };
    const result = (parts: RequestParts) => ({ node, result: ask({ ...parts, node }).result });
    t.strictSame(result({ opcode: opcodes.getattr, body: Buffer.alloc(16) }), stale);
    t.strictSame(result({ opcode: opcodes.lookup, body: nameBody('x') }), stale);
    t.strictSame(result({ opcode: opcodes.readlink }), stale);
    t.strictSame(result({ opcode: opcodes.readdir, body: readBody(0n, 4096) }), stale);
    t.strictSame(result({ opcode: opcodes.listxattr, body: xattrBody(0, '') }), stale);
    t.strictSame(result({ opcode: opcodes.read, body: readBody(0n, 4096) }), stale);
  }
});

t.test('reads are cut at the end of the file', async (t) => {
  const contents: Contents = new Map();
  const size = 2 ** 33 + 5;
  const large = { ...file(contents, Buffer.from('x')), size };
  const image = writeErofs(
    directory([
      [name('large'), large],
      [name('empty'), file(contents, Buffer.alloc(0))],
    ]),
  );
  const parsed = ErofsImage.parse(image);
  const node = (child: string) => BigInt(parsed.lookup(parsed.rootNid, name(child)) ?? 0);
  const read = (child: string, offset: bigint, length: number) => {
    const parts = { opcode: opcodes.read, node: node(child), body: readBody(offset, length) };
    const { result, hooks } = ask(parts, image);
    const [forwarded] = hooks.reads;
    return forwarded ? [forwarded.offset, forwarded.length] : result;
  };
  t.strictSame(read('large', 0n, 4096), [0, 4096]);
  t.strictSame(read('large', 2n ** 33n, 4096), [2 ** 33, 5]);
  t.strictSame(read('large', 1n, 2 ** 32 - 1), [1, readBytesMax], 'no more than a reply holds');
  t.equal(read('large', 2n ** 33n + 5n, 4096), 0);
  t.equal(read('large', 2n ** 63n - 1n, 4096), 0);
  t.equal(read('large', 5n, 0), 0);
  t.equal(read('empty', 0n, 4096), 0);
  t.equal(ask({ opcode: opcodes.read, body: readBody(0n, 10) }).result, 0, 'a directory');
});

t.test('listings fit the size that was asked for and go on where they stopped', async (t) => {
  const many = lookup(1n, 'many').node;
  for (const opcode of [opcodes.readdir, opcodes.readdirplus]) {
    const names: string[] = [];
    let offset = 0n;
    for (;;) {
      const size = 777;
      const { result } = ask({ opcode, node: many, body: readBody(offset, size) });
      if (result === 0 || typeof result !== 'number') break;
      t.ok(result > 0 && result <= size);
      const head = opcode === opcodes.readdirplus ? 128 : 0;
      for (let at = 0; at < result; ) {
        const length = body.readUInt32LE(at + head + 16);
        offset = body.readBigUInt64LE(at + head + 8);
        names.push(body.toString('latin1', at + head + 24, at + head + 24 + length));
        at += Math.ceil((head + 24 + length) / 8) * 8;
      }
    }
    t.equal(new Set(names).size, 1002);
    t.equal(names.length, 1002);
    t.strictSame(names.slice(0, 2), ['.', '..']);
  }
});

t.test('xattrs: the size, the value, too small a buffer, none', async (t) => {
  const node = lookup(lookup(1n, 'xattrs').node, 'user').node;
  const get = (size: number, key: string) =>
    ask({ opcode: opcodes.getxattr, node, body: xattrBody(size, key) }).result;
  t.equal(get(0, 'user.a'), 8);
  t.equal(body.readUInt32LE(0), 1500);
  t.equal(get(1500, 'user.a'), 1500);
  t.equal(get(1499, 'user.a'), -errno.ERANGE);
  t.equal(get(1, 'user.b'), 0, 'an empty value');
  t.equal(get(100, 'user.c'), -errno.ENODATA);
  t.equal(get(100, 'trusted.overlay.redirect'), -errno.ENODATA, 'ours stay ours');
  t.equal(ask({ opcode: opcodes.listxattr, node, body: xattrBody(64, '') }).result, 14);
  t.equal(body.toString('latin1', 0, 14), 'user.a\0user.b\0');
});

t.test('every opcode has its fixed answer', async (t) => {
  const result = (opcode: number) => ask({ opcode, body: Buffer.alloc(64) }).result;
  const { forget, batchForget, notifyReply } = opcodes;
  for (const opcode of [forget, batchForget, notifyReply]) t.equal(result(opcode), 'none');
  for (const opcode of [4, 6, 8, 9, 10, 11, 12, 13, 16, 21, 24, 35, 43, 45, 47, 51]) {
    t.equal(result(opcode), -errno.EROFS, `opcode ${opcode} changes`);
  }
  for (const opcode of [opcodes.open, opcodes.opendir, 25, 20, 30, 39, 40, 46, 52, 4096, 2 ** 31]) {
    t.equal(result(opcode), -errno.ENOSYS, `opcode ${opcode}`);
  }
  const access = (mask: number) =>
    ask({ opcode: opcodes.access, body: Buffer.from([mask, 0, 0, 0, 0, 0, 0, 0]) }).result;
  t.strictSame([access(4), access(2)], [0, -errno.EROFS]);
  const { hooks } = ask({ opcode: opcodes.interrupt, body: Buffer.alloc(8, 1) });
  t.strictSame(hooks.interrupts, [0x0101010101010101n]);
});

const anyOpcode = fc.oneof(
  fc.constantFrom(...Object.values(opcodes)),
  fc.nat({ max: 2 ** 32 - 1 }),
);
const anyNode = fc.oneof(
  fc.constant(1n),
  fc.bigInt({ min: 0n, max: BigInt(metadata.length / 32) }),
  fc.bigInt({ min: 0n, max: 2n ** 64n - 1n }),
);

t.test('any request at all gets an answer that fits, and never throws', async () => {
  const bodies = fc.oneof(
    fc.uint8Array({ maxLength: 80 }).map((bytes) => Buffer.from(bytes)),
    fc
      .tuple(fc.bigInt({ min: 0n, max: 2n ** 64n - 1n }), fc.nat({ max: 2 ** 32 - 1 }))
      .map(([offset, size]) => readBody(offset, size)),
  );
  fc.assert(
    fc.property(anyOpcode, anyNode, bodies, (opcode, node, bytes) => {
      const { result } = ask({ opcode, node, body: bytes });
      if (result !== 'none' && !(result > -200 && result <= readBytesMax))
        throw new Error(`${result}`);
    }),
    { numRuns: 3000 },
  );
});

t.test('any bytes are a request or none', async () => {
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 120 }), (bytes) => {
      const request = decodeRequest(Buffer.from(bytes));
      if (request && request.body.length > bytes.length - 40) throw new Error('beyond its bytes');
    }),
    { numRuns: 3000 },
  );
});

t.test('damaged metadata is an error number, never more', async () => {
  fc.assert(
    fc.property(
      fc.array(
        fc.tuple(fc.integer({ min: 1152, max: metadata.length - 1 }), fc.nat({ max: 255 })),
        {
          maxLength: 200,
        },
      ),
      fc.constantFrom(
        opcodes.getattr,
        opcodes.readdirplus,
        opcodes.readlink,
        opcodes.read,
        opcodes.listxattr,
      ),
      anyNode,
      (changes, opcode, node) => {
        const damaged = Buffer.from(metadata);
        for (const [at, byte] of changes) damaged[at] = byte;
        try {
          ErofsImage.parse(damaged);
        } catch {
          return; // seen at mount
        }
        const { result } = ask({ opcode, node, body: readBody(0n, 65_536) }, damaged);
        if (result !== 'none' && !(result > -200 && result <= readBytesMax))
          throw new Error(`${result}`);
      },
    ),
    { numRuns: 1000 },
  );
});
