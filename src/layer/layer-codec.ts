import { malformedLayer } from './malformed-layer.js';

export type LayerCodec = 'gzip' | 'zstd' | 'plain';

/** Bytes from which {@link codecOf} can tell. */
export const codecBytesWanted = 10;

/**
 * How a layer is compressed, by its first bytes alone. The media type's `+gzip` or `+zstd` is often
 * wrong in the wild, so what the bytes say wins, for lazy images and full pulls alike (L29).
 * @see https://www.rfc-editor.org/rfc/rfc1952 2.3 and https://www.rfc-editor.org/rfc/rfc8878 3.1
 * @throws ThinError `corrupt` for compressions that no registry serves as layers
 */
export function codecOf(first: Buffer): LayerCodec {
  if (first.length >= 3 && first.readUIntBE(0, 3) === 0x1f8b08) return 'gzip';
  if (first.length >= 4 && isZstd(first.readUInt32LE(0))) return 'zstd';
  const text = first.toString('latin1');
  if (/^BZh[1-9]1AY&SY/.test(text)) throw unsupported('bzip2');
  if (text.startsWith('\xfd7zXZ\0')) throw unsupported('xz');
  return 'plain';
}

function isZstd(magic: number): boolean {
  const skippable = magic >= 0x184d2a50 && magic <= 0x184d2a5f;
  return magic === 0xfd2fb528 || skippable;
}

function unsupported(name: string) {
  return malformedLayer(`it is compressed with ${name} (wanted gzip, zstd or a plain tar archive)`);
}

/**
 * Layers of OCI images and of Docker's, distributable or not; see {@link codecOf} for the suffix.
 * @throws ThinError `corrupt` for what is no layer: attestations, Helm charts, encrypted layers
 */
export function checkLayerMediaType(mediaType: string): void {
  if (!layerMediaType.test(mediaType)) {
    const shown = JSON.stringify(mediaType.slice(0, 120));
    throw malformedLayer(`its media type is ${shown} (wanted a layer of an OCI or Docker image)`);
  }
}

const layerMediaType = new RegExp(
  [
    String.raw`^application/vnd\.oci\.image\.layer\.(?:nondistributable\.)?v1\.tar(?:\+(?:gzip|zstd))?$`,
    String.raw`^application/vnd\.docker\.image\.rootfs\.(?:diff|foreign\.diff)\.tar(?:\.(?:gzip|zstd))?$`,
  ].join('|'),
);
