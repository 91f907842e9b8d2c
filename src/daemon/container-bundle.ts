import { join } from 'node:path';
import { writeBundle } from '../mount/bundle.js';
import type { CheckedRequest } from './control-api.js';
import type { LiveImage } from './live-image.js';

export interface BundleOptions {
  readonly image: LiveImage;
  /** Of the container: its root is at `merged` below it. */
  readonly directory: string;
  /** Tells its node from others of this machine, which may use the same names. */
  readonly node: string;
  readonly request: CheckedRequest<'container.create'> & { readonly id: string };
  readonly signal: AbortSignal;
}

/** Writes what a runtime needs to run the container that was asked for. */
export async function writeContainerBundle({
  image,
  directory,
  node,
  request,
  signal,
}: BundleOptions): Promise<{ bundle: string; stopSignal: string }> {
  const { directory: bundle, stopSignal } = await writeBundle({
    directory,
    id: request.id,
    cgroup: `thinfs-${node}-${request.id}`,
    rootfs: join(directory, 'merged'),
    config: image.config,
    readImageFile: (path, bytesMax) => image.readSmallFile(path, bytesMax, signal),
    command: request.command,
    entrypoint: request.entrypoint,
    env: request.env,
    user: request.user,
    workdir: request.workdir,
    hostname: request.hostname,
    volumes: request.volumes,
    network: request.network,
    readOnly: request.readOnly,
    memory: request.memory,
    terminal: request.terminal,
  });
  return { bundle, stopSignal };
}
