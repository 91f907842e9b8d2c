import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import t from 'tap';
import type { PullSample } from '../../src/pull/pull-meter.js';
import { PullReport } from '../../src/pull/pull-report.js';
import { timelineSvg } from '../../src/pull/timeline-svg.js';
import { runCommand } from '../support/run-command.js';

function sample(at: number, changes: Partial<PullSample> = {}): PullSample {
  return {
    at,
    ms: 100,
    bytes: 1_000_000,
    storedBytes: 900_000,
    plainBytes: 3_000_000,
    writtenBytes: 2_000_000,
    starved: 0,
    cpu: 0.9,
    bottleneck: 'cpu',
    ...changes,
  };
}

const layer = {
  phase: 'done',
  size: 2_000_000,
  downloaded: 2_000_000,
  resumed: 0,
  lost: 0,
  stored: 2_000_000,
  plainBytes: 6_000_000,
  writtenBytes: 4_000_000,
  tier: 'local',
} as const;

t.test('a timeline is well-formed, whatever the samples and the title', async (t) => {
  const many = Array.from({ length: 1000 }, (_, at) => sample((at + 1) * 100));
  const slow = sample(200, { bytes: 0, bottleneck: 'network', starved: 1 });
  for (const samples of [[], [sample(100)], [sample(100), slow], many]) {
    const path = join(t.testdir({}), 'timeline.svg');
    writeFileSync(path, timelineSvg('thin pull <"a&b">', samples));
    await runCommand('python3', [
      '-c',
      'import sys,xml.dom.minidom as m; m.parse(sys.argv[1])',
      path,
    ]);
    t.pass(`${samples.length} samples`);
  }
  t.notMatch(timelineSvg('', [sample(100, { ms: 0, bytes: 0 })]), /NaN|Infinity/);
});

t.test('what a pull was, as a whole', async (t) => {
  const report = new PullReport();
  const nothing = { downloaded: 0, stored: 0, writtenBytes: 0, tier: undefined };
  const here = { ...layer, ...nothing, phase: 'here' } as const;
  const faster = { ...layer, downloaded: 0, writtenBytes: 1000, tier: 'fast' } as const;
  const layers = [layer, here, faster];
  report.add({ layers, sample: sample(100) });
  report.add({ layers, sample: sample(200) });
  const after = sample(400, { ms: 200, bytes: 0, bottleneck: 'disk' });
  report.add({ layers, sample: after });
  t.match(report.summary(), {
    layers: 3,
    layersHere: 1,
    downloadedBytes: 2_000_000,
    writtenBytes: 4_001_000,
    writtenTo: { local: 4_000_000, fast: 1000 },
    ms: 400,
    msAfterLastByte: 200,
    downloadRate: 10_000_000,
    bottleneckShare: 0.5,
  });
  report.add({ layers, sample: sample(50, { ms: 50, bytes: 0, bottleneck: 'cpu' }) });
  t.match(report.summary(), { ms: 50, msAfterLastByte: 50, bottleneck: 'cpu', bottleneckShare: 1 });
  t.equal(report.samples.length, 1, 'of the next daemon, where one died over it');
  t.equal(new PullReport().summary().ms, 0, 'of a pull that did nothing');
});

t.test(
  'a pull of days is told in a bounded number of steps, and of what they waited for',
  async (t) => {
    const report = new PullReport();
    const waits = ['disk', 'network', 'network', 'cpu', 'network'] as const;
    for (let at = 0; at < 50_000; at++) {
      const bottleneck = waits[at % waits.length] ?? 'disk';
      report.add({ layers: [layer], sample: sample((at + 1) * 100, { bottleneck }) });
    }
    const { samples } = report;
    t.ok(samples.length <= 2000, `${samples.length} steps`);
    t.equal(
      samples.reduce((sum, { bytes }) => sum + bytes, 0),
      50_000 * 1_000_000,
    );
    t.equal(samples.at(-1)?.at, 5_000_000);
    const joined = samples.filter(({ ms }) => ms > 500);
    t.ok(joined.length > 0 && joined.every(({ bottleneck }) => bottleneck === 'network'));
    t.match(report.summary(), { bottleneck: 'network', bottleneckShare: 0.6, ms: 5_000_000 });
  },
);
