import { createServer, type Server } from 'node:http';
import type { TcpAddress } from '../config.js';
import { describeError, fromSystemError } from '../errors.js';
import type { MetricsPage } from './metrics.js';

/** Serves `GET /metrics` over TCP, to whoever can reach the address. */
export class MetricsPort implements AsyncDisposable {
  readonly #server: Server;

  private constructor(server: Server) {
    this.#server = server;
  }

  /** @throws ThinError `busy`, `denied`, `unavailable` if the address cannot be had */
  static async open(
    { host, port }: TcpAddress,
    page: () => Promise<MetricsPage>,
  ): Promise<MetricsPort> {
    const server = createServer({ keepAlive: true }, (request, response) => {
      if (request.method !== 'GET' || request.url !== '/metrics') {
        response.writeHead(404).end();
        return;
      }
      page().then(
        ({ contentType, text }) =>
          response.writeHead(200, { 'content-type': contentType }).end(text),
        (error: unknown) => response.writeHead(500).end(`${describeError(error)}\n`),
      );
    });
    try {
      await new Promise<void>((resolve, reject) => {
        server.once('error', reject);
        server.listen(port, host, resolve);
      });
    } catch (error) {
      throw fromSystemError(`Cannot serve metrics at ${host} port ${port}`, error);
    }
    return new MetricsPort(server);
  }

  /** The port that was taken, where any was asked for. */
  get port(): number {
    const address = this.#server.address();
    return typeof address === 'object' && address ? address.port : 0;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    const closed = new Promise<void>((resolve) => {
      this.#server.close(() => resolve());
    });
    this.#server.closeAllConnections();
    await closed;
  }
}
