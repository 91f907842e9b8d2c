import t from 'tap';
import { byteStringFromText } from '../../src/byte-string.js';
import { type Digest, digestOf } from '../../src/digest.js';
import { makeFileList } from '../../src/fuse/make-file-list.js';
import { ObjectNamespace } from '../../src/fuse/object-namespace.js';
import { errno, initFlags, opcodes, readBytesMax } from '../../src/fuse/protocol.js';
import { decodeRequest } from '../../src/fuse/request.js';
import { respond, type ServeHooks } from '../../src/fuse/serve.js';
import fc from '../support/properties.js';
import { encodeRequest, initBody, nameBody, type RequestParts, readBody } from './fuse-requests.js';

const image = digestOf(Buffer.from('an image'));
const refs = Array.from({ length: 2000 }, (_, at) => ({
  content: digestOf(Buffer.from(`file ${at}`)),
  size: at === 7 ? 2 ** 33 + 5 : at,
}));
const list = await makeFileList(image, refs);
const namespace = new ObjectNamespace();
namespace.add(list);
const body = Buffer.alloc(readBytesMax);

function ask(parts: RequestParts, forwarded: unknown[] = []) {
  const hooks: ServeHooks = {
    readLocal: () => false,
    forwardRead: (read) => forwarded.push(read),
    interrupt: () => {},
    initialized: () => {},
    stopped: () => false,
  };
  const request = decodeRequest(encodeRequest(parts));
  if (!request) throw new Error('no request');
  return respond(namespace, hooks, request, body);
}

function lookup(parent: bigint, name: string) {
  const result = ask({ opcode: opcodes.lookup, node: parent, body: nameBody(name) });
  if (result !== 128) return { result, node: 0n, generation: 0n, size: 0n };
  const [node, generation] = [body.readBigUInt64LE(0), body.readBigUInt64LE(8)];
  return { result, node, generation, size: body.readBigUInt64LE(48) };
}

const hexOf = (content: Digest) => content.slice('sha256:'.length);

function lookupFile(content: Digest) {
  const hex = hexOf(content);
  const directory = lookup(lookup(1n, list.name).node, hex.slice(0, 2));
  return lookup(directory.node, hex);
}

t.test('every file has a node of its own, with its size', async (t) => {
  const nodes = new Set<bigint>();
  for (const { content, size } of refs) {
    const found = lookupFile(content);
    if (found.size !== BigInt(size)) throw new Error(`${content} has size ${found.size}`);
    nodes.add(found.node);
  }
  t.equal(nodes.size, refs.length);
  t.ok([...nodes].every((node) => node > 2n ** 52n && node < 2n ** 53n));
});

t.test('node ids and generations follow from the list alone', async (t) => {
  const again = new ObjectNamespace();
  again.add(await makeFileList(digestOf(Buffer.from('another')), refs));
  again.add(await makeFileList(image, [...refs].reverse()));
  const directory = again.lookup(1, byteStringFromText(list.name)) ?? 0;
  t.equal(BigInt(directory), lookup(1n, list.name).node);
  t.equal(again.attributes(directory).generation, Number.parseInt(list.name.slice(8, 16), 16));
  t.equal(lookup(1n, list.name).generation, BigInt(again.attributes(directory).generation));
});

t.test('names that are none', async (t) => {
  const top = lookup(1n, list.name).node;
  const [first] = refs;
  const hex = hexOf(first?.content ?? image);
  const directory = lookup(top, hex.slice(0, 2)).node;
  const other = lookup(top, hex.startsWith('00') ? '01' : '00').node;
  const absent: [bigint, string][] = [
    [1n, hex],
    [1n, '00'],
    [1n, `${list.name}0`],
    [1n, list.name.toUpperCase()],
    [top, hex],
    [top, '0'],
    [top, '000'],
    [top, 'fg'],
    [top, 'FF'],
    [directory, hex.slice(0, 63)],
    [directory, hex.toUpperCase()],
    [directory, 'x'.repeat(64)],
    [directory, hexOf(digestOf(Buffer.from('of no image')))],
    [other, hex],
  ];
  for (const [parent, name] of absent) {
    t.equal(lookup(parent, name).result, -errno.ENOENT, `${name} is asked for again`);
  }
  t.equal(lookup(directory, '..').node, top);
  t.equal(lookup(top, '..').node, 1n);
  t.equal(lookup(1n, '..').node, 1n);
  t.equal(lookup(directory, '.').node, directory);
});

