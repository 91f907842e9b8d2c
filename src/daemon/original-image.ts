import { type Digest, digestOf } from '../digest.js';
import { ThinError } from '../errors.js';
import type { Descriptor, Platform } from '../image/descriptor.js';
import { listManifests } from '../image/image-list.js';
import { type Manifest, parseManifest } from '../image/manifest.js';
import { manifestMediaTypes } from '../image/media-type.js';
import { selectPlatform } from '../image/platform.js';
import { type ImageReference, referenceTarget } from '../image/reference.js';
import { limits } from '../limits.js';
import type { RegistryClient } from '../registry/registry-client.js';

/** The original image of one platform, as its registry has it. */
export interface Original {
  readonly digest: Digest;
  readonly manifest: Manifest;
  /** The manifests beside it in its index. */
  readonly siblings: readonly Descriptor[];
}

/** From a reference to one platform's manifest, by way of its index if it has one. */
export async function readOriginal(
  client: RegistryClient,
  { reference, platform }: { readonly reference: ImageReference; readonly platform: Platform },
  signal: AbortSignal,
): Promise<Original> {
  const read = async (target: string | Descriptor) => {
    const { bytes, mediaType } = await client.manifest(target, signal);
    return { digest: digestOf(bytes), parsed: parseManifest(bytes, mediaType) };
  };
  const top = await read(referenceTarget(reference));
  if (top.parsed.kind === 'manifest') {
    return { digest: top.digest, manifest: top.parsed, siblings: [] };
  }
  const siblings = await listManifests(top.parsed, async (index) => (await read(index)).parsed);
  const chosen = await read(selectPlatform(siblings, platform));
  if (chosen.parsed.kind === 'manifest') {
    return { digest: chosen.digest, manifest: chosen.parsed, siblings };
  }
  throw new ThinError('corrupt', `Cannot use ${client}: an index stands where a manifest should`);
}

/** An image without an index is made for whatever its config says. @throws ThinError `not-found` */
export function checkPlatform(
  { digest }: Original,
  stated: Platform,
  { platform }: { readonly platform: Platform },
): void {
  const { os, architecture, variant } = stated;
  const own = { os, architecture, ...(variant !== undefined && { variant }) };
  const [mediaType = ''] = manifestMediaTypes;
  selectPlatform([{ mediaType, digest, size: 0, platform: own }], platform);
}

/** A config, whole and verified. */
export async function readBlob(
  client: RegistryClient,
  blob: Descriptor,
  signal: AbortSignal,
): Promise<Buffer> {
  if (blob.size > limits.manifestBytesMax) {
    throw new ThinError('corrupt', `Cannot use image config ${blob.digest}: ${blob.size} bytes`);
  }
  const pieces: Buffer[] = [];
  for await (const piece of client.blob(blob, { signal })) pieces.push(piece);
  return Buffer.concat(pieces);
}
