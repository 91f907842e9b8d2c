import { randomBytes } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import t, { type Test } from 'tap';
import { digestHex, digestOf } from '../../src/digest.js';
import { type BlobSource, BlobUpload } from '../../src/registry/blob-upload.js';
import { pushBlob } from '../../src/registry/blob-writer.js';
import type { Patience } from '../../src/registry/patience.js';
import { RegistrySession } from '../../src/registry/registry-session.js';
import type { Repository } from '../../src/registry/repository.js';
import { startCuttingProxy } from '../support/cutting-proxy.js';
import { startRegistry } from '../support/docker-registry.js';
import { type Answer, type Received, startHostile } from '../support/hostile-http.js';

const { signal } = new AbortController();
const MiB = 1024 * 1024;
const bytes = randomBytes(5 * MiB + 12_345);
const digest = digestOf(bytes);
const pieceBytes = MiB;

async function openRepository(
  t: Test,
  registry: string,
  more: Partial<Patience> = {},
): Promise<Repository> {
  const patience = { attemptsMax: 4, backoffMs: 1, ...more };
  const session = await RegistrySession.open({ registry, credentials: 'anonymous', patience });
  t.teardown(() => session[Symbol.asyncDispose]());
  return { session, name: 'team/app' };
}

function source(opened: number[] = []): BlobSource {
  return {
    digest,
    size: bytes.length,
    async *open(offset) {
      opened.push(offset);
      for (let at = offset; at < bytes.length; at += 65_536) yield bytes.subarray(at, at + 65_536);
    },
  };
}

function stored(root: string): Buffer {
  const hex = digestHex(digest);
  return readFileSync(join(root, 'docker/registry/v2/blobs/sha256', hex.slice(0, 2), hex, 'data'));
}

t.test('in pieces', async (t) => {
  const { host, root } = await startRegistry(t);
  const opened: number[] = [];
  const progress: number[] = [];
  const options = { signal, pieceBytes, onProgress: (sent: number) => progress.push(sent) };
  t.equal(await pushBlob(await openRepository(t, host), source(opened), options), true);
  t.same(
    opened,
    [0, 1, 2, 3, 4, 5].map((piece) => piece * MiB),
  );
  t.equal(progress.at(-1), bytes.length);
  t.same(stored(root), bytes);
});

t.test('over a network that breaks', async (t) => {
  for (const way of ['pieces', 'whole'] as const) {
    const { host, root } = await startRegistry(t);
    const proxy = await startCuttingProxy(t, host);
    proxy.cuts.push(3 * MiB + 500, 200_000, 900_000);
    const repository = await openRepository(t, proxy.host);
    const size = way === 'pieces' ? pieceBytes : bytes.length;
    t.equal(await pushBlob(repository, source(), { signal, pieceBytes: size }), true, way);
    t.equal(proxy.cuts.length, 0, 'it did break');
    t.same(stored(root), bytes);
  }
});

/** A registry that takes uploads in memory, as the specification says, unless `change` differs. */
async function startUploads(
  t: Test,
  change: (request: Received, nth: number, stands: number) => Answer | undefined,
): Promise<{
  host: string;
  received: readonly Received[];
  content: () => Buffer;
  drop: (length: number) => void;
}> {
  let content = Buffer.alloc(0);
  let done = false;
  let begun = 0;
  const server = await startHostile(t, (request, nth) => {
    const changed = change(request, nth, content.length);
    if (changed) return changed;
    const { method, path, body, headers } = request;
    if (method === 'HEAD')
      return done
        ? { status: 200, headers: { 'content-length': String(content.length) } }
        : { status: 404 };
    if (method === 'POST') {
      content = Buffer.alloc(0);
      begun += 1;
      return { status: 202, headers: { location: `/upload/${begun}?a=b` } };
    }
    const here = { location: path, range: `0-${Math.max(content.length - 1, 0)}` };
    if (method === 'GET') return { status: 204, headers: here };
    if (method === 'PATCH') {
      const [from] = String(headers['content-range']).split('-');
      if (Number(from) !== content.length) return { status: 416, headers: here };
    }
    content = Buffer.concat([content, body]);
    const range = `0-${content.length - 1}`;
    if (method === 'PATCH') return { status: 202, headers: { location: path, range } };
    done = digestOf(content) === digest;
    return { status: done ? 201 : 400 };
  });
  const drop = (length: number): void => {
    content = content.subarray(0, -length);
  };
  return { ...server, content: () => content, drop };
}

function methods(received: readonly Received[]): string {
  return received.map(({ method }) => method).join(' ');
}

