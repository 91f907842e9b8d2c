import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { join } from 'node:path';
import { type Tally, TestReport } from './test-report.js';

/** The environment in which programs write no colours. */
export const plainOutput = { NO_COLOR: '1', FORCE_COLOR: undefined };

/**
 * Runs the tests of these files and folders, or all tests, and prints a line for each file.
 * tap's own reports redraw the screen even where there is none.
 */
export async function runTap(paths: readonly string[]): Promise<Tally> {
  const patterns = paths.map((path) => (path.endsWith('.ts') ? path : join(path, '**/*.test.ts')));
  const report = new TestReport((line) => process.stdout.write(`${line}\n`));
  const child = spawn('npx', ['tap', '--reporter=tap', ...patterns], {
    stdio: ['ignore', 'pipe', 'inherit'],
    env: { ...process.env, ...plainOutput },
  });
  for await (const bytes of child.stdout) report.parser.write(bytes);
  if (child.exitCode === null && child.signalCode === null) await once(child, 'exit');
  return report.finish(child.exitCode === 0);
}

/** The last line of a run. */
export function tallyLine({ passed, failed, skipped }: Tally): string {
  return `${passed} passed, ${failed} failed, ${skipped.length} skipped\n`;
}
