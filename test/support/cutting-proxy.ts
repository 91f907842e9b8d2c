import { once } from 'node:events';
import { connect, createServer, type Socket } from 'node:net';
import type { Test } from 'tap';

export interface CuttingProxy {
  /** `127.0.0.1:<port>` */
  readonly host: string;
  /** Bytes of one request after which the next connection that brings as many is cut, once each. */
  readonly cuts: number[];
  /** Bytes that came from clients. */
  readonly bytesUp: () => number;
}

/** A TCP proxy in front of `target` (host:port) that cuts connections in the middle of uploads. */
export async function startCuttingProxy(t: Test, target: string): Promise<CuttingProxy> {
  const [host = '', port] = target.split(':');
  const sockets = new Set<Socket>();
  const cuts: number[] = [];
  let total = 0;
  const server = createServer((client) => {
    const upstream = connect(Number(port), host);
    let sent = 0;
    client.on('error', () => undefined).on('close', () => upstream.end());
    upstream.on('error', () => undefined).on('close', () => client.destroy());
    sockets.add(client).add(upstream);
    client.on('data', (bytes: Buffer) => {
      sent += bytes.length;
      total += bytes.length;
      const [cut] = cuts;
      upstream.write(bytes);
      if (cut === undefined || sent < cut) return;
      cuts.shift();
      client.destroy(); // and upstream ends when what was written has gone
    });
    upstream.pipe(client);
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  t.teardown(async () => {
    for (const socket of sockets) socket.destroy();
    server.close();
    await once(server, 'close');
  });
  const address = server.address();
  if (address === null || typeof address === 'string') throw new Error('no TCP port was given');
  return { host: `127.0.0.1:${address.port}`, cuts, bytesUp: () => total };
}
