import { once } from 'node:events';
import { connect, createServer, type Socket } from 'node:net';
import type { Test } from 'tap';
import { cleanUp } from './clean-up.js';

/**
 * A TCP proxy in front of `target` (host:port) until the test ends.
 * @param join joins the two ends of one connection: who hands on what, and when it is cut
 * @returns its `127.0.0.1:<port>`
 */
export async function startTcpProxy(
  t: Test,
  target: string,
  join: (client: Socket, upstream: Socket) => void,
): Promise<string> {
  const [host = '', port] = target.split(':');
  const sockets = new Set<Socket>();
  const server = createServer((client) => {
    const upstream = connect(Number(port), host);
    for (const socket of [client, upstream]) socket.on('error', () => undefined);
    sockets.add(client).add(upstream);
    join(client, upstream);
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  cleanUp(t, async () => {
    for (const socket of sockets) socket.destroy();
    server.close();
    await once(server, 'close');
  });
  const address = server.address();
  if (address === null || typeof address === 'string') throw new Error('no TCP port was given');
  return `127.0.0.1:${address.port}`;
}
