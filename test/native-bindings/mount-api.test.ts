import { execFileSync, spawn } from 'node:child_process';
import { once } from 'node:events';
import { closeSync, mkdirSync, openSync, statSync, truncateSync, writeFileSync } from 'node:fs';
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import t, { type Test } from 'tap';
import { attachLoop } from '../../native-bindings/loop-device.js';
import {
  type MountSetting,
  mountAttributes,
  mountWithSettings,
  reconfigureMount,
} from '../../native-bindings/mount-api.js';
import { unmount, unmountFlags } from '../../native-bindings/mount-calls.js';
import { setTime } from '../../native-bindings/set-time.js';
import { syncFileSystem } from '../../native-bindings/sync-file-system.js';
import { temporaryFolder } from './temporary-folder.js';

function mountPoint(t: Test): string {
  const target = join(temporaryFolder(t), 'target');
  mkdirSync(target);
  t.teardown(() => unmount(target, unmountFlags.detach).catch(() => undefined));
  return target;
}

function mountLine(target: string): string {
  return execFileSync('findmnt', ['-no', 'FSTYPE,SOURCE,OPTIONS', target]).toString();
}

/** The state of the loop device of a file, if it has one. */
function loopOf(file: string): Record<string, unknown> | undefined {
  const columns = 'NAME,BACK-FILE,RO,AUTOCLEAR,DIO,LOG-SEC';
  const text = execFileSync('losetup', ['--list', '--json', '-O', columns]).toString();
  const { loopdevices = [] } = text.trim() === '' ? {} : JSON.parse(text);
  return loopdevices.find((device: Record<string, unknown>) => device['back-file'] === file);
}

/** The kernel detaches a loop device a moment after its last user is gone. */
async function untilDetached(file: string): Promise<void> {
  const deadline = Date.now() + 90_000;
  while (loopOf(file)) {
    if (Date.now() > deadline) throw new Error(`${file} is still attached`);
    await delay(10);
  }
}

t.test('settings, flags and attributes reach the kernel; a mount is reconfigured', async (t) => {
  const target = mountPoint(t);
  await mountWithSettings({
    type: 'tmpfs',
    settings: [
      ['source', 'thinfs-test'],
      ['size', '64k'],
      ['mode', '700'],
    ],
    target,
    attributes: mountAttributes.noSuid | mountAttributes.noDevices,
  });
  t.match(mountLine(target), /tmpfs +thinfs-test +rw,nosuid,nodev,relatime,size=64k,mode=700/);
  await reconfigureMount(target, [['ro', true]]);
  t.throws(() => writeFileSync(join(target, 'file'), 'x'), { code: 'EROFS' });
  t.match(mountLine(target), /ro,nosuid,nodev/, 'the attributes stay');
  await reconfigureMount(target, [
    ['rw', true],
    ['size', '128k'],
  ]);
  writeFileSync(join(target, 'file'), 'x');
  t.match(mountLine(target), /size=128k/);
});

t.test('a layer is a descriptor, whatever its path', async (t) => {
  const target = mountPoint(t);
  const layers = ['a:b,c', 'x'.repeat(250)].map((name) => join(target, '..', name));
  const descriptors = layers.map((path) => {
    mkdirSync(path);
    writeFileSync(join(path, `in ${path.length}`), '');
    return openSync(path, 'r');
  });
  const settings = descriptors.map((descriptor) => ['lowerdir+', descriptor] as const);
  await mountWithSettings({ type: 'overlay', settings, target });
  for (const descriptor of descriptors) closeSync(descriptor);
  for (const path of layers) t.ok(statSync(join(target, `in ${path.length}`)).isFile());
});

