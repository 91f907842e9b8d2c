import type { Test } from 'tap';
import { startTcpProxy } from './tcp-proxy.js';

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
  let total = 0;
  let made = 0;
  const host = await startTcpProxy(t, target, (client, upstream) => {
    let sent = 0;
    made += 1;
    client.on('close', () => upstream.destroy()).pipe(upstream);
    upstream.on('close', () => client.end());
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
  const proxy: DownloadProxy = {
    host,
    bytesDown: () => total,
    connections: () => made,
    cutAfter: undefined,
    stopAt: Number.POSITIVE_INFINITY,
  };
  return proxy;
}
