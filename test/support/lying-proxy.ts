import { request as send } from 'node:http';
import { buffer } from 'node:stream/consumers';
import type { Test } from 'tap';
import { type Answer, type HostileServer, type Received, startHostile } from './hostile-http.js';

/** Asks the server behind the proxy: what it should answer. */
export type Ask = (headers?: Received['headers']) => Promise<Answer>;

/** What the proxy answers in place of the truth. */
export type Lie = (request: Received, ask: Ask) => Promise<Answer>;

export interface LyingProxy extends HostileServer {
  /** From now on; without one the proxy tells the truth. */
  tell(lie?: Lie): void;
}

/** An HTTP proxy in front of a real server (`host:port`) that answers what a lie says. */
export async function startLyingProxy(t: Test, target: string, first?: Lie): Promise<LyingProxy> {
  let current = first;
  const server = await startHostile(t, (request) => {
    const ask: Ask = (headers = request.headers) => forward(target, { ...request, headers });
    return current ? current(request, ask) : ask();
  });
  return {
    ...server,
    tell: (lie) => {
      current = lie;
    },
  };
}

/** The Host header stays: the server behind names us where it sends clients on. */
async function forward(target: string, { method, path, headers, body }: Received): Promise<Answer> {
  const [host = '', port] = target.split(':');
  const request = send({ host, port, method, path, headers });
  const answered = new Promise<Answer>((resolve, reject) => {
    request.once('error', reject);
    request.once('response', (response) => {
      const { statusCode: status = 0, headers: all } = response;
      const { connection: _, ...own } = all;
      const kept = Object.entries(own).flatMap(([name, value]) =>
        value === undefined ? [] : [[name, value] as const],
      );
      buffer(response).then(
        (bytes) => resolve({ status, headers: Object.fromEntries(kept), body: bytes }),
        reject,
      );
    });
  });
  request.end(body);
  return await answered;
}
