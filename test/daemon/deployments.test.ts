import { mock } from 'node:test';
import t from 'tap';
import { Deployments } from '../../src/daemon/deployments.js';
import { type Digest, parseDigest } from '../../src/digest.js';
import { ThinError } from '../../src/errors.js';

const manifests = {
  thin: parseDigest(`sha256:${'1'.repeat(64)}`),
  pulled: parseDigest(`sha256:${'2'.repeat(64)}`),
};

/** A node whose images are those that it was told of, and the bytes that came for them. */
function node() {
  const images = new Map<Digest, { kind: 'thin' | 'pulled'; bytes: number }>();
  const parts = {
    images: { list: () => [...images].map(([manifest, { kind }]) => ({ manifest, kind })) },
    live: {
      fetched: (manifest: Digest) => ({
        ...{ requests: 1, failures: 0 },
        bytes: images.get(manifest)?.bytes ?? 0,
      }),
    },
  };
  const deployments = new Deployments(parts);
  const start = async (kind: 'thin' | 'pulled', id: string, bytes: number) => {
    const manifest = manifests[kind];
    return await deployments.start(
      `${kind}:1`,
      async () => {
        const before = images.get(manifest)?.bytes ?? 0;
        images.set(manifest, { kind, bytes: before + bytes });
        return { record: { manifest, kind } };
      },
      async () => ({ id }),
    );
  };
  return { images, deployments, start };
}

t.test('what a start has brought, as far as it has come', async (t) => {
  const { images, deployments, start } = node();
  await start('thin', 'a', 100);
  t.match(deployments.list(), [{ image: 'thin:1', end: 'made', originBytes: 100, hit: false }]);
  images.set(manifests.thin, { kind: 'thin', bytes: 250 });
  t.match(deployments.list(), [{ originBytes: 250 }]);
  deployments.ready('a');
  images.set(manifests.thin, { kind: 'thin', bytes: 300 });
  deployments.ended('a');
  t.match(deployments.list(), [{ end: 'ready', originBytes: 250 }], 'until it was ready');
  await start('thin', 'b', 0);
  deployments.ended('b');
  deployments.ended('nobody');
  t.match(deployments.list()[1], { end: 'ended', originBytes: 0, hit: true });
  await deployments[Symbol.asyncDispose]();
});

t.test('a container that takes long is timed to its sign, and to nothing else', async (t) => {
  mock.timers.enable({ apis: ['setTimeout'] });
  t.teardown(() => mock.timers.reset());
  const { images, deployments, start } = node();
  for (const id of ['a', 'b', 'c']) await start('thin', id, id === 'a' ? 100 : 0);
  mock.timers.tick(30_000);
  images.set(manifests.thin, { kind: 'thin', bytes: 250 });
  const made = { end: 'made', originBytes: 0 };
  t.match(deployments.list(), [{ end: 'made', originBytes: 100 }, made, made], 'as it was then');
  deployments.ready('a');
  deployments.ended('b');
  mock.timers.tick(270_000);
  deployments.ready('c');
  t.match(deployments.list(), [{ end: 'ready', originBytes: 250 }, made, made]);
  await deployments[Symbol.asyncDispose]();
});

t.test('a name that is used again is the later one’s', async (t) => {
  mock.timers.enable({ apis: ['setTimeout'] });
  t.teardown(() => mock.timers.reset());
  const { deployments, start } = node();
  await start('thin', 'a', 100);
  mock.timers.tick(15_000);
  await start('thin', 'a', 0);
  mock.timers.tick(290_000);
  deployments.ready('a');
  t.match(deployments.list(), [{ end: 'made' }, { end: 'ready' }]);
  await deployments[Symbol.asyncDispose]();
});

t.test('an image that is pulled in full is no hit at first', async (t) => {
  const { deployments, start } = node();
  await start('pulled', 'a', 0);
  await start('pulled', 'b', 0);
  t.match(deployments.list(), [
    { originBytes: undefined, hit: false },
    { originBytes: 0, hit: true },
  ]);
  await deployments[Symbol.asyncDispose]();
});

t.test('what fails is told of, unless it was given up; long names are cut', async (t) => {
  const { deployments } = node();
  for (const code of ['not-found', 'canceled'] as const) {
    const failing = deployments.start(
      'x'.repeat(9000),
      () => Promise.reject(new ThinError(code, 'Cannot')),
      async () => ({ id: 'a' }),
    );
    await t.rejects(failing, { code });
  }
  t.match(deployments.list(), [{ end: 'failed', image: 'x'.repeat(300), hit: false }]);
  t.equal(deployments.list().length, 1);
});
