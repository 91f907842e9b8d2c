import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import t from 'tap';
import { isGood, runScenario } from '../../scripts/soak/run-scenario.js';
import { scenarios } from '../../scripts/soak/scenarios.js';
import { openSite } from '../../scripts/soak/soak-rig.js';

/** The long form, `npm run soak`, draws others. */
const seed = 1;

t.test('every fault once, while a container reads and compares', async (t) => {
  const folder = mkdtempSync(join(tmpdir(), 'thinfs-soak-'));
  t.teardown(() => rmSync(folder, { recursive: true, force: true }));
  const site = await openSite(folder);
  t.teardown(() => site.registry[Symbol.asyncDispose]());
  const scenario = scenarios.find(({ name }) => name === 'all');
  if (!scenario) throw new Error('Cannot soak: there is no scenario of everything');
  const result = await runScenario(scenario, {
    ...{ site, folder, seed, rounds: 1, duration: 120_000, outageMax: 3_000, workers: 3 },
    tell: (text) => t.comment(text),
    signal: new AbortController().signal,
  });
  t.strictSame(result.errors, []);
  t.strictSame(result.wrong, []);
  t.equal(result.faults, scenario.faults.length);
  t.ok(isGood(result), `${result.operations} operations, the longest ${result.longest} s`);
});
