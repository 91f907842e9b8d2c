import { runCommand } from '../../test/support/run-command.js';
import { LinkNamespace } from './link-namespace.js';
import { benchOctet, type SlowLink } from './slow-link.js';

/** Of the site; its router, which is the end of the link too, has the first address. */
const network = `198.19.${benchOctet}`;
const bridge = 'site';
/** Addresses that a site of the bench has. */
const addressesMax = 253;

/**
 * Network namespaces of the nodes of a site: joined by a bridge of full speed, and with the rest of
 * the world by one slow link. Given back with the link.
 */
export class SiteNetwork {
  /** What is for all nodes of the site runs behind the link and listens here. */
  readonly router = `${network}.1`;
  readonly #link: SlowLink;
  #given = 1;

  static async open(link: SlowLink): Promise<SiteNetwork> {
    const site = new SiteNetwork(link);
    await site.#inside(`link add ${bridge} type bridge`);
    await site.#inside(`address add ${site.router}/24 dev ${bridge}`);
    await site.#inside(`link set ${bridge} up`);
    const [program = '', ...forward] = link.behind(['sysctl', '-qw', 'net.ipv4.ip_forward=1']);
    await runCommand(program, forward);
    await ip(`route add ${network}.0/24 via ${link.farAddress}`);
    return site;
  }

  private constructor(link: SlowLink) {
    this.#link = link;
  }

  /** The network of one more node. */
  async addNode(): Promise<SitePlace> {
    const at = this.#given++;
    if (at > addressesMax) throw new Error('Cannot add a node: the network of the site is full');
    const namespace = await LinkNamespace.open(`node${at}`);
    const place = new SitePlace(namespace, this.router);
    const port = `node${at}`;
    try {
      await this.#inside(`link add ${port} type veth peer name eth0 netns ${namespace.name}`);
      await this.#inside(`link set ${port} master ${bridge} up`);
      await ip(`-n ${namespace.name} address add ${network}.${at + 1}/24 dev eth0`);
      await place.join();
    } catch (error) {
      await place[Symbol.asyncDispose]();
      throw error;
    }
    return place;
  }

  #inside(words: string): Promise<void> {
    return ip(`-n ${this.#link.namespace} ${words}`);
  }
}

/** The network of one node. */
export class SitePlace implements AsyncDisposable {
  readonly #namespace: LinkNamespace;
  readonly #router: string;

  constructor(namespace: LinkNamespace, router: string) {
    this.#namespace = namespace;
    this.#router = router;
  }

  /** The words that run `command` on the node; only its network is another one. */
  behind(command: readonly string[]): string[] {
    return this.#namespace.behind(command);
  }

  async cut(): Promise<void> {
    await ip(`-n ${this.#namespace.name} link set eth0 down`);
  }

  async join(): Promise<void> {
    await ip(`-n ${this.#namespace.name} link set eth0 up`);
    await ip(`-n ${this.#namespace.name} route add default via ${this.#router}`);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#namespace[Symbol.asyncDispose]();
  }
}

async function ip(words: string): Promise<void> {
  await runCommand('ip', words.split(' '));
}
