/**
 * `npm run soak -- [--minutes 5] [--seed N] [--workers 8] [--verbose] [name…]`: does bad things to a
 * node while a container reads and compares every byte; RESULTS.md of the benchmarks says what came
 * of it. The same seed draws the same faults. Exits with 1 if anything was wrong.
 */
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { describeScenario, isGood, runScenario } from './run-scenario.js';
import { scenarios } from './scenarios.js';
import { openSite } from './soak-rig.js';

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    minutes: { type: 'string', default: '5' },
    seed: { type: 'string', default: `${Date.now() % 2 ** 32}` },
    workers: { type: 'string', default: '8' },
    verbose: { type: 'boolean', default: false },
  },
});
/** Milliseconds that a registry is away. */
const outageMax = 60_000;

const chosen = scenarios.filter(
  ({ name }) => positionals.length === 0 || positionals.includes(name),
);
if (chosen.length === 0) {
  const names = scenarios.map(({ name }) => name).join(', ');
  throw new Error(`Cannot soak ${positionals.join(', ')}: wanted some of ${names}`);
}
const seed = Number(values.seed);
const folder = await mkdtemp(join(tmpdir(), 'thinfs-soak-'));
const tell = (text: string): void => {
  if (values.verbose) process.stdout.write(`  ${new Date().toISOString()} ${text}\n`);
};
const interrupt = new AbortController();
for (const name of ['SIGINT', 'SIGTERM'] as const) process.once(name, () => interrupt.abort());
const { signal } = interrupt;
try {
  process.stdout.write(`seed ${seed}\n`);
  const site = await openSite(folder);
  try {
    for (const scenario of chosen) {
      if (signal.aborted) break;
      const duration = Number(values.minutes) * 60_000;
      const workers = Number(values.workers);
      const options = { site, folder, seed, duration, outageMax, workers, tell, signal };
      const result = await runScenario(scenario, options);
      process.stdout.write(`${describeScenario(result)}\n`);
      if (!isGood(result)) process.exitCode = 1;
    }
  } finally {
    await site.registry[Symbol.asyncDispose]();
  }
} finally {
  await rm(folder, { recursive: true, force: true });
}
