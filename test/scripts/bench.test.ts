import { existsSync } from 'node:fs';
import { readdir, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import t from 'tap';
import { formatTable } from '../../scripts/bench/format-table.js';
import {
  isMet,
  measure,
  median,
  type OpenMeasurement,
  RunCosts,
} from '../../scripts/bench/measurement.js';
import { withScratchDisk } from '../../scripts/bench/scratch-disk.js';
import { runCommand } from '../support/run-command.js';

/** A contender that gives these values, one a run, and writes its name where all do. */
function contender(name: string, values: readonly number[], order: string[]) {
  const left = [...values];
  return {
    name,
    run: async () => {
      order.push(name);
      return left.shift() ?? Number.NaN;
    },
  };
}

function measurement(order: string[], limit: OpenMeasurement['limit']): OpenMeasurement {
  return {
    unit: 'ms',
    contenders: [
      contender('base', [999, 100, 90, 110], order),
      contender('ours', [999, 150, 160, 140], order),
    ],
    ...(limit && { limit }),
  };
}

t.test('contenders take turns, and the first run of each does not count', async (t) => {
  const order: string[] = [];
  const result = await measure(measurement(order, undefined), 'm', 3);
  t.strictSame(order, ['base', 'ours', 'base', 'ours', 'ours', 'base', 'base', 'ours']);
  t.match(result.contenders, [
    { name: 'base', median: 100, ratio: 1, samples: [100, 90, 110], withinLimit: true },
    { name: 'ours', median: 150, ratio: 1.5, samples: [150, 160, 140], withinLimit: true },
  ]);
});

t.test('costs are kept of the runs that count, with a warm-up or without', async (t) => {
  for (const warmUp of [true, false]) {
    let next = 0;
    const costs = new RunCosts<{ milliseconds: number }>();
    const contenders = [costs.contender('only', async () => ({ milliseconds: next++ }))];
    await measure({ unit: 'ms', contenders }, 'm', 2, { warmUp });
    const kept = costs.of('only').map(({ milliseconds }) => milliseconds);
    t.strictSame(kept, warmUp ? [1, 2] : [0, 1]);
  }
});

t.test('limits are of medians, by ratio and by difference', async (t) => {
  for (const [limit, within] of [
    [{ ratio: 1.5 }, true],
    [{ ratio: 1.49 }, false],
    [{ extra: 50 }, true],
    [{ extra: 49 }, false],
    [{ ratio: 2, extra: 10 }, false],
  ] as const) {
    const result = await measure(measurement([], limit), 'm', 3);
    const [base, ours] = result.contenders;
    t.equal(base?.withinLimit, true);
    t.equal(ours?.withinLimit, within, JSON.stringify(limit));
    t.equal(formatTable(result).includes('OVER THE LIMIT'), !within);
  }
});

t.test('a contender that measures nothing is over every limit', async (t) => {
  const opened = measurement([], { ratio: 100 });
  const result = await measure(
    { ...opened, contenders: [...opened.contenders.slice(0, 1), contender('no', [], [])] },
    'm',
    3,
  );
  t.equal(result.contenders[1]?.withinLimit, false);
});

t.test('figures need no contenders, and have limits of their own', async (t) => {
  for (const [value, met] of [
    [2, true],
    [2.01, false],
    [Number.NaN, false],
  ] as const) {
    const figure = { name: 'ratio', unit: '', value, most: 2 };
    const figures = async () => [figure, { name: 'told', unit: 'bytes', value: 1_234_567 }];
    const opened = { ...measurement([], undefined), contenders: [], figures };
    const result = await measure(opened, 'm', 3);
    t.strictSame(result.contenders, []);
    t.equal(isMet(result), met);
    t.equal(formatTable(result).includes('OVER THE LIMIT'), !met);
    t.match(formatTable(result), 'told: 1 234 567 bytes');
  }
});

t.test('median', async (t) => {
  t.equal(median([3, 1, 2]), 2);
  t.equal(median([10, 9, 1, 2]), 5.5);
  t.ok(Number.isNaN(median([])));
});

t.test('a scratch disk is an empty ext4 of its own, and leaves nothing', async (t) => {
  let lent = '';
  const size = await withScratchDisk(64 * 2 ** 20, async (folder) => {
    lent = folder;
    t.strictSame(await readdir(folder), []);
    await writeFile(join(folder, 'file'), 'x');
    const { stdout } = await runCommand('stat', ['--file-system', '--format=%T %b', folder]);
    return stdout.trim();
  });
  t.match(size, /^ext2\/ext3 \d+$/);
  t.notOk(existsSync(lent));
  t.notMatch(await readFile('/proc/self/mounts', 'utf8'), lent);
});

t.test('a scratch disk is taken back from work that fails', async (t) => {
  let lent = '';
  const failing = withScratchDisk(64 * 2 ** 20, async (folder) => {
    lent = folder;
    throw new Error('no luck');
  });
  await t.rejects(failing, { message: 'no luck' });
  t.notOk(existsSync(lent));
});
