import t from 'tap';
import type { ImageConfig } from '../../src/image/image-config.js';
import {
  containerProcess,
  type ProcessOptions,
  parseStopSignal,
} from '../../src/mount/container-process.js';
import { parseVolume } from '../../src/mount/volume.js';

type ImageProcess = NonNullable<ImageConfig['config']>;

const root = { uid: 0, gid: 0, additionalGids: [], home: '/root' };

function make(image: ImageProcess, options: Partial<ProcessOptions> = {}, account = root) {
  const whole = { command: [], env: [], terminal: false, ...options };
  return containerProcess(image, whole, account, 'box');
}

t.test('the command line: entry point, command, and what replaces them', async (t) => {
  const image = { Entrypoint: ['/entry', 'a'], Cmd: ['b', 'c'] };
  t.strictSame(make(image).args, ['/entry', 'a', 'b', 'c']);
  t.strictSame(make(image, { command: ['x'] }).args, ['/entry', 'a', 'x']);
  t.strictSame(make(image, { entrypoint: '/other' }).args, ['/other'], 'drops Cmd too');
  t.strictSame(make(image, { entrypoint: '/other', command: ['x'] }).args, ['/other', 'x']);
  t.strictSame(make(image, { entrypoint: '', command: ['x'] }).args, ['x']);
  t.strictSame(make({ Cmd: ['sh'] }).args, ['sh']);
  t.throws(() => make({}), { code: 'invalid', message: /names no command/ });
  t.throws(() => make(image, { entrypoint: '' }), { code: 'invalid' });
});

t.test('the environment: defaults, the image over them, the user over both', async (t) => {
  const path = 'PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin';
  const Cmd = ['x'];
  t.strictSame(make({ Cmd }).env, [path, 'HOSTNAME=box', 'HOME=/root']);
  const { env } = make(
    { Cmd, Env: ['PATH=/bin', 'A=1', 'B=x=y', 'nonsense', '=bad'] },
    { env: ['A=2', 'HOME=/h', 'EMPTY='], terminal: true },
  );
  const wanted = ['PATH=/bin', 'HOSTNAME=box', 'HOME=/h', 'TERM=xterm', 'A=2', 'B=x=y', 'EMPTY='];
  t.strictSame(env, wanted);
});

t.test('working directory and capabilities', async (t) => {
  const Cmd = ['x'];
  t.equal(make({ Cmd }).cwd, '/');
  t.equal(make({ Cmd, WorkingDir: 'srv/../app/' }).cwd, '/app');
  t.equal(make({ Cmd, WorkingDir: '/srv' }, { workdir: '/work' }).cwd, '/work');
  t.equal(make({ Cmd }, { workdir: '../../..' }).cwd, '/');
  const { bounding } = make({ Cmd }).capabilities;
  t.equal(bounding.length, 14);
  t.strictSame(make({ Cmd }).capabilities, { bounding, effective: bounding, permitted: bounding });
  const user = make({ Cmd }, {}, { ...root, uid: 5 }).capabilities;
  t.strictSame(user, { bounding }, 'a user has none at the start');
});

t.test('stop signals', async (t) => {
  t.equal(parseStopSignal(undefined), 'SIGTERM');
  t.equal(parseStopSignal(''), 'SIGTERM');
  t.equal(parseStopSignal('SIGQUIT'), 'SIGQUIT');
  t.equal(parseStopSignal('int'), 'SIGINT');
  t.equal(parseStopSignal('3'), 'SIGQUIT');
  t.throws(() => parseStopSignal('SIGNOTHING'), { code: 'invalid' });
  t.throws(() => parseStopSignal('999'), { code: 'invalid' });
});

t.test('volumes', async (t) => {
  const plain = { hostPath: '/a', containerPath: '/b/c', readOnly: false };
  t.strictSame(parseVolume('/a:/b/c'), plain);
  t.strictSame(parseVolume('/a:/b/./d/../c/:ro'), { ...plain, readOnly: true });
  t.strictSame(parseVolume('/a:/b/c:rw'), plain);
  for (const bad of ['', '/a', 'a:/b', '/a:b', '/a:/b:xx', '/a:/b:ro:ro', '/a:/', '/a:/..']) {
    t.throws(() => parseVolume(bad), { code: 'invalid' }, bad);
  }
});
