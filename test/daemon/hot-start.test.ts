import { setImmediate as turn } from 'node:timers/promises';
import { pino } from 'pino';
import t from 'tap';
import { HotStart } from '../../src/daemon/hot-start.js';
import type { LiveImage } from '../../src/daemon/live-image.js';
import { digestOf } from '../../src/digest.js';
import { HotFolder } from '../../src/hot/hot-folder.js';
import { hotRanges } from '../../src/hot/hot-list.js';
import { ManualClock } from '../store/manual-clock.js';

const manifest = digestOf(Buffer.from('image'));
const image = {
  manifest,
  record: { platform: 'linux/amd64' },
  findFile: () => undefined,
  learn: () => async () => {},
};
const args = ['server'];
const [early, late, after] = ['early', 'late', 'after'].map((name) => ({
  content: digestOf(Buffer.from(name)),
  size: 10,
}));
if (!early || !late || !after) throw new Error('no files');

t.test('what is read after a long wait for bytes is of the start too', async (t) => {
  const clock = new ManualClock();
  const folder = new HotFolder(t.testdir({}));
  const start = new HotStart({
    ...{ id: 'one', image: image as unknown as LiveImage, folder, clock, shared: undefined },
    ...{ mode: 'none', log: pino({ level: 'silent' }), start: { args, env: [], workdir: '/' } },
    untilReady: () => new Promise(() => {}),
    onBrought: () => {},
  });
  let arrive = () => {};
  const coming = new Promise<void>((resolve) => {
    arrive = resolve;
  });
  start.missed(early, 0, 10, coming);
  clock.pass(60_000); // as long as the link takes
  await turn();
  arrive();
  await turn();
  start.missed(late, 0, 10, Promise.resolve());
  await turn();
  clock.pass(29_000);
  await clock.asleep(1);
  clock.pass(1_000);
  await start.done;
  start.missed(after, 0, 10, Promise.resolve());
  const list = await folder.find({ image: manifest, args });
  const read = list ? hotRanges(list).map(({ content }) => content) : [];
  t.same(read, [early.content, late.content]);
});
