import { formatPlatform } from '../src/image/platform.js';
import { formatReference } from '../src/image/reference.js';
import { formatSize } from '../src/units.js';
import type { PlatformResult, ThinifyResult } from './thinify-image.js';

/** One line for each platform, for people. */
export function describeResult(result: ThinifyResult, seconds: number): string {
  const name = formatReference(result.destination.reference);
  const lines = result.platforms.map((platform) => {
    const head = `${name} ${formatPlatform(platform.source.platform)}`;
    return `${head}: ${describePlatform(platform)} (${seconds.toFixed(1)} s)\n`;
  });
  return lines.join('');
}

function describePlatform({ source, converted }: PlatformResult): string {
  if (!converted) return 'already published, nothing uploaded';
  const { files, chunks, bytesUploaded, bytesReused, publishedBytes } = converted;
  const ratio = publishedBytes / Math.max(originalSize(source), 1);
  return [
    `${files} files`,
    `${chunks} chunks`,
    `${formatSize(bytesUploaded)} uploaded`,
    `${formatSize(bytesReused)} reused`,
    `${ratio.toFixed(2)} of the original layers`,
  ].join(', ');
}

/** One object on one line; `bytes…` are of all platforms together. */
export function jsonResult(result: ThinifyResult, seconds: number): string {
  const { destination, store, platforms, originalBytes } = result;
  const sum = (of: (platform: PlatformResult) => number) =>
    platforms.reduce((total, platform) => total + of(platform), 0);
  const report = {
    event: 'result',
    image: formatReference(destination.reference),
    store,
    alreadyPublished: platforms.every(({ converted }) => converted === undefined),
    bytesUploaded: sum(({ converted }) => converted?.bytesUploaded ?? 0),
    bytesReused: sum(({ converted }) => converted?.bytesReused ?? 0),
    originalBytesUploaded: originalBytes,
    seconds,
    thinManifest: platforms[0]?.listed.digest,
    platforms: platforms.map(({ source, listed, converted }) => ({
      platform: formatPlatform(source.platform),
      manifest: source.digest,
      thinManifest: listed.digest,
      originalLayerBytes: originalSize(source),
      ...(converted && {
        files: converted.files,
        chunks: converted.chunks,
        plainBytes: converted.plainBytes,
        publishedBytes: converted.publishedBytes,
        bytesUploaded: converted.bytesUploaded,
        bytesReused: converted.bytesReused,
      }),
    })),
  };
  return `${JSON.stringify(report)}\n`;
}

function originalSize({ layers }: PlatformResult['source']): number {
  return layers.reduce((sum, { descriptor }) => sum + descriptor.size, 0);
}
