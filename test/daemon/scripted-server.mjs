// A server that does what a file says, in place of `thin daemon serve`: speaks the holder's protocol
// by hand, so that the protocol itself is tested. Called with `daemon serve --script <file>`.
import { appendFileSync, readFileSync, readlinkSync } from 'node:fs';
import { Socket } from 'node:net';

const file = process.argv[process.argv.indexOf('--script') + 1];
const script = JSON.parse(readFileSync(file, 'utf8'));
const link = new Socket({ fd: 3 });
const say = (news) => link.write(`${JSON.stringify(news)}\n`);

process.on('SIGTERM', () => leave(false));
appendFileSync(`${file}.lives`, `${JSON.stringify(told())}\n`);
if (script.crash) process.exit(script.crash);
if (script.needDevice !== undefined) say({ news: 'mounts', needDevice: script.needDevice });
if (script.failure) {
  link.write(`${JSON.stringify({ news: 'failed', ...script.failure })}\n`, () => process.exit(5));
} else if (script.renew && lives() < 2) {
  leave(true);
} else {
  say({ news: 'ready' });
  say({ news: 'of a later version' });
}

let rest = '';
link.setEncoding('utf8').on('data', (text) => {
  const lines = (rest + text).split('\n');
  rest = lines.pop() ?? '';
  for (const line of lines) {
    const { order, force, unmount } = JSON.parse(line);
    if (order !== 'stop') continue;
    if (script.refuse && !force) say({ news: 'refused', code: 'busy', message: 'in use' });
    else {
      if (unmount) say({ news: 'mounts', needDevice: false });
      leave(false);
    }
  }
});
link.on('close', () => process.exit(9));

function leave(renew) {
  link.write(`${JSON.stringify({ news: 'ending', renew })}\n`, () => process.exit(0));
}

function told() {
  const device = process.env.THINFS_FUSE_FD;
  return {
    pid: process.pid,
    device: device && readlinkSync(`/proc/self/fd/${device}`),
    flags: process.argv.slice(4),
    setting: process.env.THINFS_SETTING,
  };
}

function lives() {
  return readFileSync(`${file}.lives`, 'utf8').trim().split('\n').length;
}
