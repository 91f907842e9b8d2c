/** Runs the checks and all tests, or the files named, and tells the result in its last line. */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { describeError } from '../src/errors.js';
import { ensureImage } from './images/image-cache.js';
import { imageNames } from './images/recipes.js';
import { type Tally, TestReport } from './test-report.js';

/** Only measurements use it, and build it then. */
const measuredOnly = 'science';

const plainOutput = { NO_COLOR: '1', FORCE_COLOR: undefined };

/** Runs a program that writes to our output; true if it succeeds. */
async function succeeds(command: string, args: readonly string[]): Promise<boolean> {
  const child = spawn(command, args, {
    stdio: ['ignore', 'inherit', 'inherit'],
    env: { ...process.env, ...(process.stdout.isTTY ? {} : plainOutput) },
  });
  const [code] = await once(child, 'exit');
  return code === 0;
}

/** A test has two minutes; building images takes longer, so they are built first. */
async function buildImages(): Promise<boolean> {
  try {
    for (const name of imageNames) if (name !== measuredOnly) await ensureImage(name);
    return true;
  } catch (error) {
    process.stdout.write(`${describeError(error)}\n`);
    return false;
  }
}

async function runTap(files: readonly string[]): Promise<Tally> {
  const report = new TestReport((line) => process.stdout.write(`${line}\n`));
  const child = spawn('npx', ['tap', '--reporter=tap', ...files], {
    stdio: ['ignore', 'pipe', 'inherit'],
    env: { ...process.env, ...plainOutput },
  });
  for await (const bytes of child.stdout) report.parser.write(bytes);
  if (child.exitCode === null && child.signalCode === null) await once(child, 'exit');
  return report.finish(child.exitCode === 0);
}

const files = process.argv.slice(2);
const stages: [string, () => Promise<boolean>][] = [
  ['npm run check', () => succeeds('npm', ['run', '--silent', 'check'])],
  ['building the test images', buildImages],
];
const failedStages: string[] = [];
for (const [name, run] of stages) {
  process.stdout.write(`== ${name}\n`);
  if (!(await run())) failedStages.push(name);
}
process.stdout.write('== tests\n');
const tally = await runTap(files);
const failed = tally.failed + failedStages.length;
for (const what of tally.skipped) process.stdout.write(`skipped: ${what}\n`);
for (const name of failedStages) process.stdout.write(`failed: ${name}\n`);
process.stdout.write(`${tally.passed} passed, ${failed} failed, ${tally.skipped.length} skipped\n`);
process.exitCode = failed === 0 ? 0 : 1;
