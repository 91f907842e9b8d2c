import { once } from 'node:events';
import { connect, createServer, type Socket } from 'node:net';
import type { Test } from 'tap';

export interface DownloadProxy {
  /** `127.0.0.1:<port>` */
  readonly host: string;
  /** Bytes that went to clients. */
  bytesDown(): number;
  /** Connections that clients have made. */
  connections(): number;
  /** Cuts every connection after so many bytes to the client; undefined: none. */
  cutAfter: number | undefined;
  /** Lets no more than so many bytes in all go to clients: what comes later waits. */
  stopAt: number;
}

/** A TCP proxy in front of `target` (host:port) that counts, cuts and holds up downloads. */
export async function startDownloadProxy(t: Test, target: string): Promise<DownloadProxy> {
  const [host = '', port] = target.split(':');
  const sockets = new Set<Socket>();
  let total = 0;
  let made = 0;
  const server = createServer((client) => {
    const upstream = connect(Number(port), host);
    let sent = 0;
    made += 1;
    client.on('error', () => undefined).on('close', () => upstream.destroy());
    upstream.on('error', () => undefined).on('close', () => client.end());
    sockets.add(client).add(upstream);
    client.pipe(upstream);
    upstream.on('data', (bytes: Buffer) => {
      if (total >= proxy.stopAt) {
        upstream.pause().unshift(bytes);
        return;
      }
      sent += bytes.length;
      total += bytes.length;
      if (!client.write(bytes)) {
        upstream.pause();
        client.once('drain', () => upstream.resume());
      }
      if (proxy.cutAfter !== undefined && sent >= proxy.cutAfter) client.destroy();
    });
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
  const proxy: DownloadProxy = {
    host: `127.0.0.1:${address.port}`,
    bytesDown: () => total,
    connections: () => made,
    cutAfter: undefined,
    stopAt: Number.POSITIVE_INFINITY,
  };
  return proxy;
}
