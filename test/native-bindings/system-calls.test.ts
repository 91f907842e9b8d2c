import { execFileSync, spawn } from 'node:child_process';
import { once } from 'node:events';
import {
  closeSync,
  fstatSync,
  readdirSync,
  readFileSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import t from 'tap';
import { copyVerified } from '../../native-bindings/copy-verified.js';
import { mount, mountFlags, unmount, unmountFlags } from '../../native-bindings/mount-calls.js';
import { residentMemory } from '../../native-bindings/resident-memory.js';
import { receiveFd, socketPair } from '../../native-bindings/socket.js';
import { getXattr, listXattrs, setXattr } from '../../native-bindings/xattr.js';
import { byteString, byteStringFromText } from '../../src/byte-string.js';
import { digestOf } from '../../src/digest.js';
import { temporaryFolder } from './temporary-folder.js';

t.test('xattrs by byte path, of the link and not of its target', async (t) => {
  const folder = temporaryFolder(t);
  const path = Buffer.concat([Buffer.from(`${folder}/`), Buffer.from([0xff, 0xfe, 0x20])]);
  writeFileSync(path, 'content');
  const name = byteStringFromText('user.thinfs');
  const raw = byteString(Buffer.from('user.\xe9\xff', 'latin1'));
  const value = Buffer.from([0, 1, 2, 0, 255]);
  t.same(await listXattrs(path), []);
  t.equal(await getXattr(path, name), undefined);
  await setXattr(path, name, value);
  await setXattr(path, raw, Buffer.alloc(0));
  t.same(new Set(await listXattrs(path)), new Set([name, raw]));
  t.same(await getXattr(path, name), value);
  t.same(await getXattr(path, raw), Buffer.alloc(0));
  await setXattr(path, name, Buffer.from('again'));
  const dump = execFileSync('sh', ['-c', 'getfattr -dm- --absolute-names "$0"/*', folder]);
  t.match(dump.toString(), /user.thinfs="again"/);

  const link = Buffer.from(join(folder, 'link'));
  symlinkSync('does-not-exist', link);
  const trusted = byteStringFromText('trusted.thinfs');
  await setXattr(link, trusted, Buffer.from('of the link'));
  t.same(await listXattrs(link), [trusted]);
  t.same(await getXattr(link, trusted), Buffer.from('of the link'));
});

t.test('xattr errors have our codes', async (t) => {
  const folder = temporaryFolder(t);
  const nowhere = Buffer.from(join(folder, 'nowhere'));
  const name = byteStringFromText('user.x');
  await t.rejects(listXattrs(nowhere), {
    code: 'not-found',
    message: /Cannot list xattrs of .*nowhere/,
  });
  await t.rejects(getXattr(nowhere, name), { code: 'not-found' });
  await t.rejects(setXattr(nowhere, name, Buffer.alloc(0)), { code: 'not-found' });
  await t.rejects(listXattrs(Buffer.from('/a\0b')), { code: 'invalid' });
  await t.rejects(getXattr(Buffer.from(folder), byteStringFromText('')), { code: 'invalid' });
  await t.rejects(listXattrs(Buffer.from('/proc/self/mem/x')), { code: 'not-found' });
});

t.test('mount and unmount a tmpfs', async (t) => {
  const target = temporaryFolder(t);
  const before = statSync(target).dev;
  const flags = mountFlags.noSuid | mountFlags.noDevices;
  await mount({ source: 'thinfs-test', target, type: 'tmpfs', flags, data: 'size=64k,mode=700' });
  t.teardown(() => unmount(target, unmountFlags.detach).catch(() => undefined));
  t.not(statSync(target).dev, before);
  const line = execFileSync('findmnt', ['-no', 'FSTYPE,SOURCE,OPTIONS', target]).toString();
  t.match(line, /tmpfs +thinfs-test +rw,nosuid,nodev,.*size=64k,mode=700/);
  await mount({ source: '', target, type: '', flags: mountFlags.remount | mountFlags.readOnly });
  t.throws(() => writeFileSync(join(target, 'file'), 'x'), { code: 'EROFS' });
  await unmount(target, unmountFlags.noFollow);
  t.equal(statSync(target).dev, before);
});

t.test('mount errors have our codes', async (t) => {
  const target = temporaryFolder(t);
  const wrong = { source: 'none', target, type: 'no-such-type' };
  await t.rejects(mount(wrong), { message: /Cannot mount no-such-type at/ });
  await t.rejects(mount({ ...wrong, target: `${target}/nowhere` }), { code: 'not-found' });
  await t.rejects(mount({ ...wrong, target: 'a\0b' }), { code: 'invalid' });
  await t.rejects(mount({ ...wrong, flags: -1 }), { code: 'invalid' });
  await t.rejects(mount({ ...wrong, flags: 2 ** 40 }), { code: 'invalid' });
  await t.rejects(unmount(target), { code: 'invalid', message: /Cannot unmount/ });
  await t.rejects(unmount(target, 0.5), { code: 'invalid' });
});

/** Sends descriptor 0 of a Python process over its descriptor 3, as fusermount does. */
const sender = `
import socket
socket.send_fds(socket.socket(fileno=3), [b'x'], [0])
`;

t.test('a descriptor comes over a socket', async (t) => {
  const folder = temporaryFolder(t);
  const path = join(folder, 'sent');
  writeFileSync(path, 'the file that is sent');
  const [ours, theirs] = socketPair();
  t.teardown(() => closeSync(ours));
  const received = receiveFd(ours, 60_000); // Python starts slowly on a busy machine
  const child = spawn('sh', ['-c', 'exec python3 -c "$1" < "$2"', 'sh', sender, path], {
    stdio: ['ignore', 'inherit', 'inherit', theirs],
  });
  const fd = await received;
  t.teardown(() => closeSync(fd));
  await once(child, 'close');
  closeSync(theirs);
  t.equal(fstatSync(fd).ino, statSync(path).ino);
  t.ok(fd > 2);
});

t.test('no descriptor: the sender closes, sends plain bytes, or is too late', async (t) => {
  const [a, b] = socketPair();
  closeSync(b);
  await t.rejects(receiveFd(a), { code: 'unavailable', message: /closed without sending/ });
  closeSync(a);
  const [c, d] = socketPair();
  await t.rejects(receiveFd(c, 1), { code: 'unavailable', message: /nothing was sent in time/ });
  writeFileSync(d, 'x');
  await t.rejects(receiveFd(c), { code: 'unavailable', message: /carries no descriptor/ });
  closeSync(c);
  closeSync(d);
  await t.rejects(receiveFd(-1), { code: 'invalid' });
  await t.rejects(receiveFd(0, 1e12), { code: 'invalid' });
});

t.test('memory that the kernel writes to without a page fault, also after a fork', (t) => {
  const pages = 2048;
  const huge = readFileSync('/sys/kernel/mm/transparent_hugepage/enabled', 'latin1');
  /** Pages of ordinary memory that have one fault in common. */
  const together = huge.includes('[always]') ? 512 : 1;
  /** Page faults of writing to each page after a child process was forked. */
  const faults = (memory: Buffer): number => {
    execFileSync('true');
    const { minorPageFault: before } = process.resourceUsage();
    for (let page = 0; page < pages; page++) memory[page * 4096] = page;
    return process.resourceUsage().minorPageFault - before;
  };
  t.ok(faults(Buffer.alloc(pages * 4096).fill(0)) > pages / together / 2, 'ordinary memory');
  t.ok(faults(residentMemory(pages * 4096)) < pages / 2);
  t.end();
});

t.test('a file is copied whole and verified, or not at all', async (t) => {
  const folder = temporaryFolder(t);
  const [source, target] = [join(folder, 'source'), join(folder, 'target')];
  const content = Buffer.from('what it should be'.repeat(40_000));
  const offset = 200_000; // so that it takes more than one step
  const bytes = Buffer.alloc(content.length - offset - 1);
  const file = { content: digestOf(content), size: content.length, wanted: bytes, offset };
  const copy = (to = target) =>
    copyVerified({ source, incoming: join(folder, 'incoming'), target: to }, file);
  t.equal(await copy(), 'absent');
  writeFileSync(source, Buffer.concat([content.subarray(1), Buffer.of(0)]));
  t.equal(await copy(), 'wrong', 'other bytes');
  writeFileSync(source, content.subarray(1));
  t.equal(await copy(), 'wrong', 'another size');
  t.same(readdirSync(folder), ['source'], 'and nothing is left behind');
  const wanted = content.subarray(offset, -1);
  writeFileSync(source, content);
  t.equal(await copy(join(folder, 'missing', 'target')), 'not-kept');
  t.ok(bytes.equals(wanted));
  t.same(readdirSync(folder), ['source']);
  bytes.fill(0);
  t.equal(await copy(), 'copied');
  t.ok(bytes.equals(wanted));
  t.ok(readFileSync(target).equals(content));
  t.same(readdirSync(folder), ['source', 'target']);
  t.equal(await copy(), 'there');
  symlinkSync(source, join(folder, 'link'));
  const link = {
    source: join(folder, 'link'),
    incoming: join(folder, 'new'),
    target: join(folder, 'other'),
  };
  t.equal(await copyVerified(link, file), 'wrong', 'a link is no file');
  t.same(readdirSync(folder), ['link', 'source', 'target']);
});
