import { formatReference, type ImageReference, referenceTarget } from '../src/image/reference.js';
import { RegistryClient, type RegistryOptions } from '../src/registry/registry-client.js';
import type { ImageContent } from './image-content.js';

/** An image of a registry. */
export async function registryContent(
  reference: ImageReference,
  options: Omit<RegistryOptions, 'registry' | 'repository'>,
): Promise<ImageContent> {
  const { registry, repository } = reference;
  const client = await RegistryClient.open({ ...options, registry, repository });
  const name = formatReference(reference);
  return {
    name,
    root: (signal) => client.manifest(referenceTarget(reference), signal),
    document: (descriptor, signal) => client.manifest(descriptor, signal),
    open: (descriptor, offset, signal) => {
      if (offset === 0) return client.blob(descriptor, { signal });
      return client.blob(descriptor, { offset, length: descriptor.size - offset, signal });
    },
    toString: () => name,
    [Symbol.asyncDispose]: () => client[Symbol.asyncDispose](),
  };
}