t.test('goes on where the registry stands', async (t) => {
  const server = await startUploads(t, ({ method }, nth) => {
    if (method !== 'PATCH' || nth !== 2) return undefined;
    server.drop(1000); // it kept less than it confirmed
    return { status: 500 };
  });
  const opened: number[] = [];
  await pushBlob(await openRepository(t, server.host), source(opened), { signal, pieceBytes });
  t.same(server.content(), bytes);
  t.same(opened.slice(0, 5), [0, MiB, 2 * MiB, 2 * MiB - 1000, 3 * MiB - 1000]);
  t.equal(server.received.filter(({ method }) => method === 'POST').length, 1);
});

t.test('begins again if the registry has lost it', async (t) => {
  for (const status of [404, 416]) {
    const server = await startUploads(t, ({ method, path }) =>
      method === 'PATCH' && path.startsWith('/upload/1') && server.content().length > 2 * MiB
        ? { status }
        : undefined,
    );
    await pushBlob(await openRepository(t, server.host), source(), { signal, pieceBytes });
    t.same(server.content(), bytes);
    t.match(methods(server.received), /^HEAD POST PATCH PATCH PATCH PATCH HEAD POST PATCH.*PUT$/);
  }
});

t.test('goes whole where pieces are refused, and remembers it', async (t) => {
  for (const status of [400, 405, 416]) {
    const server = await startUploads(t, ({ method }) =>
      method === 'PATCH' ? { status } : undefined,
    );
    const repository = await openRepository(t, server.host);
    await pushBlob(repository, source(), { signal, pieceBytes });
    t.same(server.content(), bytes);
    t.equal(methods(server.received), 'HEAD POST PATCH POST PUT');
    const again = new BlobUpload(repository, source(), { signal, pieceBytes });
    await again.run();
    t.equal(methods(server.received), 'HEAD POST PATCH POST PUT POST PUT');
  }
});

t.test('heeds the smallest piece that a registry takes', async (t) => {
  const server = await startUploads(t, ({ method }) => {
    const headers = { location: '/upload/1', 'oci-chunk-min-length': String(4 * MiB) };
    return method === 'POST' ? { status: 202, headers } : undefined;
  });
  await pushBlob(await openRepository(t, server.host), source(), { signal, pieceBytes });
  t.equal(methods(server.received), 'HEAD POST PATCH PATCH PUT');
});

t.test('an answer that is lost after the end costs nothing', async (t) => {
  let sent = false;
  const server = await startHostile(t, ({ method }) => {
    if (method === 'HEAD')
      return sent
        ? { status: 200, headers: { 'content-length': String(bytes.length) } }
        : { status: 404 };
    if (method === 'POST') return { status: 202, headers: { location: '/upload' } };
    sent = true;
    return { status: 201, misdeed: { kind: 'garbage', bytes: '' } };
  });
  t.equal(await pushBlob(await openRepository(t, server.host), source(), { signal }), true);
  t.equal(methods(server.received), 'HEAD POST PUT HEAD');
});

t.test('what is refused is not sent again', async (t) => {
  for (const [status, code] of [
    [403, 'denied'],
    [413, 'no-space'],
    [400, 'invalid'],
  ] as const) {
    const server = await startUploads(t, ({ method }) =>
      method === 'PUT' ? { status } : undefined,
    );
    await t.rejects(pushBlob(await openRepository(t, server.host), source(), { signal }), { code });
    t.equal(methods(server.received), 'HEAD POST PUT');
  }
});

t.test('registries that lead an upload astray', async (t) => {
  const locations = ['', 'file:///etc/passwd', 'http://[', 'http://u:p@127.0.0.1/'];
  for (const location of locations) {
    const server = await startUploads(t, ({ method }) =>
      method === 'POST' ? { status: 202, ...(location && { headers: { location } }) } : undefined,
    );
    await t.rejects(pushBlob(await openRepository(t, server.host), source(), { signal }), {
      code: 'denied',
    });
  }
  const liar = await startUploads(t, ({ method }) =>
    method === 'PATCH'
      ? { status: 202, headers: { location: '/upload/1', range: '0-99999999' } }
      : undefined,
  );
  await t.rejects(pushBlob(await openRepository(t, liar.host), source(), { signal, pieceBytes }), {
    code: 'unavailable',
    message: /confirms 100000000 bytes/,
  });
  const silent = await startUploads(t, ({ method }) =>
    method === 'PUT' ? { status: 201, misdeed: { kind: 'silent' } } : undefined,
  );
  const repository = await openRepository(t, silent.host, { commitMs: 50, attemptsMax: 2 });
  await t.rejects(pushBlob(repository, source(), { signal }), {
    code: 'unavailable',
    message: /no answer .* in 0\.05 s/,
  });
});
