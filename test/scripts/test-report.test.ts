import t from 'tap';
import { TestReport } from '../../scripts/test-report.js';

function read(tap: string, succeeded: boolean) {
  const lines: string[] = [];
  const report = new TestReport((line) => lines.push(line));
  report.parser.write(tap);
  return { tally: report.finish(succeeded), lines };
}

function file(name: string, body: string, close: string): string {
  return `# Subtest: ${name}\n${body.replace(/^/gm, '    ')}\n${close}\n`;
}

const version = 'TAP version 14\n';
const good = file('good.ts', 'ok 1 - a\nok 2 - b\n1..2', 'ok 1 - good.ts # time=1500ms');

t.test('assertions count, their subtests do not', async (t) => {
  const inner = '# Subtest: sub\n    ok 1 - b\n    not ok 2 - c\n      ---\n      diff: |\n';
  const more = `        -1\n        +2\n      ...\n    1..2\nnot ok 1 - sub\n1..1`;
  const bad = file('bad.ts', inner + more, 'not ok 2 - bad.ts');
  const { tally, lines } = read(`${version}${good}${bad}1..2\n`, false);
  t.strictSame(tally, { passed: 3, failed: 1, skipped: [] });
  t.strictSame(lines, [
    'good.ts: 2 passed (1.5 s)',
    'not ok: bad.ts > sub > c',
    '    diff:',
    '      -1',
    '      +2',
    'bad.ts: 1 passed, 1 FAILED (0.0 s)',
  ]);
});

t.test('a file that crashes is a failure, and what it printed is told', async (t) => {
  const crash = file('crash.ts', 'ok 1 - a\nabout to crash', 'not ok 2 - crash.ts');
  const { tally, lines } = read(`${version}${good}${crash}1..2\n`, false);
  t.strictSame(tally, { passed: 3, failed: 1, skipped: [] });
  t.ok(lines.includes('not ok: crash.ts'));
  t.ok(lines.includes('  | about to crash'));
});

t.test('what is skipped is listed with its reason', async (t) => {
  const body =
    'ok 1 - x # SKIP no such kernel\nok 2 - later # TODO write it\nok 3 - y # SKIP\n1..3';
  const empty = file('empty.ts', '1..0 # needs root', 'ok 2 - empty.ts # SKIP needs root');
  const { tally } = read(`${version}${file('s.ts', body, 'ok 1 - s.ts')}${empty}1..2\n`, true);
  t.strictSame(tally, {
    passed: 0,
    failed: 0,
    skipped: [
      's.ts > x: no such kernel',
      's.ts > later: to do: write it',
      's.ts > y: no reason given',
      'empty.ts: needs root',
    ],
  });
});

t.test('a run that breaks off, or fails without saying why, is a failure', async (t) => {
  for (const [tap, succeeded] of [
    ['', false],
    [`${version}${good}`, true],
    [`${version}${good}Bail out! no disk\n`, true],
    [`${version}${good}1..2\n`, true],
    [`${version}${good}1..1\n`, false],
  ] as const) {
    t.equal(read(tap, succeeded).tally.failed, 1, JSON.stringify(tap.slice(-20)));
  }
  t.equal(read(`${version}${good}1..1\n`, true).tally.failed, 0);
});
