import type { FileChunks } from '../src/chunk/frame.js';
import type { Digest } from '../src/digest.js';
import type { LayerChanges } from '../src/image/layer-entry.js';
import type { LayerEntries } from './layer-entries.js';

/** One converted layer: what it is, and where the chunks of its files are. */
export interface ConvertedLayer extends LayerChanges {
  readonly diffId: Digest;
  readonly entries: LayerEntries;
  /** One for each distinct content that is not empty. */
  readonly files: Iterable<FileChunks>;
}