t.test('nodes that are none', async (t) => {
  const top = lookup(1n, list.name).node;
  const none = [0n, 2n, 256n, 2n ** 52n, top - 1n, top + 257n, top + 1023n, 2n ** 64n - 1n];
  for (const node of [...none, top + 1024n + BigInt(refs.length), top + 2n ** 26n]) {
    for (const opcode of [opcodes.getattr, opcodes.read, opcodes.readdir]) {
      t.equal(ask({ opcode, node, body: readBody(0n, 4096) }), -errno.ESTALE, `${node}`);
    }
  }
  const file = lookupFile(refs[9]?.content ?? image).node;
  t.equal(lookup(file, 'x').result, -errno.ESTALE);
  t.equal(ask({ opcode: opcodes.readdir, node: file, body: readBody(0n, 99) }), -errno.ESTALE);
  t.equal(ask({ opcode: opcodes.readlink, node: file }), -errno.EINVAL);
});

function names(node: bigint): string[] {
  const found: string[] = [];
  for (let offset = 0n; ; ) {
    const result = ask({ opcode: opcodes.readdir, node, body: readBody(offset, 4096) });
    if (typeof result !== 'number' || result <= 0) return found;
    for (let at = 0; at < result; ) {
      const length = body.readUInt32LE(at + 16);
      offset = body.readBigUInt64LE(at + 8);
      found.push(body.toString('latin1', at + 24, at + 24 + length));
      at += Math.ceil((24 + length) / 8) * 8;
    }
  }
}

t.test('an image is listed, the root is not', async (t) => {
  t.strictSame(names(1n), ['.', '..']);
  const top = lookup(1n, list.name).node;
  const directories = names(top);
  t.equal(directories.length, 258);
  const all = directories.slice(2).flatMap((name) => names(lookup(top, name).node).slice(2));
  t.strictSame(new Set(all), new Set(refs.map(({ content }) => hexOf(content))));
  t.equal(all.length, refs.length);
});

t.test('a read that is forwarded says of which image and node', async (t) => {
  const large = refs[7];
  if (!large) throw new Error('no file');
  const { node } = lookupFile(large.content);
  const forwarded: unknown[] = [];
  const result = ask({ opcode: opcodes.read, node, body: readBody(2n ** 33n, 4096) }, forwarded);
  t.equal(result, 'none');
  const wanted = { image, content: large.content, size: large.size, node: Number(node), length: 5 };
  t.match(forwarded, [{ ...wanted, offset: 2 ** 33 }]);
});

t.test('what the kernel should never ask again', async (t) => {
  const result = (opcode: number) => ask({ opcode, body: Buffer.alloc(64) });
  const { open, opendir, getxattr, listxattr } = opcodes;
  for (const opcode of [open, opendir, getxattr, listxattr]) t.equal(result(opcode), -errno.ENOSYS);
  t.equal(ask({ opcode: opcodes.init, body: initBody(7, 45, 0xffff_ffff) }), 64);
  t.equal(body.readUInt32LE(12) & initFlags.posixAcl, 0);
  t.equal(body.readUInt16LE(28), 256, 'pages of one read');
});

t.test('an image that ended is gone, another of its number stays', async (t) => {
  const some = new ObjectNamespace();
  some.add(list);
  some.remove(`${list.name.slice(0, 8)}${'0'.repeat(56)}`);
  const node = some.lookup(1, byteStringFromText(list.name));
  t.ok(node);
  some.remove(list.name);
  t.equal(some.lookup(1, byteStringFromText(list.name)), undefined);
  t.throws(() => some.attributes(node ?? 0), { code: 'not-found' });
});

t.test('any request at all gets an answer that fits, and never throws', async () => {
  const top = lookup(1n, list.name).node;
  const nodes = fc.oneof(
    fc.constantFrom(1n, top),
    fc.bigInt({ min: top - 3n, max: top + 4000n }),
    fc.bigInt({ min: 0n, max: 2n ** 64n - 1n }),
  );
  const anyName = fc.oneof(
    fc.constantFrom(list.name, '00', 'ff', '.', '..', hexOf(image)),
    fc.string({ maxLength: 70 }),
  );
  const bodies = fc.oneof(
    fc.uint8Array({ maxLength: 80 }).map((bytes) => Buffer.from(bytes)),
    anyName.map(nameBody),
    fc
      .tuple(fc.bigInt({ min: 0n, max: 2n ** 64n - 1n }), fc.nat({ max: 2 ** 32 - 1 }))
      .map(([offset, size]) => readBody(offset, size)),
  );
  const anyOpcode = fc.oneof(
    fc.constantFrom(...Object.values(opcodes)),
    fc.nat({ max: 2 ** 32 - 1 }),
  );
  fc.assert(
    fc.property(anyOpcode, nodes, bodies, (opcode, node, bytes) => {
      const result = ask({ opcode, node, body: bytes });
      if (result !== 'none' && !(result > -200 && result <= readBytesMax))
        throw new Error(`${result}`);
    }),
    { numRuns: 5000 },
  );
});
