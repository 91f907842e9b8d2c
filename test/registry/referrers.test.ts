import t, { type Test } from 'tap';
import { type Digest, digestOf } from '../../src/digest.js';
import type { Descriptor } from '../../src/image/descriptor.js';
import { mediaTypes } from '../../src/image/media-type.js';
import { referrersTag } from '../../src/registry/referrers-tag.js';
import { RegistryClient } from '../../src/registry/registry-client.js';
import { startRegistry } from '../support/docker-registry.js';
import { type Answer, type Received, startHostile } from '../support/hostile-http.js';

const { signal } = new AbortController();
const artifactType = 'application/vnd.thinfs.image.v1';
const empty = Buffer.from('{}');
const config = { mediaType: mediaTypes.ociEmpty, digest: digestOf(empty), size: empty.length };

async function open(t: Test, registry: string): Promise<RegistryClient> {
  const patience = { attemptsMax: 3, backoffMs: 1 };
  const client = await RegistryClient.open({
    registry,
    repository: 'team/app',
    credentials: 'anonymous',
    patience,
  });
  t.teardown(() => client[Symbol.asyncDispose]());
  return client;
}

function manifestOf(fields: object): Buffer {
  const head = { schemaVersion: 2, mediaType: mediaTypes.ociManifest };
  return Buffer.from(JSON.stringify({ ...head, config, layers: [], ...fields }));
}

async function pushSubject(client: RegistryClient): Promise<Descriptor> {
  await client.pushBlob(
    config,
    async function* () {
      yield empty;
    },
    signal,
  );
  const bytes = manifestOf({});
  const digest = await client.pushManifest('v1', bytes, mediaTypes.ociManifest, signal);
  return { mediaType: mediaTypes.ociManifest, digest, size: bytes.length };
}

function referrer(subject: Descriptor, name: string, type = artifactType): Buffer {
  return manifestOf({ artifactType: type, subject, annotations: { name } });
}

t.test('in a registry without the API (docker-registry 2.8) a tag lists them', async (t) => {
  const { host } = await startRegistry(t);
  const client = await open(t, host);
  const subject = await pushSubject(client);
  t.same(await client.referrers(subject.digest, artifactType, signal), []);
  const bytes = referrer(subject, 'first');
  const first = await client.pushReferrer(bytes, mediaTypes.ociManifest, signal);
  t.same(first, {
    mediaType: mediaTypes.ociManifest,
    digest: digestOf(bytes),
    size: bytes.length,
    artifactType,
    annotations: { name: 'first' },
  });
  t.same(await client.referrers(subject.digest, artifactType, signal), [first]);
  t.same((await client.manifest(first, signal)).bytes, bytes);
  const other = await client.pushReferrer(
    referrer(subject, 'x', 'text/x'),
    mediaTypes.ociManifest,
    signal,
  );
  const second = await client.pushReferrer(
    referrer(subject, 'second'),
    mediaTypes.ociManifest,
    signal,
  );
  t.same(await client.referrers(subject.digest, artifactType, signal), [first, second]);
  t.same(await client.referrers(subject.digest, 'text/x', signal), [other]);
  const tag = await client.manifest(referrersTag(subject.digest), signal);
  await client.pushReferrer(bytes, mediaTypes.ociManifest, signal);
  t.same(
    await client.manifest(referrersTag(subject.digest), signal),
    tag,
    'pushing again changes nothing',
  );
});

t.test('what cannot be listed', async (t) => {
  const { host } = await startRegistry(t);
  const client = await open(t, host);
  const subject = await pushSubject(client);
  await t.rejects(client.pushReferrer(manifestOf({}), mediaTypes.ociManifest, signal), {
    code: 'invalid',
    message: /names no subject/,
  });
  const taken = manifestOf({ annotations: { an: 'image' } });
  await client.pushManifest(referrersTag(subject.digest), taken, mediaTypes.ociManifest, signal);
  await t.rejects(client.pushReferrer(referrer(subject, 'x'), mediaTypes.ociManifest, signal), {
    code: 'corrupt',
    message: /it is an image/,
  });
  await t.rejects(client.referrers(subject.digest, artifactType, signal), { code: 'corrupt' });
});

