import { type ChildProcess, execFileSync, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import type { Test } from 'tap';
import { cleanUp } from './clean-up.js';

/** Longest wait for the registry to listen, in milliseconds: it takes 50 on an idle machine. */
const startTimeoutMs = 90_000;

export interface RegistryOptions {
  /** Basic authentication with this one account. */
  htpasswd?: { username: string; password: string };
  /** HTTPS with a certificate for 127.0.0.1 and localhost that a throw-away authority signed. */
  tls?: boolean;
  /** Bearer authentication: tokens for `service`, signed by the key of `rootCertificate` (a path). */
  token?: { realm: string; service: string; issuer: string; rootCertificate: string };
  /** The port to listen on, for starting a stopped registry again. Default: any free one. */
  port?: number;
  /** The storage folder, for starting a stopped registry again. Default: a new one. */
  root?: string;
}

export interface TestRegistry {
  /** `127.0.0.1:<port>`, as it stands in an image reference. */
  readonly host: string;
  readonly port: number;
  /** The storage folder; blobs lie in `docker/registry/v2/blobs/sha256/xx/<hex>/data`. */
  readonly root: string;
  /** With `tls`: path of the authority's certificate (PEM). */
  readonly ca: string | undefined;
  /** Stops the process and keeps the storage folder. Idempotent. */
  stop(): Promise<void>;
}

/** A real docker-registry (Debian package) on the loopback, gone when the test `t` ends. */
export async function startRegistry(t: Test, options: RegistryOptions = {}): Promise<TestRegistry> {
  const folder = mkdtempSync(join(tmpdir(), 'thinfs-test-registry-'));
  cleanUp(t, () => rmSync(folder, { recursive: true, force: true }));
  const root = options.root ?? join(folder, 'root');
  const certificate = options.tls ? makeCertificate(folder) : undefined;
  const config = join(folder, 'config.yml');
  writeFileSync(config, JSON.stringify(configure(folder, root, options, certificate))); // YAML holds JSON

  const child = spawn('docker-registry', ['serve', config], {
    stdio: ['ignore', 'ignore', 'pipe'],
  });
  const stop = stopper(child);
  cleanUp(t, stop);
  const port = await listeningPort(child);
  return { host: `127.0.0.1:${port}`, port, root, ca: certificate?.ca, stop };
}

function configure(
  folder: string,
  root: string,
  options: RegistryOptions,
  certificate: { certificate: string; key: string } | undefined,
): object {
  const { htpasswd, token } = options;
  const auth: Record<string, object> = {};
  if (htpasswd) {
    const path = join(folder, 'htpasswd');
    execFileSync('htpasswd', ['-Bbc', path, htpasswd.username, htpasswd.password], {
      stdio: 'ignore',
    });
    auth.htpasswd = { realm: 'test', path };
  }
  if (token) {
    const { realm, service, issuer, rootCertificate } = token;
    auth.token = { realm, service, issuer, rootcertbundle: rootCertificate };
  }
  return {
    version: '0.1',
    log: { level: 'info' },
    storage: { filesystem: { rootdirectory: root }, delete: { enabled: true } },
    http: {
      addr: `127.0.0.1:${options.port ?? 0}`,
      secret: 'of the tests',
      ...(certificate && { tls: { certificate: certificate.certificate, key: certificate.key } }),
    },
    ...(Object.keys(auth).length > 0 && { auth }),
  };
}

/** An authority and a certificate of it for the loopback, made with openssl in `folder`. */
export function makeCertificate(
  folder: string,
  names = 'IP:127.0.0.1,DNS:localhost',
  days = 2,
): { ca: string; certificate: string; key: string } {
  const path = (name: string): string => join(folder, name);
  const openssl = (...words: string[]): void => {
    execFileSync('openssl', words, { stdio: 'pipe' });
  };
  const newKey = ['-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:prime256v1', '-nodes'];
  openssl(
    'req',
    '-x509',
    ...newKey,
    '-days',
    '2',
    '-subj',
    '/CN=thinfs test authority',
    '-keyout',
    path('ca.key'),
    '-out',
    path('ca.crt'),
  );
  openssl(
    'req',
    ...newKey,
    '-subj',
    '/CN=thinfs test',
    '-keyout',
    path('tls.key'),
    '-out',
    path('tls.csr'),
  );
  writeFileSync(path('tls.ext'), `subjectAltName=${names}\n`);
  openssl(
    'x509',
    '-req',
    '-in',
    path('tls.csr'),
    '-CA',
    path('ca.crt'),
    '-CAkey',
    path('ca.key'),
    '-CAcreateserial',
    '-days',
    String(days),
    '-extfile',
    path('tls.ext'),
    '-out',
    path('tls.crt'),
  );
  return { ca: path('ca.crt'), certificate: path('tls.crt'), key: path('tls.key') };
}

async function listeningPort(child: ChildProcess): Promise<number> {
  const { stderr } = child;
  if (!stderr) throw new Error('docker-registry was started without a pipe');
  const deadline = setTimeout(() => child.kill('SIGKILL'), startTimeoutMs);
  const log: string[] = [];
  try {
    for await (const line of createInterface({ input: stderr })) {
      const port = /listening on [^ ]*:(\d+)/.exec(line)?.[1];
      if (port) return Number(port);
      log.push(line);
    }
  } finally {
    clearTimeout(deadline);
    stderr.resume(); // the rest of its log goes nowhere, without filling the pipe
  }
  throw new Error(`docker-registry does not listen:\n${log.join('\n')}`);
}

function stopper(child: ChildProcess): () => Promise<void> {
  const exited = once(child, 'exit').then(
    () => undefined,
    () => undefined,
  );
  return async () => {
    child.kill('SIGKILL'); // nothing of a test's storage is worth a shutdown
    await exited;
  };
}
