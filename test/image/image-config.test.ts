import t from 'tap';
import { isThinError } from '../../src/errors.js';
import { imageConfigSchema, imageLayers, parseImageConfig } from '../../src/image/image-config.js';
import { type Manifest, parseManifest } from '../../src/image/manifest.js';
import { mediaTypes } from '../../src/image/media-type.js';
import fc from '../support/properties.js';

const diffId = `sha256:${'cd'.repeat(32)}`;

/** What docker 20.10 writes, with the fields that are its own. */
const docker = {
  architecture: 'amd64',
  os: 'linux',
  config: {
    Hostname: '',
    Domainname: '',
    User: '1000:www',
    AttachStdin: false,
    Env: ['PATH=/usr/bin', 'EMPTY='],
    Cmd: null,
    Entrypoint: ['/entry', 'a b'],
    Image: 'sha256:1234',
    Volumes: { '/data': {} },
    ExposedPorts: { '80/tcp': {} },
    WorkingDir: '/srv',
    OnBuild: null,
    StopSignal: 'SIGQUIT',
    Labels: { a: 'b' },
    Healthcheck: { Test: ['CMD', 'true'], Interval: 30_000_000_000, Retries: 3 },
    ArgsEscaped: true,
  },
  container: 'ab12',
  container_config: { Cmd: ['/bin/sh'] },
  created: '2024-01-01T00:00:00.123456789Z',
  docker_version: '20.10.24',
  history: [{ created: '2024-01-01T00:00:00Z', created_by: '/bin/sh', empty_layer: true }],
  rootfs: { type: 'layers', diff_ids: [diffId] },
};

function bytes(document: unknown): Buffer {
  return Buffer.from(JSON.stringify(document));
}

t.test(
  "docker's config is read without its extra fields, and reads back to the same",
  async (t) => {
    const config = parseImageConfig(bytes(docker));
    t.same(config.config, {
      User: '1000:www',
      Env: ['PATH=/usr/bin', 'EMPTY='],
      Entrypoint: ['/entry', 'a b'],
      WorkingDir: '/srv',
      StopSignal: 'SIGQUIT',
      Volumes: { '/data': {} },
      ExposedPorts: { '80/tcp': {} },
      Labels: { a: 'b' },
      Healthcheck: { Test: ['CMD', 'true'], Interval: 30_000_000_000, Retries: 3 },
    });
    t.same(config.rootfs.diff_ids, [diffId]);
    t.same(imageConfigSchema.parse(JSON.parse(JSON.stringify(config))), config);
    const least = { architecture: 'arm', os: 'linux', rootfs: { type: 'layers', diff_ids: [] } };
    t.same(parseImageConfig(bytes(least)), least);
  },
);

t.test('what could mislead execve or the tree is refused', async (t) => {
  for (const change of [
    { config: { Env: ['A=\0'] } },
    { config: { Entrypoint: '/bin/sh' } },
    { config: { User: 0 } },
    { config: { WorkingDir: 'a\0b' } },
    { config: { Volumes: { 'a\0': {} } } },
    { rootfs: { type: 'tarball', diff_ids: [] } },
    { rootfs: { type: 'layers', diff_ids: ['sha256:..'] } },
    { rootfs: undefined },
    { os: undefined },
  ]) {
    t.throws(() => parseImageConfig(bytes({ ...docker, ...change })), { code: 'corrupt' });
  }
});

t.test('manifest and config agree about the layers', async (t) => {
  const descriptor = {
    mediaType: 'application/vnd.oci.image.layer.v1.tar',
    digest: diffId,
    size: 1,
  };
  const image = (count: number): Manifest => {
    const read = parseManifest(
      bytes({
        schemaVersion: 2,
        config: descriptor,
        layers: Array.from({ length: count }, () => descriptor),
      }),
      mediaTypes.ociManifest,
    );
    if (read.kind !== 'manifest') throw new Error('not a manifest');
    return read;
  };
  const config = parseImageConfig(bytes(docker));
  t.same(imageLayers(image(1), config), [{ descriptor, diffId }]);
  t.throws(() => imageLayers(image(0), config), {
    code: 'corrupt',
    message: /1 diff IDs \(wanted 0/,
  });
  t.throws(() => imageLayers(image(2), config), { code: 'corrupt' });
});

t.test('any document gives a config or one error', async () => {
  const key = fc.constantFrom(...Object.keys(docker), '__proto__');
  const inner = fc.constantFrom(...Object.keys(docker.config), '__proto__');
  const document = fc.oneof(
    fc.json().map((text) => Buffer.from(text)),
    fc.tuple(key, fc.jsonValue()).map(([key, value]) => bytes({ ...docker, [key]: value })),
    fc
      .tuple(inner, fc.jsonValue())
      .map(([key, value]) => bytes({ ...docker, config: { ...docker.config, [key]: value } })),
  );
  fc.assert(
    fc.property(document, (document) => {
      try {
        const config = parseImageConfig(document);
        return JSON.stringify(parseImageConfig(bytes(config))) === JSON.stringify(config);
      } catch (error) {
        return isThinError(error, 'corrupt');
      }
    }),
    { numRuns: 2000 },
  );
});
