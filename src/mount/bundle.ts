import { readFile, stat, writeFile } from 'node:fs/promises';
import { hostname as hostName } from 'node:os';
import { join } from 'node:path';
import { fromSystemError, isThinError } from '../errors.js';
import type { ImageConfig } from '../image/image-config.js';
import { makeFolder } from '../make-folder.js';
import { findAccount, type ReadImageFile } from './account.js';
import { containerProcess, type ProcessOptions, parseStopSignal } from './container-process.js';
import { runtimeConfig } from './runtime-config.js';
import { parseVolume, type Volume } from './volume.js';

export interface BundleOptions extends ProcessOptions {
  /** Where the bundle is written: absolute; made if missing. */
  readonly directory: string;
  /** Of letters, digits and `_+-.`; unique among those of the same runtime root. */
  readonly id: string;
  /** Name of the cgroup, unique on this machine. Default: of the id. */
  readonly cgroup?: string | undefined;
  /** The container's root, mounted. */
  readonly rootfs: string;
  readonly config: ImageConfig;
  readonly readImageFile: ReadImageFile;
  /** `user[:group]`, over the image's. */
  readonly user?: string | undefined;
  /** Default: the host's with its network, else the id. */
  readonly hostname?: string | undefined;
  /** `host:container[:ro]` */
  readonly volumes: readonly string[];
  readonly network: 'host' | 'none';
  readonly readOnly: boolean;
  /** Bytes. */
  readonly memory?: number | undefined;
}

export interface Bundle {
  readonly directory: string;
  readonly stopSignal: NodeJS.Signals;
}

/**
 * Writes an OCI runtime bundle: config.json, and the files of /etc that are the host's to give.
 * The image's `Volumes` and `ExposedPorts` need nothing: all of the tree is writable, and there is
 * no network of its own to map ports into.
 * @throws ThinError `invalid` for a user, volume or signal that does not exist, or no command;
 *   `not-found` for a volume's host path; `no-space`
 */
export async function writeBundle(options: BundleOptions): Promise<Bundle> {
  const { directory, id, config, network } = options;
  const image = config.config ?? {};
  const hostname = options.hostname ?? (network === 'host' ? hostName() : id.slice(0, 12));
  const stopSignal = parseStopSignal(image.StopSignal);
  const account = await findAccount(options.user ?? image.User ?? '', options.readImageFile);
  const process = containerProcess(image, options, account, hostname);
  const given = await Promise.all(options.volumes.map(openVolume));
  try {
    await makeFolder(directory, 0o700);
    const own = await writeHostFiles(directory, hostname, network);
    // The user's come later, so that they may replace ours.
    const cgroup = options.cgroup ?? `thinfs-${id}`;
    const isolation = { ...options, cgroup, hostname, volumes: [...own, ...given] };
    const text = JSON.stringify(runtimeConfig(process, isolation), undefined, 2);
    await writeFile(join(directory, 'config.json'), text, { mode: 0o600 });
    return { directory, stopSignal };
  } catch (error) {
    throw fromSystemError(`Cannot write the container's bundle ${directory}`, error);
  }
}

async function openVolume(text: string): Promise<Volume> {
  const volume = parseVolume(text);
  try {
    await stat(volume.hostPath);
    return volume;
  } catch (error) {
    throw fromSystemError(`Cannot use volume ${text}`, error);
  }
}

/** Copies, so that a container that writes into them changes nothing of the host. */
async function writeHostFiles(
  directory: string,
  hostname: string,
  network: 'host' | 'none',
): Promise<Volume[]> {
  const isHost = network === 'host';
  const loopback = '127.0.0.1\tlocalhost\n::1\tlocalhost ip6-localhost ip6-loopback\n';
  const files = {
    hostname: `${hostname}\n`,
    hosts: isHost ? await readHostFile('/etc/hosts') : `${loopback}127.0.1.1\t${hostname}\n`,
    'resolv.conf': isHost ? await readHostFile('/etc/resolv.conf') : '',
  };
  return Promise.all(
    Object.entries(files).map(async ([name, text]) => {
      const hostPath = join(directory, name);
      await writeFile(hostPath, text, { mode: 0o644 });
      return { hostPath, containerPath: `/etc/${name}`, readOnly: false };
    }),
  );
}

async function readHostFile(path: string): Promise<string> {
  try {
    return await readFile(path, 'utf8');
  } catch (error) {
    const failure = fromSystemError(`Cannot read ${path}`, error);
    if (isThinError(failure, 'not-found')) return '';
    throw failure;
  }
}
