import t from 'tap';
import { runCommand } from '../support/run-command.js';

const tested = new URL('../../src/registry/credential-helper.ts', import.meta.url).href;
/** Asks a helper when this process cannot open a file any more. */
const script = `
  import { closeSync, openSync } from 'node:fs';
  const { askCredentialHelper } = await import('${tested}');
  const open = [];
  try {
    for (;;) open.push(openSync('/dev/null'));
  } catch {}
  const asked = await askCredentialHelper('any', 'registry', new AbortController().signal)
    .catch((error) => error);
  for (const file of open) closeSync(file);
  process.stdout.write(asked.code + ' ' + asked.message);
`;

t.test('a helper that cannot be started for want of files does not end the process', async (t) => {
  const node = [process.execPath, '--import', import.meta.resolve('tsx'), '--input-type=module'];
  const words = ['-c', 'ulimit -n 100; exec "$@"', 'sh', ...node, '-e', script];
  const { stdout, stderr } = await runCommand('sh', words, { mayFail: true });
  t.match(stdout, /^denied Cannot get credentials for registry .* cannot be run/, stderr);
});
