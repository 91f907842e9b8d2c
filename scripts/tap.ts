/** Runs tests without checks and set-up: `npm test [-- <file or folder>…]`. */
import { runTap, tallyLine } from './run-tap.js';

const tally = await runTap(process.argv.slice(2));
for (const what of tally.skipped) process.stdout.write(`skipped: ${what}\n`);
process.stdout.write(tallyLine(tally));
process.exitCode = tally.failed === 0 ? 0 : 1;
