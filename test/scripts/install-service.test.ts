import { existsSync, readFileSync, readlinkSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import t from 'tap';
import { type CommandResult, runCommand } from '../support/run-command.js';

const program = fileURLToPath(new URL('../../scripts/install-service', import.meta.url));

function install(folder: string, ...words: string[]): Promise<CommandResult> {
  return runCommand(program, words, { env: { DESTDIR: folder }, mayFail: true });
}

t.test('a unit that systemd accepts, which runs the holder', async (t) => {
  const folder = t.testdir({});
  const { code, stderr } = await install(folder, '--cache-size', '5G');
  t.equal(code, 0, stderr);
  const unit = join(folder, 'etc/systemd/system/thinfs.service');
  const verified = await runCommand('systemd-analyze', ['verify', '--man=no', unit], {
    mayFail: true,
  });
  t.equal(verified.code, 0, verified.stderr);
  t.equal(verified.stderr, '');
  const text = readFileSync(unit, 'utf8');
  const command = /^ExecStart=(.*)$/m.exec(text)?.[1]?.split(' ') ?? [];
  t.same(command.slice(-5), ['daemon', 'run', '--wait', '--cache-size', '5G']);
  t.equal(command[0], process.execPath);
  t.notMatch(text, /@[a-z]+@/, 'nothing is left to fill in');
  const help = await runCommand(command[0] ?? '', [...command.slice(1), '--help']);
  t.match(help.stdout, /^Usage: thin daemon run/);
});

t.test('programs in the PATH, unless others are', async (t) => {
  const folder = t.testdir({ usr: { local: { bin: { thin: 'of somebody else' } } } });
  const bin = join(folder, 'usr/local/bin');
  t.equal((await install(folder)).code, 0);
  t.equal((await install(folder)).code, 0, 'again');
  t.equal(readFileSync(join(bin, 'thin'), 'utf8'), 'of somebody else');
  const help = await runCommand(join(bin, 'thinify'), ['--help']);
  t.match(help.stdout, /^Usage: thinify/);
  t.match(readlinkSync(join(bin, 'thinify')), /^\//);

  t.equal((await install(folder, '--uninstall')).code, 0);
  t.ok(existsSync(join(bin, 'thin')));
  t.notOk(existsSync(join(bin, 'thinify')));
  t.notOk(existsSync(join(folder, 'etc/systemd/system/thinfs.service')));
  t.equal((await install(folder, '--uninstall')).code, 0, 'nothing is there');
});

t.test('help', async (t) => {
  const folder = t.testdir({});
  t.match((await install(folder, '--help')).stdout, /^Usage: scripts\/install-service/);
  t.notOk(existsSync(join(folder, 'etc')), 'nothing is installed');
});
