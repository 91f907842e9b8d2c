import { runCommand } from '../../test/support/run-command.js';
import { LinkNamespace } from './link-namespace.js';

/** Of tbf: what may leave at once after a pause, as milliseconds of the rate, and bytes at least. */
const burstMs = 2;
const burstBytesMin = 16 * 1024;
/** Milliseconds for which a packet may wait before it is dropped. */
const latencyMs = 50;

/**
 * A network namespace that is joined to this machine by a pair of virtual Ethernet devices whose rate
 * `tc tbf` limits, until it is disposed of. It has no delay: what a link's rate alone costs.
 */
export class RateLink implements AsyncDisposable {
  /** Of this machine, as the namespace sees it. */
  readonly address = '10.78.0.2';
  readonly #namespace: LinkNamespace;
  readonly #device: string;

  private constructor(namespace: LinkNamespace, device: string) {
    this.#namespace = namespace;
    this.#device = device;
  }

  /** @param megabitsPerSecond in each direction, headers included */
  static async open(megabitsPerSecond: number): Promise<RateLink> {
    const [here, there] = [`tr${process.pid}h`, `tr${process.pid}t`]; // 15 characters at most
    const namespace = await LinkNamespace.open('rate');
    const link = new RateLink(namespace, here);
    const { name } = namespace;
    try {
      const ip = (words: string) => runCommand('ip', words.split(' '));
      await ip(`link add ${here} type veth peer name ${there} netns ${name}`);
      await ip(`address add 10.78.0.2/30 dev ${here}`);
      await ip(`link set ${here} up`);
      await ip(`-n ${name} address add 10.78.0.1/30 dev ${there}`);
      await ip(`-n ${name} link set ${there} up`);
      const bits = megabitsPerSecond * 1e6;
      const burst = Math.max(burstBytesMin, Math.round((bits / 8 / 1000) * burstMs));
      const limit = ['rate', `${bits}bit`, 'burst', `${burst}b`, 'latency', `${latencyMs}ms`];
      const add = ['qdisc', 'add', 'dev'];
      await runCommand('tc', [...add, here, 'root', 'tbf', ...limit]);
      await runCommand('tc', ['-n', name, ...add, there, 'root', 'tbf', ...limit]);
      return link;
    } catch (error) {
      await link[Symbol.asyncDispose]();
      throw error;
    }
  }

  behind(command: readonly string[]): string[] {
    return this.#namespace.behind(command);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await runCommand('ip', ['link', 'delete', this.#device], { mayFail: true });
    await this.#namespace[Symbol.asyncDispose]();
  }
}
