import type { RegistrySession } from './registry-session.js';

/** One repository of a registry: what every operation of its API is about. */
export interface Repository {
  readonly session: RegistrySession;
  /** `library/debian` */
  readonly name: string;
}

/** `docker.io/library/debian`, for messages. */
export function displayRepository({ session, name }: Repository): string {
  return `${session.endpoint.registry}/${name}`;
}

/** @param path below the repository: `manifests/latest`, `blobs/sha256:…` */
export function repositoryUrl({ session, name }: Repository, path: string): URL {
  return new URL(`/v2/${name}/${path}`, session.endpoint.base);
}

/** Access to ask a token server for. */
export function pullScope(name: string): string {
  return `repository:${name}:pull`;
}

export function pushScope(name: string): string {
  return `repository:${name}:pull,push`;
}
