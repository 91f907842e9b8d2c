import { readlinkSync } from 'node:fs';
import t from 'tap';
import type { Holder } from '../../src/daemon/holder.js';
import { until } from '../cli/test-node.js';
import { scriptedHolder } from './scripted-holder.js';

const gentle = { force: false, unmount: false };

async function hasFinished(holder: Holder): Promise<boolean> {
  const not = Symbol('not');
  return (await Promise.race([holder.finished, Promise.resolve(not)])) !== not;
}

t.test('a server that is killed is started again, with the same device', async (t) => {
  const { holder, settings, lives } = scriptedHolder(t, { needDevice: true });
  t.same(await holder.start(settings), { ready: true });
  t.same(await holder.start(settings), { ready: true }, 'there is one');
  const { serverPid } = holder.status();
  t.match(holder.status(), { phase: 'serving', crashes: 0, needed: true, device: true });
  process.kill(Number(serverPid), 'SIGKILL');
  await until('another serves', () => {
    const status = holder.status();
    return status.phase === 'serving' && status.serverPid !== serverPid;
  });
  t.match(holder.status(), {
    crashes: 1,
    lastError: `server ${serverPid} was ended by SIGKILL`,
    needed: true,
  });
  t.same(
    lives().map(({ device }) => device),
    ['/dev/fuse', '/dev/fuse'],
  );
});

t.test('a crash loop: mounts stay held, the state says why, and it ends by itself', async (t) => {
  const { holder, settings, script, lives } = scriptedHolder(t, { needDevice: true });
  await holder.start(settings);
  const device = Number(holder.device);
  script({ crash: 7 });
  process.kill(Number(holder.status().serverPid), 'SIGKILL');
  await until('it is degraded', () => holder.status().phase === 'degraded');
  const { crashes, lastError, retryAt } = holder.status();
  t.equal(crashes, lives().length);
  t.match(lastError, /ended with exit code 7/);
  t.ok(Number(retryAt) > Date.now(), 'later');
  t.ok(holder.status().needed, 'although the last servers said nothing');
  t.equal(readlinkSync(`/proc/self/fd/${device}`), '/dev/fuse');
  script({ needDevice: true });
  await until('it serves again', () => holder.status().phase === 'serving');
  t.equal(holder.device, device);
});

t.test('who asks for a start that fails is told why; the next who asks may succeed', async (t) => {
  const failure = { code: 'no-space', message: 'the disk is full' };
  const { holder, settings, script } = scriptedHolder(t, { failure });
  t.same(await holder.start(settings), { ready: false, ...failure });
  t.equal(holder.status().lastError, 'the disk is full');
  script({});
  t.same(await holder.start(settings), { ready: true });
});

t.test('a program that does not exist', async (t) => {
  const { holder, settings } = scriptedHolder(t, {});
  const report = await holder.start({ ...settings, node: '/no/such/node' });
  t.match(report, { ready: false, message: /could not be started.*ENOENT/ });
});

t.test('a program of which no process can be made at all', async (t) => {
  const { holder, settings } = scriptedHolder(t, {});
  await holder.start(settings);
  const none = { ...settings, node: 'no\0program' }; // spawn throws, as it does for want of memory
  t.match(await holder.restart(none, false), {
    ready: false,
    message: /could not be started: .*; the one before goes on/,
  });
  t.equal(holder.status().phase, 'serving');
  t.equal(await holder.stop({ force: true, unmount: true }), undefined);
  const other = scriptedHolder(t, {});
  t.match(await other.holder.start(none), { ready: false });
  t.equal(other.holder.status().phase, 'waiting', 'it is tried again');
  t.same(await other.holder.start(other.settings), { ready: true });
});

t.test('a stop that is refused changes nothing; by force it ends', async (t) => {
  const { holder, settings } = scriptedHolder(t, { refuse: true });
  await holder.start(settings);
  const before = holder.status();
  t.same(await holder.stop(gentle), { code: 'busy', message: 'in use' });
  t.same(await holder.restart(settings, false), { ready: false, code: 'busy', message: 'in use' });
  t.same(holder.status(), before);
  process.kill(Number(before.serverPid), 'SIGKILL');
  await until('one that has refused is started again', () => {
    const { phase, crashes } = holder.status();
    return phase === 'serving' && crashes === 1;
  });
  t.equal(await holder.stop({ force: true, unmount: false }), undefined);
  t.ok(await hasFinished(holder), 'nothing is mounted: there is nothing to hold');
  await t.rejects(holder.start(settings), { code: 'busy' });
});

t.test('it stays as long as mounts need the device', async (t) => {
  const { holder, settings, lives } = scriptedHolder(t, { needDevice: true });
  await holder.start(settings);
  t.equal(await holder.stop(gentle), undefined);
  t.match(holder.status(), { phase: 'stopped', needed: true, serverPid: undefined });
  t.notOk(await hasFinished(holder));
  t.equal(await holder.stop(gentle), undefined, 'stopped already');
  t.notOk(await hasFinished(holder));
  t.same(await holder.start(settings), { ready: true });
  t.equal(lives().length, 2);
  t.equal(await holder.stop({ force: false, unmount: true }), undefined);
  t.ok(await hasFinished(holder));
});

t.test('a server that ends by itself in order is not started again', async (t) => {
  const { holder, settings, lives } = scriptedHolder(t, { needDevice: false });
  await holder.start(settings);
  process.kill(Number(holder.status().serverPid), 'SIGTERM');
  await holder.finished;
  t.match(holder.status(), { phase: 'stopped', crashes: 0 });
  t.equal(lives().length, 1);
});

t.test('a dead connection is replaced by a new device', async (t) => {
  const { holder, settings, lives } = scriptedHolder(t, { renew: true });
  const report = await holder.start(settings);
  t.same(report, { ready: true }, 'who asked notices nothing');
  t.equal(lives().length, 2);
  t.equal(lives()[1]?.device, '/dev/fuse');
  t.equal(holder.status().crashes, 0);
});

t.test('restart: other flags, other variables; those not given stay', async (t) => {
  const { holder, settings, lives } = scriptedHolder(t, {});
  const flags = { ...settings.flags, 'cache-size': ['--cache-size', '1G'] };
  await holder.start({ ...settings, flags, env: { THINFS_SETTING: 'old' } });
  const later = { ...settings, flags: { 'free-space': ['--free-space', '2G'] } };
  t.same(await holder.restart(later, false), { ready: true });
  const env = { THINFS_SETTING: 'new' };
  t.same(await holder.restart({ ...later, flags: {}, env }, false), { ready: true });
  const [, second, third] = lives();
  t.same(second?.flags.slice(2), ['--cache-size', '1G', '--free-space', '2G']);
  t.equal(second?.setting, 'old');
  t.same(third?.flags, second?.flags);
  t.equal(third?.setting, 'new');
  t.equal(holder.status().crashes, 0);
});

t.test('an upgrade to a program that does not start is taken back', async (t) => {
  const { holder, settings } = scriptedHolder(t, {});
  await holder.start(settings);
  const report = await holder.restart({ ...settings, program: '/no/such/thin.js' }, false);
  t.match(report, { ready: false, message: /exit code 1; the one before goes on/ });
  t.match(holder.status(), { phase: 'serving', settings: { program: settings.program } });
});

t.test('many who start at once start one', async (t) => {
  const { holder, settings, lives } = scriptedHolder(t, {});
  const reports = await Promise.all(Array.from({ length: 20 }, () => holder.start(settings)));
  t.ok(reports.every(({ ready }) => ready));
  t.equal(lives().length, 1);
});
