import { mkdir } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { describeError } from '../../src/errors.js';
import { withScratchDisk } from '../bench/scratch-disk.js';
import type { Scenario } from './scenarios.js';
import { SeededRandom } from './seeded-random.js';
import type { ReaderResult } from './soak-reader.js';
import { SoakRig, type SoakSite } from './soak-rig.js';

export interface ScenarioOptions {
  readonly site: SoakSite;
  /** An existing folder. */
  readonly folder: string;
  readonly seed: number;
  /** Milliseconds under faults. */
  readonly duration: number;
  /** Times that each fault happens, if there is time. Default: as often as there is. */
  readonly rounds?: number;
  readonly outageMax: number;
  readonly workers: number;
  readonly tell: (text: string) => void;
  /** Ends it ahead of time, in order. */
  readonly signal: AbortSignal;
}

export interface ScenarioResult {
  readonly name: string;
  readonly faults: number;
  readonly operations: number;
  readonly bytes: number;
  /** Wrong bytes, and everything else that a program must not see. */
  readonly wrong: readonly string[];
  readonly errors: readonly string[];
  /** Wrong bytes that nobody could have found: see the fault that turns bits round. */
  readonly excused: number;
  /** Seconds. */
  readonly longest: number;
  readonly p99: number;
}

/** Does to a node what the scenario says, drawn by the seed, while a container reads. */
export async function runScenario(
  scenario: Scenario,
  options: ScenarioOptions,
): Promise<ScenarioResult> {
  const { site, seed, workers, outageMax, tell } = options;
  return withScratchDisk(scenario.disk * 2 ** 20, async (scratch) => {
    const random = new SeededRandom(seed);
    const { settings } = scenario;
    const out = join(options.folder, `${scenario.name}-out`);
    await mkdir(out);
    const rig = new SoakRig({
      ...{ site, disk: scratch, out, settings, random, seed, workers, outageMax, tell },
    });
    const failures: string[] = [];
    let faults = 0;
    let read: ReaderResult = nothing;
    try {
      await rig.begin();
      faults = await mistreat(rig, scenario, options);
      read = await rig.reader.stop();
      for (const text of read.slowest) tell(`slow: ${text}`);
    } catch (error) {
      failures.push(describeError(error));
    } finally {
      for (const line of await rig.warnings()) tell(line);
      failures.push(...(await rig.end()));
    }
    return judge(scenario.name, faults, rig, read, failures);
  });
}

/** @returns how many faults there were @throws Error if one of them was not survived */
async function mistreat(
  rig: SoakRig,
  { faults, pause }: Scenario,
  { duration, rounds = Number.POSITIVE_INFINITY, signal }: ScenarioOptions,
): Promise<number> {
  const end = performance.now() + duration;
  let count = 0;
  for (let round = 0; round < rounds; round++) {
    for (const fault of rig.random.shuffle(faults)) {
      if (performance.now() > end || signal.aborted || !rig.reader.isRunning) return count;
      await fault(rig);
      count += 1;
      await delay(pause, undefined, { signal }).catch(() => {});
    }
  }
  return count;
}

const nothing: ReaderResult = {
  operations: 0,
  bytes: 0,
  problems: [],
  slowest: [],
  longest: 0,
  p99: 0,
};

function judge(
  name: string,
  faults: number,
  rig: SoakRig,
  read: ReaderResult,
  failures: readonly string[],
): ScenarioResult {
  const { operations, bytes, problems, longest, p99 } = read;
  const wrong = problems.filter(({ isWrongBytes }) => isWrongBytes);
  const excused = wrong.filter(({ at }) => rig.isChanged(at));
  const told = wrong.filter(({ at }) => !rig.isChanged(at)).map(({ text }) => text);
  const errors = problems.filter(({ isWrongBytes }) => !isWrongBytes).map(({ text }) => text);
  return {
    ...{ name, faults, operations, bytes, longest, p99 },
    wrong: told,
    errors: [...failures, ...errors],
    excused: excused.length,
  };
}

/** A line for people, and one for each of the first problems. */
export function describeScenario(result: ScenarioResult): string {
  const { name, faults, operations, bytes, wrong, errors, excused, longest, p99 } = result;
  const megabytes = (bytes / 1e6).toFixed(0);
  const stalls = `longest ${longest.toFixed(2)} s, p99 ${p99.toFixed(2)} s`;
  const head = `${name}: ${faults} faults, ${operations} operations, ${megabytes} MB compared, ${errors.length} errors, ${wrong.length} wrong (${excused} while nobody watched); ${stalls}`;
  const problems = [...wrong, ...errors];
  return [head, ...problems.slice(0, toldMax).map((text) => `  ${text}`)].join('\n');
}

const toldMax = 20;

export function isGood({ wrong, errors, operations }: ScenarioResult): boolean {
  return wrong.length === 0 && errors.length === 0 && operations > 0;
}
