import { digestOf } from '../src/digest.js';
import { isThinError } from '../src/errors.js';
import type { Descriptor } from '../src/image/descriptor.js';
import { parseManifest } from '../src/image/manifest.js';
import { type ImageReference, referenceTarget } from '../src/image/reference.js';
import { RegistryClient } from '../src/registry/registry-client.js';
import type { StoreOptions } from '../src/store/open-store.js';
import type { ImageContent, ImageDocument } from './image-content.js';

/**
 * Pushes an image as it is, so that clients that know nothing of thin images can pull it too: what the
 * registry has is not sent again.
 * @param root the image's index, or the one manifest that is wanted
 * @returns bytes that were sent
 */
export async function pushOriginal(
  content: ImageContent,
  root: ImageDocument,
  reference: ImageReference,
  options: StoreOptions,
  signal: AbortSignal,
): Promise<number> {
  const { registry, repository } = reference;
  await using client = await RegistryClient.open({ ...options.registry, registry, repository });
  const target = referenceTarget(reference);
  if (await isThere(client, target, root, signal)) return 0;
  return await new Push(content, client, signal).document(root, target);
}

async function isThere(
  client: RegistryClient,
  target: string,
  root: ImageDocument,
  signal: AbortSignal,
): Promise<boolean> {
  try {
    return (await client.resolve(target, signal)).digest === digestOf(root.bytes);
  } catch (error) {
    if (isThinError(error, 'not-found')) return false;
    throw error;
  }
}

class Push {
  readonly #content: ImageContent;
  readonly #client: RegistryClient;
  readonly #signal: AbortSignal;

  constructor(content: ImageContent, client: RegistryClient, signal: AbortSignal) {
    this.#content = content;
    this.#client = client;
    this.#signal = signal;
  }

  /** What a document names goes before it: registries refuse what refers to nothing. */
  async document({ bytes, mediaType }: ImageDocument, target: string): Promise<number> {
    const parsed = parseManifest(bytes, mediaType);
    let sent = 0;
    if (parsed.kind === 'index') {
      for (const entry of parsed.manifests) {
        const nested = await this.#content.document(entry, this.#signal);
        sent += await this.document(nested, entry.digest);
      }
    } else {
      for (const blob of [...parsed.layers, parsed.config]) sent += await this.#blob(blob);
    }
    await this.#client.pushManifest(target, bytes, parsed.mediaType, this.#signal);
    return sent;
  }

  async #blob(blob: Descriptor): Promise<number> {
    const open = (offset: number) => this.#content.open(blob, offset, this.#signal);
    const { digest, size } = blob;
    return (await this.#client.pushBlob({ digest, size }, open, this.#signal)) ? size : 0;
  }
}
