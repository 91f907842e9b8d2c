import t from 'tap';
import { Composer, type ComposerOptions, PartialFileEnds } from '../../src/daemon/composer.js';

t.test('a self test that failed is made again after a minute, for who wants a mount', async (t) => {
  let [now, tests] = [0, 0];
  const options = {
    ...{ root: '/nowhere', runFolder: '/nowhere' },
    device: { descriptor: -1, needed: () => undefined },
    log: { warn: () => undefined },
    now: () => now,
    probe: async () => {
      tests += 1;
      return { available: false, reason: `no loop device is free (${tests})`, full: false };
    },
  } as unknown as ComposerOptions;
  const composer = new Composer(options, new PartialFileEnds());
  t.equal(composer.unavailable, undefined, 'nobody has tried');
  await t.rejects(composer.roots(), {
    code: 'unavailable',
    message: /no loop device is free \(1\)/,
  });
  now = 59_000;
  t.ok(composer.isUnavailable);
  await t.rejects(composer.roots(), { message: /\(1\)/ });
  now = 60_000;
  t.notOk(composer.isUnavailable);
  await Promise.all([
    t.rejects(composer.roots(), { message: /\(2\)/ }),
    t.rejects(composer.roots(), { message: /\(2\)/ }),
  ]);
  t.match(composer.unavailable, /\(2\)/);
  t.ok(composer.isUnavailable);
  t.equal(tests, 2);
});

t.test('without a device there is nothing to try again', async (t) => {
  let now = 0;
  const log = { warn: () => undefined };
  const options = { device: undefined, log, now: () => now } as unknown as ComposerOptions;
  const composer = new Composer(options, new PartialFileEnds());
  await t.rejects(composer.roots(), { code: 'unavailable', message: /\/dev\/fuse/ });
  now = 1e9;
  t.ok(composer.isUnavailable);
});
