import { runCommand } from '../../test/support/run-command.js';
import { LinkNamespace } from './link-namespace.js';
import type { SlowLink } from './slow-link.js';

/** Of the site; its router, which is the end of the link too, has the first address. */
const network = '10.88.0';
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
  async addNode(): Promise<LinkNamespace> {
    const at = this.#given++;
    if (at > addressesMax) throw new Error('Cannot add a node: the network of the site is full');
    const node = await LinkNamespace.open(`node${at}`);
    const port = `node${at}`;
    await this.#inside(`link add ${port} type veth peer name eth0 netns ${node.name}`);
    await this.#inside(`link set ${port} master ${bridge} up`);
    const own = (words: string) => ip(`-n ${node.name} ${words}`);
    await own(`address add ${network}.${at + 1}/24 dev eth0`);
    await own('link set eth0 up');
    await own(`route add default via ${this.router}`);
    return node;
  }

  #inside(words: string): Promise<void> {
    return ip(`-n ${this.#link.namespace} ${words}`);
  }
}

async function ip(words: string): Promise<void> {
  await runCommand('ip', words.split(' '));
}