t.test('tags of digests', async (t) => {
  t.equal(referrersTag(digestOf(empty)), digestOf(empty).replace(':', '-'));
  const long = `sha512:${'ab'.repeat(64)}`;
  t.equal(referrersTag(long as Digest), `sha512-${'ab'.repeat(32)}`);
});

/** A registry in memory with manifests and, if `api`, referrers. */
async function startMemory(
  t: Test,
  {
    api,
    change,
  }: {
    api: boolean;
    change?: (request: Received, tags: Map<string, Buffer>) => Answer | undefined;
  },
): Promise<{ host: string; received: readonly Received[]; tags: Map<string, Buffer> }> {
  const tags = new Map<string, Buffer>();
  const server = await startHostile(t, (request) => {
    const changed = change?.(request, tags);
    if (changed) return changed;
    const { method, path, body } = request;
    const [, kind, name = ''] = /^\/v2\/team\/app\/(manifests|referrers)\/([^?]+)/.exec(path) ?? [];
    if (kind === 'manifests' && method === 'PUT') {
      tags.set(name, body);
      return { status: 201, headers: api ? { 'oci-subject': 'yes' } : {} };
    }
    const found = kind === 'manifests' ? tags.get(name) : undefined;
    if (!found) return { status: 404 };
    const type = name.startsWith('sha256-') ? mediaTypes.ociIndex : mediaTypes.ociManifest;
    return { status: 200, headers: { 'content-type': type }, body: found };
  });
  return { ...server, tags };
}

const subject: Descriptor = {
  mediaType: mediaTypes.ociManifest,
  digest: digestOf(manifestOf({})),
  size: manifestOf({}).length,
};

function indexOf(...manifests: object[]): string {
  return JSON.stringify({ schemaVersion: 2, mediaType: mediaTypes.ociIndex, manifests });
}

function entry(name: string, type = artifactType): Descriptor {
  return {
    mediaType: mediaTypes.ociManifest,
    digest: digestOf(Buffer.from(name)),
    size: 9,
    artifactType: type,
  };
}

t.test('a registry with the API lists them itself', async (t) => {
  const server = await startMemory(t, {
    api: true,
    change({ path }) {
      if (!path.includes('/referrers/')) return undefined;
      const headers = { 'content-type': mediaTypes.ociIndex };
      if (path.includes('page=2'))
        return { status: 200, headers, body: indexOf(entry('c'), entry('d', 'text/x')) };
      const link = `<${path}&page=2>; rel="next"`;
      return {
        status: 200,
        headers: { ...headers, link },
        body: indexOf(entry('a'), entry('b', 'text/x')),
      };
    },
  });
  const client = await open(t, server.host);
  t.same(await client.referrers(subject.digest, artifactType, signal), [entry('a'), entry('c')]);
  await client.pushReferrer(referrer(subject, 'x'), mediaTypes.ociManifest, signal);
  t.equal(server.tags.has(referrersTag(subject.digest)), false, 'no tag is written');
});

t.test('a repository that is not there says nothing of the API of others', async (t) => {
  const unknown = JSON.stringify({ errors: [{ code: 'NAME_UNKNOWN', message: 'no such thing' }] });
  const server = await startMemory(t, {
    api: true,
    change({ path }) {
      if (!path.includes('/referrers/')) return undefined;
      if (!path.startsWith('/v2/team/app/')) return { status: 404, body: unknown };
      const headers = { 'content-type': mediaTypes.ociIndex };
      return { status: 200, headers, body: indexOf(entry('a')) };
    },
  });
  const client = await open(t, server.host);
  const other = client.forRepository('team/other');
  t.same(await other.referrers(subject.digest, artifactType, signal), []);
  t.same(await client.referrers(subject.digest, artifactType, signal), [entry('a')]);
  t.same(await other.referrers(subject.digest, artifactType, signal), [], 'nor now');
  t.same(await client.referrers(subject.digest, artifactType, signal), [entry('a')]);
});

