import { execFileSync } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { existsSync, mkdtempSync, rmSync, utimesSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import t from 'tap';
import { tierPath } from '../../src/cache/layout.js';
import { digestOf } from '../../src/digest.js';
import { SharedTierLink, type TierQuestion } from '../../src/pop/shared-tier-link.js';
import { cleanUp } from '../support/clean-up.js';

t.test('where no process can be had, as for want of memory, nothing is answered', async (t) => {
  const start = { directory: 'no\0folder', freeSpaceFloorBytes: 0 };
  using link = new SharedTierLink(start, () => {});
  t.equal(await link.ask({ ask: 'look', known: '' }), undefined);
});

t.test('a process that is slow to start is waited for, one that hangs then is not', async (t) => {
  const folder = mkdtempSync(join(tmpdir(), 'thinfs-tier-'));
  cleanUp(t, () => rmSync(folder, { recursive: true }));
  using link = new SharedTierLink({ directory: folder, freeSpaceFloorBytes: 0 }, () => {});
  const { now } = performance;
  cleanUp(t, () => {
    performance.now = now;
  });
  const askAndWait = (milliseconds: number) => {
    const asked = link.ask({ ask: 'look', known: '' }, 60_000);
    performance.now = () => now.call(performance) + milliseconds;
    link.giveUpIfHung();
    performance.now = now;
    return asked;
  };
  t.match(await askAndWait(29_000), { is: 'here' });
  t.match(await askAndWait(2900), { is: 'here' });
  t.match(await askAndWait(3100), { is: 'failed', why: 'it hangs' });
  t.match(await askAndWait(31_000), { is: 'failed' });
  t.match(await askAndWait(0), { is: 'here' }, 'and the next one answers');
});

t.test('a file that cannot be removed keeps no other there', async (t) => {
  const folder = mkdtempSync(join(tmpdir(), 'thinfs-tier-'));
  cleanUp(t, () => rmSync(folder, { recursive: true }));
  const directory = join(folder, 'tier');
  execFileSync('mkdir', ['-m', '700', directory]);
  const link = new SharedTierLink({ directory, freeSpaceFloorBytes: 0 }, () => {});
  cleanUp(t, () => link[Symbol.dispose]());
  const ask = (question: TierQuestion) => link.ask(question, 60_000);
  t.match(await ask({ ask: 'look', known: '' }), { is: 'here' });
  const contents = [];
  for (let n = 0; n < 40; n++) {
    const bytes = randomBytes(100);
    const content = digestOf(bytes);
    const from = join(folder, 'file');
    writeFileSync(from, bytes);
    t.match(await ask({ ask: 'put', content, size: 100, from }), { is: 'stored' });
    utimesSync(tierPath(directory, content), 1, 1); // long ago, and of no image
    contents.push(content);
  }
  const paths = contents.map((content) => tierPath(directory, content));
  const stuck = paths.reduce((first, path) => (path < first ? path : first));
  execFileSync('mount', ['--bind', stuck, stuck]); // what is a mount point stays
  cleanUp(t, () => execFileSync('umount', [stuck]));
  const tidy = { ask: 'tidy', quotaBytes: 0, policy: 'lru', uses: [] } as const;
  t.match(await ask(tidy), { is: 'tidy', bytes: 100, left: { bytes: 3900 } });
  t.same(paths.filter(existsSync), [stuck]);
  t.match(await ask(tidy), { is: 'failed' }, 'if nothing leaves, that is told');
});
