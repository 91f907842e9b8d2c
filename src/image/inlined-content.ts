import { digestOf } from '../digest.js';
import type { Descriptor } from './descriptor.js';

/** Bytes of content that we put into the descriptor of others: a round trip is worth that many. */
const inlinedBytesMax = 32 * 1024;

/** The content that a descriptor carries; undefined if it carries none, or other bytes than it names. */
export function inlinedContent({
  data,
  digest,
  size,
}: Pick<Descriptor, 'data' | 'digest' | 'size'>): Buffer | undefined {
  if (data === undefined || data.length > Math.ceil(size / 3) * 4) return undefined;
  const bytes = Buffer.from(data, 'base64');
  return bytes.length === size && digestOf(bytes) === digest ? bytes : undefined;
}

/** The field that makes a descriptor carry its content, if that is small. */
export function inlined(content: Buffer): { readonly data?: string } {
  return content.length <= inlinedBytesMax ? { data: content.toString('base64') } : {};
}
