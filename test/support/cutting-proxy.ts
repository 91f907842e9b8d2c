import type { Test } from 'tap';
import { startTcpProxy } from './tcp-proxy.js';

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
  const cuts: number[] = [];
  let total = 0;
  const host = await startTcpProxy(t, target, (client, upstream) => {
    let sent = 0;
    client.on('close', () => upstream.end());
    upstream.on('close', () => client.destroy()).pipe(client);
    client.on('data', (bytes: Buffer) => {
      sent += bytes.length;
      total += bytes.length;
      const [cut] = cuts;
      upstream.write(bytes);
      if (cut === undefined || sent < cut) return;
      cuts.shift();
      client.destroy(); // and upstream ends when what was written has gone
    });
  });
  return { host, cuts, bytesUp: () => total };
}
