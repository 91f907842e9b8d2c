/**
 * Measures, as RESULTS.md tells: `npm run bench [-- [--rounds <number>] [--no-warm-up]
 * [--only <part of a contender's name>]… [--plot <bench.json>]… <part of a name>…]`. Prints a table,
 * writes dist/bench.json and, of pulls, dist/bench-pulls.svg (with those of earlier runs), and exits
 * with 1 if a limit is exceeded.
 */
import { mkdir, readFile, writeFile } from 'node:fs/promises';
import { availableParallelism, loadavg, release } from 'node:os';
import { dirname } from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { z } from 'zod';
import { Ownership } from '../../src/daemon/ownership.js';
import { closeOnSignal } from './close-on-signal.js';
import { formatTable } from './format-table.js';
import { isMet, type MeasurementResult, measure } from './measurement.js';
import { measurements } from './measurements.js';
import { type Plotted, pullPlot } from './pull-plot.js';
import { withScratchDisk } from './scratch-disk.js';

const roundsDefault = 5;
/** Of the file system that a measurement gets; the largest image takes 1 GiB extracted. */
const scratchSize = 8 * 2 ** 30;
const output = fileURLToPath(new URL('../../dist/bench.json', import.meta.url));
/** Pulls side by side. */
const plot = fileURLToPath(new URL('../../dist/bench-pulls.svg', import.meta.url));

const { values, positionals: wanted } = parseArgs({
  options: {
    rounds: { type: 'string', default: `${roundsDefault}` },
    'no-warm-up': { type: 'boolean', default: false },
    plot: { type: 'string', multiple: true, default: [] },
    only: { type: 'string', multiple: true, default: [] },
  },
  allowPositionals: true,
});
const rounds = Number(values.rounds);
if (!Number.isInteger(rounds) || rounds < 1) {
  throw new Error(`Cannot measure in ${values.rounds} rounds: wanted a number from 1 on`);
}
const chosen = measurements.filter(
  ({ name }) => wanted.length === 0 || wanted.some((part) => name.includes(part)),
);
if (chosen.length === 0) {
  const names = measurements.map(({ name }) => name).join(', ');
  throw new Error(`Cannot measure ${wanted.join(', ')}: wanted part of one of ${names}`);
}

const results: MeasurementResult[] = [];
let onSignal = async () => {};
closeOnSignal(() => onSignal());
for (const { name, open } of chosen) {
  const loadBefore = loadavg()[0] ?? 0;
  const measured = withScratchDisk(scratchSize, async (scratch) => {
    await using owned = new Ownership();
    // It fails of that, and takes its disk away.
    onSignal = async () => {
      await owned[Symbol.asyncDispose]();
      await measured.catch(() => undefined);
    };
    const opened = await open(scratch, owned);
    const contenders = opened.contenders.filter((contender) => isWanted(contender.name));
    const some = { ...opened, contenders };
    return await measure(some, name, rounds, { warmUp: !values['no-warm-up'] });
  });
  const result = await measured;
  results.push(result);
  process.stdout.write(`${formatTable(result)}  load before: ${loadBefore.toFixed(2)}\n\n`);
}
const machine = {
  cores: availableParallelism(),
  kernel: release(),
  node: process.version,
  date: new Date().toISOString(),
};
await mkdir(dirname(output), { recursive: true });
const pulls = [...(await earlier(values.plot)), ...results].filter(({ name }) =>
  name.startsWith('pull'),
);
const drawn = pulls.filter(({ contenders }) => contenders.length > 0);
if (drawn.length > 0) await writeFile(plot, pullPlot(drawn));
await writeFile(output, `${JSON.stringify({ machine, rounds, results }, null, 2)}\n`);
if (!results.every(isMet)) process.exitCode = 1;

/** Of contenders that take minutes, --only runs some. */
function isWanted(contender: string): boolean {
  return values.only.length === 0 || values.only.some((part) => contender.includes(part));
}

/** What earlier runs have written, which the plot is to show too. */
async function earlier(files: readonly string[]): Promise<Plotted[]> {
  const schema = z.object({
    results: z.array(
      z.object({
        name: z.string(),
        contenders: z.array(z.object({ name: z.string(), median: z.number() })),
      }),
    ),
  });
  const texts = await Promise.all(files.map((file) => readFile(file, 'utf8')));
  return texts.flatMap((text) => schema.parse(JSON.parse(text)).results);
}
