import type { Logger } from 'pino';
import type { TcpAddress } from '../config.js';
import { describeError } from '../errors.js';
import { Metrics, type MetricsPage } from './metrics.js';
import { MetricsPort } from './metrics-port.js';
import { type NodeParts, NodeView } from './node-view.js';

/** What people and their tools can see of a node, and where. */
export class Observability implements AsyncDisposable {
  readonly view: NodeView;
  readonly metrics: () => Promise<MetricsPage>;
  readonly #metrics: Metrics;
  #port: MetricsPort | undefined;

  /** @param address where metrics are served beside the control socket; if it is taken, that is all */
  static async open(
    parts: NodeParts,
    address: TcpAddress | undefined,
    log: Logger,
  ): Promise<Observability> {
    const observability = new Observability(parts);
    if (address) await observability.#listen(address, log);
    return observability;
  }

  private constructor(parts: NodeParts) {
    this.view = new NodeView(parts);
    this.#metrics = new Metrics(parts, this.view);
    this.metrics = () => this.#metrics.page();
  }

  /** No container should miss its files for the sake of a port. */
  async #listen(address: TcpAddress, log: Logger): Promise<void> {
    try {
      this.#port = await MetricsPort.open(address, this.metrics);
      log.info({ host: address.host, port: this.#port.port }, 'metrics are served');
      await this.metrics(); // what is counted from the first page on is counted from now on
    } catch (error) {
      log.error({ reason: describeError(error) }, 'metrics are not served');
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#port?.[Symbol.asyncDispose]();
    this.#metrics[Symbol.dispose]();
  }
}