t.test('errors have our codes, and the words of the kernel', async (t) => {
  const target = mountPoint(t);
  const unknown =
    /Cannot mount tmpfs at .*: tmpfs: Unknown parameter 'no-such' \(fsconfig no-such: /;
  const cases: [MountSetting, RegExp][] = [
    [['no-such', 'setting'], unknown],
    [['size', 'much'], /Bad value for 'size'/],
    [['source', 'x'.repeat(256)], /256 bytes/],
    [['source', -1], /-1 is no descriptor/],
    [['source', 'a\0b'], /NUL/],
  ];
  for (const [setting, message] of cases) {
    const wanted = { code: 'invalid', message };
    await t.rejects(mountWithSettings({ type: 'tmpfs', settings: [setting], target }), wanted);
  }
  const nowhere = join(target, 'nowhere');
  const mount = { settings: [], target: nowhere };
  await t.rejects(mountWithSettings({ type: 'tmpfs', ...mount }), { code: 'not-found' });
  await t.rejects(mountWithSettings({ type: 'no-such-type', ...mount }), { code: 'unavailable' });
  await t.rejects(reconfigureMount(nowhere, []), {
    code: 'not-found',
    message: /Cannot reconfigure .*nowhere: fspick/,
  });
  await t.rejects(reconfigureMount(target, []), { code: 'invalid' }, 'no mount is there');
});

t.test('a loop device lives as long as its descriptor', async (t) => {
  const file = join(temporaryFolder(t), 'image, with: odd name');
  writeFileSync(file, '');
  truncateSync(file, 2 ** 20);
  for (const directIo of [false, true]) {
    const { path, descriptor } = await attachLoop(file, { blockSize: 4096, directIo });
    t.match(loopOf(file), {
      name: path,
      ro: true,
      autoclear: true,
      dio: directIo,
      'log-sec': 4096,
    });
    closeSync(descriptor);
    await untilDetached(file);
  }
  const options = { blockSize: 512, directIo: false };
  await t.rejects(attachLoop(`${file}-not`, options), { code: 'not-found' });
  await t.rejects(attachLoop('/proc', options), { message: /Cannot attach a loop device/ });
  await t.rejects(attachLoop('a\0b', options), { code: 'invalid' });
});

t.test('many at once get a loop device each', async (t) => {
  const folder = temporaryFolder(t);
  const files = Array.from({ length: 12 }, (_, at) => join(folder, `${at}`));
  for (const file of files) {
    writeFileSync(file, '');
    truncateSync(file, 65_536);
  }
  const options = { blockSize: 4096, directIo: false };
  const devices = await Promise.all(files.map((file) => attachLoop(file, options)));
  t.equal(new Set(devices.map(({ path }) => path)).size, files.length);
  for (const [at, file] of files.entries()) t.equal(loopOf(file)?.name, devices[at]?.path);
  for (const { descriptor } of devices) closeSync(descriptor);
  for (const file of files) await untilDetached(file);
});

t.test('a process that is killed leaves no loop device', async (t) => {
  const file = join(temporaryFolder(t), 'image');
  writeFileSync(file, '');
  truncateSync(file, 65_536);
  const program = fileURLToPath(new URL('./attach-loop.program.ts', import.meta.url));
  const child = spawn(process.execPath, ['--import', 'tsx', program, file]);
  const exited = once(child, 'exit');
  t.teardown(() => child.kill('SIGKILL'));
  await once(child.stdout, 'data');
  t.ok(loopOf(file), 'attached');
  child.kill('SIGKILL');
  await exited;
  await untilDetached(file);
});

t.test('a file system is synced', async (t) => {
  const folder = temporaryFolder(t);
  writeFileSync(join(folder, 'file'), 'x');
  await syncFileSystem(folder);
  await syncFileSystem(join(folder, 'file'));
  await t.rejects(syncFileSystem(join(folder, 'nowhere')), {
    code: 'not-found',
    message: /Cannot sync the file system of .*nowhere/,
  });
  await t.rejects(syncFileSystem('a\0b'), { code: 'invalid' });
});

t.test('times to the nanosecond, before 1970 too', async (t) => {
  const file = join(temporaryFolder(t), 'file');
  writeFileSync(file, 'x');
  for (const time of [0n, -1n, -1_999_999_999n, 1_700_000_000_123_456_789n, 10n ** 19n]) {
    await setTime(file, time);
    t.equal(statSync(file, { bigint: true }).mtimeNs, time);
  }
  await t.rejects(setTime(`${file}-not`, 0n), { code: 'not-found' });
  await t.rejects(setTime('a\0b', 0n), { code: 'invalid' });
  t.equal(await readFile(file, 'utf8'), 'x');
});
