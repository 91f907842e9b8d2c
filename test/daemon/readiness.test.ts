import { chmodSync, existsSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import t from 'tap';
import { checkReadySign, healthCommand, untilReady } from '../../src/daemon/readiness.js';
import type { ImageConfig } from '../../src/image/image-config.js';

function configWith(Test: string[] | undefined): ImageConfig {
  const rootfs = { type: 'layers' as const, diff_ids: [] };
  return {
    architecture: 'amd64',
    os: 'linux',
    rootfs,
    config: Test ? { Healthcheck: { Test } } : {},
  };
}

t.test('health checks as docker reads them', async (t) => {
  t.same(healthCommand(configWith(['CMD', 'curl', '-f', 'localhost'])), [
    'curl',
    '-f',
    'localhost',
  ]);
  t.same(healthCommand(configWith(['CMD-SHELL', 'true || false'])), [
    '/bin/sh',
    '-c',
    'true || false',
  ]);
  for (const none of [undefined, [], ['NONE'], ['CMD'], ['CMD-SHELL']]) {
    t.equal(healthCommand(configWith(none)), undefined);
  }
});

t.test('the check runs in the container until it succeeds', async (t) => {
  const folder = t.testdir({});
  const runtime = join(folder, 'runtime');
  // Succeeds the second time, and notes what it was asked for.
  const script = `#!/bin/sh\necho "$*" >> ${folder}/calls\n[ "$(wc -l < ${folder}/calls)" -ge 2 ]\n`;
  writeFileSync(runtime, script);
  chmodSync(runtime, 0o755);
  const key = { id: 'web', runtime, root: folder };
  const { signal } = new AbortController();
  const container = { key, config: configWith(['CMD', 'check', 'it']) };
  const awake = setInterval(() => {}, 1000); // its timers keep no process alive
  t.teardown(() => clearInterval(awake));
  await untilReady(undefined, container, signal);
  const call = `--root ${folder} exec web check it\n`;
  t.equal(readFileSync(join(folder, 'calls'), 'utf8'), call.repeat(2));
});

t.test('a check that hangs is ended after its time, and with the wait', async (t) => {
  const folder = t.testdir({});
  const runtime = join(folder, 'runtime');
  const script = `#!/bin/sh\necho begun >> ${folder}/calls\nexec sleep 600\n`;
  writeFileSync(runtime, script);
  chmodSync(runtime, 0o755);
  const config = configWith(['CMD', 'check']);
  const [wait, healthcheck] = [new AbortController(), config.config?.Healthcheck];
  if (healthcheck) healthcheck.Timeout = 50e6; // nanoseconds
  const awake = setInterval(() => {
    const calls = existsSync(join(folder, 'calls')) ? readFileSync(join(folder, 'calls')) : '';
    if (`${calls}`.startsWith('begun\n'.repeat(2))) wait.abort();
  }, 20);
  t.teardown(() => clearInterval(awake));
  await untilReady(undefined, { key: { id: 'web', runtime, root: folder }, config }, wait.signal);
  t.ok(wait.signal.aborted, 'the second one began, and the wait for it ended');
});

t.test('only an image with a health check can be ready by it', async (t) => {
  const sign = { kind: 'health' } as const;
  t.throws(() => checkReadySign(sign, configWith(undefined)), { code: 'invalid' });
  checkReadySign(sign, configWith(['CMD', 'true']));
  checkReadySign(undefined, configWith(undefined));
});
