import type { Ownership } from '../../src/daemon/ownership.js';

/** One of the things that are compared. */
export interface Contender {
  readonly name: string;
  /**
   * One run, from the same starting point each time. Returns what it measured.
   * @param counted false for the run that warms up
   */
  readonly run: (counted: boolean) => Promise<number>;
}

/** How far a contender may be behind the baseline. */
export interface Limit {
  /** Of medians: at most this many times the baseline. */
  readonly ratio?: number;
  /** Of medians: at most this much more than the baseline, in the unit of the measurement. */
  readonly extra?: number;
}

/** One number beside the comparison: counted, not raced. */
export interface Figure {
  readonly name: string;
  readonly unit: string;
  readonly value: number;
  /** What is wanted at most, where something is. */
  readonly most?: number;
}

/** A measurement that is ready to run. */
export interface OpenMeasurement {
  readonly unit: 'ms' | 'bytes' | 'requests' | 'differences';
  /** The first is the baseline. None where only figures are wanted. */
  readonly contenders: readonly Contender[];
  readonly limit?: Limit;
  /** Asked for once, after the last run: what the runs collected, or what needs no rounds. */
  readonly figures?: () => Promise<readonly Figure[]>;
}

export interface Measurement {
  readonly name: string;
  /**
   * @param scratch an empty folder on a fresh disk of its own, removed afterwards
   * @param owned closed afterwards, also if this fails: what is opened goes there at once
   */
  readonly open: (scratch: string, owned: Ownership) => Promise<OpenMeasurement>;
}

/** What the counted runs of contenders have cost, each by its name. */
export class RunCosts<Cost extends { readonly milliseconds: number }> {
  readonly #costs = new Map<string, Cost[]>();

  /** A contender whose time is raced, and whose costs are kept. */
  contender(name: string, once: () => Promise<Cost>): Contender {
    const costs: Cost[] = [];
    this.#costs.set(name, costs);
    const run = async (counted: boolean) => {
      const cost = await once();
      if (counted) costs.push(cost);
      return cost.milliseconds;
    };
    return { name, run };
  }

  /** Of the contenders that ran. */
  *[Symbol.iterator](): Generator<readonly [name: string, costs: readonly Cost[]]> {
    for (const [name, costs] of this.#costs) if (costs.length > 0) yield [name, costs];
  }

  of(name: string): readonly Cost[] {
    return this.#costs.get(name) ?? [];
  }
}

export interface ContenderResult {
  readonly name: string;
  /** In the order of the runs. */
  readonly samples: readonly number[];
  readonly median: number;
  /** Median divided by that of the baseline. */
  readonly ratio: number;
  readonly withinLimit: boolean;
}

export interface MeasurementResult {
  readonly name: string;
  readonly unit: OpenMeasurement['unit'];
  readonly limit?: Limit;
  readonly contenders: readonly ContenderResult[];
  readonly figures: readonly Figure[];
}

/**
 * Runs every contender `rounds` times, after a run each that does not count (which a measurement of
 * minutes can do without). The order is turned
 * round from one round to the next, so that whatever else the machine does meets them alike.
 */
export async function measure(
  { contenders, unit, limit, figures }: OpenMeasurement,
  name: string,
  rounds: number,
  { warmUp = true }: { readonly warmUp?: boolean } = {},
): Promise<MeasurementResult> {
  const samples = contenders.map((): number[] => []);
  if (warmUp) for (const { run } of contenders) await run(false);
  for (let round = 0; round < rounds; round += 1) {
    const order = [...contenders.keys()];
    if (round % 2 === 1) order.reverse();
    for (const at of order) {
      const value = await contenders[at]?.run(true);
      if (value !== undefined) samples[at]?.push(value);
    }
  }
  const medians = samples.map(median);
  const [baseline = Number.NaN] = medians;
  const results = contenders.map((contender, at) => {
    const [own = [], middle = Number.NaN] = [samples[at], medians[at]];
    return {
      name: contender.name,
      samples: own,
      median: middle,
      ratio: middle / baseline,
      withinLimit: at === 0 || isWithin(limit ?? {}, middle, baseline),
    };
  });
  const counted = (await figures?.()) ?? [];
  return { name, unit, ...(limit && { limit }), contenders: results, figures: counted };
}

/** Of an even number of values, the mean of the two in the middle; of none, NaN. */
export function median(values: readonly number[]): number {
  const sorted = [...values].sort((a, b) => a - b);
  const middle = Math.floor(sorted.length / 2);
  const [above = Number.NaN, below = Number.NaN] = [sorted[middle], sorted[middle - 1]];
  return sorted.length % 2 === 1 ? above : (above + below) / 2;
}

/** True if every contender and every figure is where it is wanted. */
export function isMet({ contenders, figures }: MeasurementResult): boolean {
  return contenders.every(({ withinLimit }) => withinLimit) && figures.every(isEnough);
}

export function isEnough({ value, most }: Figure): boolean {
  return most === undefined || value <= most;
}

/** Milliseconds that `work` takes. */
export async function timed(work: () => Promise<unknown>): Promise<number> {
  const start = performance.now();
  await work();
  return performance.now() - start;
}

function isWithin({ ratio, extra }: Limit, value: number, baseline: number): boolean {
  if (ratio !== undefined && !(value <= ratio * baseline)) return false;
  return extra === undefined || value <= baseline + extra;
}
