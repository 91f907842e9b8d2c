import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import type { TcpAddress } from '../config.js';
import { describeError, fromSystemError } from '../errors.js';
import { answerPage, type WebPages } from './web-pages.js';

/** Serves the node's page and its metrics over TCP, to whoever can reach the address. */
export class MetricsPort implements AsyncDisposable {
  readonly #server: Server;

  private constructor(server: Server) {
    this.#server = server;
  }

  /** @throws ThinError `busy`, `denied`, `unavailable` if the address cannot be had */
  static async open({ host, port }: TcpAddress, pages: WebPages): Promise<MetricsPort> {
    const server = createServer({ keepAlive: true }, (request, response) => {
      void answer(pages, request, response);
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

async function answer(
  pages: WebPages,
  { method, url }: IncomingMessage,
  response: ServerResponse,
): Promise<void> {
  try {
    const path = URL.canParse(url ?? '', 'http://node')
      ? new URL(url ?? '', 'http://node')
      : undefined;
    if (method === 'GET' && path && (await answerPage(pages, path, response))) return;
    response.writeHead(404).end();
  } catch (error) {
    response.writeHead(500).end(`${describeError(error)}\n`);
  }
}
