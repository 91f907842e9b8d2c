/** Media types of the OCI image specification 1.1 and of Docker's image manifest version 2, schema 2. */
export const mediaTypes = {
  ociManifest: 'application/vnd.oci.image.manifest.v1+json',
  ociIndex: 'application/vnd.oci.image.index.v1+json',
  dockerManifest: 'application/vnd.docker.distribution.manifest.v2+json',
  dockerIndex: 'application/vnd.docker.distribution.manifest.list.v2+json',
  ociConfig: 'application/vnd.oci.image.config.v1+json',
  dockerConfig: 'application/vnd.docker.container.image.v1+json',
  /** `{}`, for manifests whose config or layers say nothing. */
  ociEmpty: 'application/vnd.oci.empty.v1+json',
} as const;

export const manifestMediaTypes: readonly string[] = [
  mediaTypes.ociManifest,
  mediaTypes.dockerManifest,
];

export const indexMediaTypes: readonly string[] = [mediaTypes.ociIndex, mediaTypes.dockerIndex];

/**
 * The type of a Content-Type header without its parameters, in lower case; undefined where the
 * header says nothing about an image (none, empty, or any kind of "some JSON" or "some bytes").
 */
export function mediaTypeOfHeader(header: string | undefined): string | undefined {
  const type = header?.split(';', 1)[0]?.trim().toLowerCase();
  return type === undefined || sayingNothing.has(type) ? undefined : type;
}

const sayingNothing = new Set([
  '',
  'application/json',
  'application/octet-stream',
  'text/plain', // what file servers and some proxies make of JSON
]);
