/** run-container.program.ts <id> <runtime root> <bundle>: `runContainer` with its own streams. */
import { findRuntime, runContainer } from '../../src/mount/runc.js';

const [id = '', root = '', bundle = ''] = process.argv.slice(2);
const container = runContainer({ id, root, runtime: findRuntime(), bundle, stdin: true });
for (const name of ['SIGTERM', 'SIGINT', 'SIGUSR1', 'SIGWINCH'] as const) {
  process.on(name, () => container.signal(name));
}
process.exit(await container.exitCode);
