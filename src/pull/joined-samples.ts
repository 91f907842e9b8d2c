import { type Bottleneck, bottlenecks, type PullSample } from './pull-meter.js';

/** Steps that follow each other as longer ones, of `size` each. */
export function joinedSamples(samples: readonly PullSample[], size: number): PullSample[] {
  const result: PullSample[] = [];
  for (let at = 0; at < samples.length; at += size) {
    const some = samples.slice(at, at + size);
    const last = some.at(-1);
    if (last !== undefined) result.push(some.length === 1 ? last : joined(some, last.at));
  }
  return result;
}

function joined(samples: readonly PullSample[], at: number): PullSample {
  const sum = (of: (sample: PullSample) => number) =>
    samples.reduce((total, sample) => total + of(sample), 0);
  const ms = sum((sample) => sample.ms);
  const mean = (of: (sample: PullSample) => number) =>
    sum((sample) => of(sample) * sample.ms) / Math.max(ms, 1);
  return {
    at,
    ms,
    bytes: sum(({ bytes }) => bytes),
    storedBytes: sum(({ storedBytes }) => storedBytes),
    plainBytes: sum(({ plainBytes }) => plainBytes),
    writtenBytes: sum(({ writtenBytes }) => writtenBytes),
    starved: mean(({ starved }) => starved),
    cpu: mean(({ cpu }) => cpu),
    bottleneck: longest(samples),
  };
}

/** What they waited for longest. */
function longest(samples: readonly PullSample[]): Bottleneck {
  const times = { network: 0, cpu: 0, disk: 0 };
  for (const { bottleneck, ms } of samples) times[bottleneck] += ms;
  return bottlenecks.reduce((most, other) => (times[other] > times[most] ? other : most));
}
