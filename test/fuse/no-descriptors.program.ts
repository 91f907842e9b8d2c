import { execFileSync } from 'node:child_process';
import { openSync } from 'node:fs';
import { askStatistics } from '../../src/fuse/ask-statistics.js';
import { runProgram } from '../../src/fuse/run-program.js';

/** A process that has no descriptors left asks for programs, and says what it is told. */
execFileSync('prlimit', ['--pid', `${process.pid}`, '--nofile=200:']);
try {
  for (;;) openSync('/dev/null', 'r');
} catch {
  // There are no more.
}
const ran = await runProgram('true', []).catch((error: { code: string }) => error.code);
const answered = await askStatistics('/', new AbortController().signal);
await new Promise(setImmediate); // what nobody awaits would end it
process.stdout.write(JSON.stringify({ ran, answered }));
process.exit(0); // Node.js forgets the pipes of a program that it cannot start, and would wait for them
