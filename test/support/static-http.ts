import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Test } from 'tap';
import { cleanUp } from './clean-up.js';
import { freePort } from './free-port.js';

/** Longest wait for a server to listen, in milliseconds. */
const startTimeoutMs = 90_000;
/** Milliseconds between two tries to reach it. */
const pollMs = 20;

export interface StaticHttp {
  /** `http://127.0.0.1:<port>` */
  readonly url: string;
  readonly port: number;
  /** Ends the server, as an outage. Idempotent. */
  stop(): Promise<void>;
}

/** Debian's nginx over `root`: a static web server as people have them, with ranges. */
export async function startNginx(t: Test, root: string, port?: number): Promise<StaticHttp> {
  const folder = mkdtempSync(join(tmpdir(), 'thinfs-test-nginx-'));
  cleanUp(t, () => rmSync(folder, { recursive: true, force: true }));
  const listen = port ?? (await freePort());
  const config = join(folder, 'nginx.conf');
  writeFileSync(config, configuration(folder, root, listen));
  return await start(t, 'nginx', ['-c', config, '-p', folder], listen);
}

/** Python's http.server over `root`: it answers a range request with 200 and all of the file. */
export async function startPythonHttp(t: Test, root: string): Promise<StaticHttp> {
  const port = await freePort();
  const words = ['-m', 'http.server', String(port), '--bind', '127.0.0.1', '--directory', root];
  return await start(t, 'python3', words, port);
}

function configuration(folder: string, root: string, port: number): string {
  return `daemon off;
master_process off;
user root;
pid ${folder}/nginx.pid;
error_log ${folder}/error.log;
events { worker_connections 256; }
http {
  access_log off;
  client_body_temp_path ${folder}/body;
  proxy_temp_path ${folder}/proxy;
  fastcgi_temp_path ${folder}/fastcgi;
  uwsgi_temp_path ${folder}/uwsgi;
  scgi_temp_path ${folder}/scgi;
  types { application/json json; }
  default_type application/octet-stream;
  server { listen 127.0.0.1:${port}; root ${root}; }
}
`;
}

async function start(
  t: Test,
  command: string,
  words: readonly string[],
  port: number,
): Promise<StaticHttp> {
  const child = spawn(command, words, { stdio: 'ignore' });
  const stop = stopper(child);
  cleanUp(t, stop);
  const url = `http://127.0.0.1:${port}`;
  const deadline = Date.now() + startTimeoutMs;
  while (!(await answers(url))) {
    if (child.exitCode !== null || Date.now() > deadline) {
      throw new Error(`${command} does not listen on ${url} (exit code ${child.exitCode})`);
    }
    await new Promise((resolve) => setTimeout(resolve, pollMs));
  }
  return { url, port, stop };
}

function stopper(child: ChildProcess): () => Promise<void> {
  const exited = once(child, 'exit').then(
    () => undefined,
    () => undefined,
  );
  return async () => {
    child.kill('SIGKILL');
    await exited;
  };
}

async function answers(url: string): Promise<boolean> {
  try {
    const answer = await fetch(`${url}/`);
    await answer.arrayBuffer();
    return true;
  } catch {
    return false;
  }
}
