import { BlockList, isIP } from 'node:net';
import { ThinError } from '../errors.js';

/** Where a registry's API is. */
export interface Endpoint {
  /** As in image references: `docker.io`, `localhost:5000`. */
  readonly registry: string;
  /** Scheme, host and port; the API is under `/v2/`. */
  readonly base: URL;
}

/** Docker Hub's API is not at the name that its images bear. */
const dockerHub = { registry: 'docker.io', host: 'registry-1.docker.io' } as const;

/**
 * @param registry host and optional port, as in an image reference
 * @param plainHttp default: true for this machine itself (docker's rule), else false
 * @throws ThinError `invalid` if `registry` is no host.
 */
export function endpointOf(registry: string, plainHttp?: boolean): Endpoint {
  const host = registry === dockerHub.registry ? dockerHub.host : registry;
  const https = `https://${host}/`;
  const base = URL.canParse(https) ? new URL(https) : undefined;
  if (
    !/^[a-z0-9[]/i.test(host) ||
    base?.pathname !== '/' ||
    base.username !== '' ||
    base.search !== ''
  ) {
    throw new ThinError(
      'invalid',
      `Cannot use registry ${JSON.stringify(registry.slice(0, 300))}: it is no host (wanted host or host:port)`,
    );
  }
  const plain = plainHttp ?? isLoopbackHost(base.hostname);
  return { registry, base: plain ? new URL(`http://${host}/`) : base };
}

/** The names under which this machine reaches itself; `hostname` as a URL has it. */
export function isLoopbackHost(hostname: string): boolean {
  const bare = hostname.replace(/^\[|\]$/g, '');
  return bare === 'localhost' || (isIP(bare) !== 0 && loopback.check(bare, family(bare)));
}

/** True for addresses of this machine and of its link, metadata services of clouds among them. */
export function isLocalAddress(address: string): boolean {
  if (isIP(address) === 0) return false;
  return loopback.check(address, family(address)) || linkLocal.check(address, family(address));
}

function family(address: string): 'ipv4' | 'ipv6' {
  return isIP(address) === 6 ? 'ipv6' : 'ipv4';
}

const loopback = new BlockList();
loopback.addSubnet('127.0.0.0', 8, 'ipv4');
loopback.addAddress('::1', 'ipv6');

const linkLocal = new BlockList();
linkLocal.addSubnet('0.0.0.0', 8, 'ipv4'); // "this host": Linux connects to the loopback
linkLocal.addSubnet('169.254.0.0', 16, 'ipv4');
linkLocal.addAddress('::', 'ipv6');
linkLocal.addSubnet('fe80::', 10, 'ipv6');
linkLocal.addAddress('fd00:ec2::254', 'ipv6'); // the metadata service of AWS