t.test('answers of registries that are no list fall back to the tag, or fail', async (t) => {
  const html = { 'content-type': 'text/html' };
  const index = { 'content-type': mediaTypes.ociIndex };
  const endless = { ...index, link: '</v2/team/app/referrers/again>; rel="next"' };
  const cases: [Answer, number | string][] = [
    [{ status: 200, headers: html, body: '<html>' }, 1],
    [{ status: 400 }, 1],
    [{ status: 405 }, 1],
    [{ status: 501 }, 1],
    [{ status: 200, headers: index, body: 'no JSON' }, 'corrupt'],
    [{ status: 200, headers: index, body: manifestOf({}) }, 'corrupt'],
    [{ status: 401 }, 'denied'],
    [{ status: 500 }, 'unavailable'],
    [
      {
        status: 200,
        headers: { ...index, link: '<http://10.0.0.1/x>; rel="next"' },
        body: indexOf(),
      },
      0,
    ],
    [{ status: 200, headers: { ...index, link: '<http://[>; rel=next' }, body: indexOf() }, 0],
    [{ status: 200, headers: endless, body: indexOf() }, 0],
  ];
  for (const [answer, wanted] of cases) {
    const server = await startMemory(t, {
      api: false,
      change: ({ path }) => (path.includes('/referrers/') ? answer : undefined),
    });
    server.tags.set(referrersTag(subject.digest), Buffer.from(indexOf(entry('a'))));
    const client = await open(t, server.host);
    const found = client.referrers(subject.digest, artifactType, signal);
    if (typeof wanted === 'string') await t.rejects(found, { code: wanted });
    else t.equal((await found).length, wanted);
    t.ok(server.received.length <= 21, 'pages end, and the tag was asked for besides');
  }
});

t.test('two writers of one tag', async (t) => {
  let thefts = 3;
  const tag = referrersTag(subject.digest);
  const rival = { ...entry('rival'), 'x-unknown': { kept: true } };
  const server = await startMemory(t, {
    api: false,
    change({ method, path }, tags) {
      if (method !== 'PUT' || !path.endsWith(tag) || thefts === 0) return undefined;
      thefts -= 1;
      tags.set(tag, Buffer.from(indexOf(rival))); // a rival who had read the tag before we wrote
      return { status: 201 };
    },
  });
  const client = await open(t, server.host);
  const ours = await client.pushReferrer(referrer(subject, 'ours'), mediaTypes.ociManifest, signal);
  t.same(
    JSON.parse(String(server.tags.get(tag))).manifests,
    [rival, ours],
    "the rival's entry stays as it was",
  );
  thefts = 100;
  await t.rejects(client.pushReferrer(referrer(subject, 'late'), mediaTypes.ociManifest, signal), {
    code: 'busy',
    message: /others overwrite it/,
  });
});

t.test('a registry that finds the entry of another half written', async (t) => {
  let refusals = 2;
  const tag = referrersTag(subject.digest);
  const server = await startMemory(t, {
    api: false,
    change({ method, path }) {
      if (method !== 'PUT' || !path.endsWith(tag) || refusals === 0) return undefined;
      refusals -= 1;
      return { status: 400 };
    },
  });
  const client = await open(t, server.host);
  const ours = await client.pushReferrer(referrer(subject, 'ours'), mediaTypes.ociManifest, signal);
  t.same(JSON.parse(String(server.tags.get(tag))).manifests, [ours]);
  refusals = 100;
  await t.rejects(client.pushReferrer(referrer(subject, 'late'), mediaTypes.ociManifest, signal), {
    code: 'invalid',
  });
});
