/** Runs the checks and all tests, or those named, and tells the result in its last line. */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { describeError } from '../src/errors.js';
import { ensureImages } from './images/image-cache.js';
import { testedImageNames } from './images/recipes.js';
import { plainOutput, runTap, tallyLine } from './run-tap.js';

async function check(): Promise<boolean> {
  const child = spawn('npm', ['run', '--silent', 'check'], {
    stdio: ['ignore', 'inherit', 'inherit'],
    env: { ...process.env, ...(process.stdout.isTTY ? {} : plainOutput) },
  });
  const [code] = await once(child, 'exit');
  return code === 0;
}

/** A test has two minutes; building images takes longer, so they are built first. */
async function buildImages(): Promise<boolean> {
  try {
    await ensureImages(testedImageNames, (name) => process.stdout.write(`${name}\n`));
    return true;
  } catch (error) {
    process.stdout.write(`${describeError(error)}\n`);
    return false;
  }
}

const failedStages: string[] = [];
for (const [name, run] of [
  ['npm run check', check],
  ['test images', buildImages],
] as const) {
  process.stdout.write(`== ${name}\n`);
  if (!(await run())) failedStages.push(name);
}
process.stdout.write('== tests\n');
const tally = await runTap(process.argv.slice(2));
tally.failed += failedStages.length;
for (const what of tally.skipped) process.stdout.write(`skipped: ${what}\n`);
for (const name of failedStages) process.stdout.write(`failed: ${name}\n`);
process.stdout.write(tallyLine(tally));
process.exitCode = tally.failed === 0 ? 0 : 1;
