import { parseDigest } from '../digest.js';
import { shownLocation } from '../store/shown-location.js';
import type { ImageSummary } from './control-api.js';
import type { ImageFolder, ImageRecord } from './image-folder.js';

/** An image as commands are told of it. */
export function imageSummary(images: ImageFolder, record: ImageRecord): ImageSummary {
  const manifest = parseDigest(record.manifest);
  const thin = record.kind === 'thin';
  return {
    manifest,
    references: record.references,
    kind: record.kind,
    platform: record.platform,
    fileBytes: record.fileBytes,
    files: record.files,
    metadataPath: images.path(manifest, 'metadata'),
    configPath: images.path(manifest, 'config'),
    descriptorPath: thin ? images.path(manifest, 'descriptor') : undefined,
    chunkMapPath: thin ? images.path(manifest, 'chunkMap') : undefined,
    source: record.sources.map(({ location }) => shownLocation(location)).join(', '),
    lastUsed: record.lastUsed,
  };
}
