import { fileURLToPath } from 'node:url';
import t from 'tap';
import { askStatistics } from '../../src/fuse/ask-statistics.js';
import { runProgram } from '../../src/fuse/run-program.js';

const { signal } = new AbortController();

t.test('what a program says, and how it ends', async (t) => {
  const said = await runProgram('sh', ['-c', 'echo out; echo bad >&2; exit 3']);
  t.same(said, { code: 3, stdout: 'out', stderr: 'bad' });
});

t.test('no descriptors: who asks is told, and nothing else happens', async (t) => {
  const program = fileURLToPath(new URL('./no-descriptors.program.ts', import.meta.url));
  const { code, stdout, stderr } = await runProgram(process.execPath, ['--import=tsx', program]);
  t.same([code, stderr], [0, '']);
  t.same(JSON.parse(stdout), { ran: 'unavailable', answered: false });
});

t.test('no process at all, as for want of memory', async (t) => {
  await t.rejects(runProgram('no\0program', []), { name: 'ThinError' });
  t.equal(await askStatistics('no\0path', signal), false);
  t.equal(await askStatistics('/', signal), true);
});
