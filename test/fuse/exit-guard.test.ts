import { chmod, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import t from 'tap';
import { runCommand } from '../support/run-command.js';
import { temporaryFolder } from './mounted-tree.js';

const program = fileURLToPath(new URL('./release-threads.program.ts', import.meta.url));
/** As `stat` is that waits for the mount, and was stopped meanwhile: SIGTERM does not end it. */
const stubbornStat = `#!/bin/sh
trap '' TERM
while :; do sleep 0.1; done
`;

t.test(
  'a process comes to its end whatever becomes of the programs that it runs then',
  async (t) => {
    const folder = await temporaryFolder(t);
    await writeFile(join(folder, 'stat'), stubbornStat);
    await chmod(join(folder, 'stat'), 0o755);
    const env = { PATH: `${folder}:${process.env.PATH}` };
    const args = ['--import', 'tsx', program, folder];
    const options = { env, mayFail: true, timeoutMs: 60_000 };
    const start = Date.now();
    const { signal, stderr } = await runCommand(process.execPath, args, options);
    t.equal(signal, 'SIGKILL', stderr);
    t.ok(Date.now() - start < options.timeoutMs, 'its own');
  },
);
