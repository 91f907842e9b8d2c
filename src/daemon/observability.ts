import type { Logger } from 'pino';
import type { TcpAddress } from '../config.js';
import { describeError } from '../errors.js';
import { Metrics } from './metrics.js';
import { MetricsPort } from './metrics-port.js';
import { NodeHistory, type PageParts } from './node-history.js';
import { NodeView } from './node-view.js';
import type { WebPages } from './web-pages.js';

/** What people and their tools can see of a node, and where. */
export class Observability implements AsyncDisposable {
  readonly view: NodeView;
  readonly pages: WebPages;
  readonly #metrics: Metrics;
  readonly #history: NodeHistory;
  #port: MetricsPort | undefined;

  /** @param address where pages are served beside the control socket; if it is taken, that is all */
  static async open(
    parts: PageParts,
    address: TcpAddress | undefined,
    log: Logger,
  ): Promise<Observability> {
    const observability = new Observability(parts);
    if (address) await observability.#listen(address, log);
    return observability;
  }

  private constructor(parts: PageParts) {
    this.view = new NodeView(parts);
    this.#metrics = new Metrics(parts, this.view);
    this.#history = new NodeHistory(parts, this.view);
    this.pages = {
      metrics: () => this.#metrics.page(),
      node: (choice) => this.#history.page(choice),
    };
  }

  /** No container should miss its files for the sake of a port. */
  async #listen(address: TcpAddress, log: Logger): Promise<void> {
    try {
      this.#port = await MetricsPort.open(address, this.pages);
      log.info({ host: address.host, port: this.#port.port }, 'metrics are served');
      await this.pages.metrics(); // what is counted from the first page on is counted from now on
    } catch (error) {
      log.error({ reason: describeError(error) }, 'metrics are not served');
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#port?.[Symbol.asyncDispose]();
    this.#history[Symbol.dispose]();
    this.#metrics[Symbol.dispose]();
  }
}
