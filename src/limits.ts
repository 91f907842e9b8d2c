/**
 * Bounds on what comes from outside, with their unit and reason. A part's own tuning constants live
 * in that part; what is here is shared by several parts or is part of a promise to the user.
 */
const KiB = 1024;
const MiB = 1024 * KiB;
const GiB = 1024 * MiB;

export const limits = {
  /** Bytes of a manifest, index or image config: containerd and the registries use 4 MiB. */
  manifestBytesMax: 4 * MiB,
  /** Bytes of a thin descriptor (the image config and the pack list are inside it). */
  descriptorBytesMax: 8 * MiB,
  /** Nesting of OCI indexes. */
  indexDepthMax: 4,
  /** Layers of one image; overlayfs takes 500, docker 127. */
  layersMax: 512,

  /** Bytes of one PAX or GNU long-name header body (CVE-2025-58183: size lies cost memory). */
  tarHeaderBytesMax: MiB,
  /** Segments of one sparse file. */
  sparseSegmentsMax: 65_536,
  /** Plain bytes, holes included, of one file: beyond it hashing holes is a denial of service. */
  fileBytesMax: 1024 * GiB,
  /** Bytes of holes in one layer; a 512-byte header can claim any size. */
  holeBytesMax: 64 * GiB,
  /** Plain bytes out of one layer's decompressor, per compressed byte, after the first MiB. */
  inflateRatioMax: 1100, // DEFLATE's own limit is about 1032
  /** Entries of one layer and of one image. */
  entriesMax: 10_000_000,
  /** Bytes of one path and of one component, as Linux has them. */
  pathBytesMax: 4096,
  nameBytesMax: 255,
  pathDepthMax: 1024,
  /** Bytes of one symlink's target (PATH_MAX less the NUL). */
  linkTargetBytesMax: 4095,
  /** Bytes of one xattr value and of all of one inode's names, as Linux has them. */
  xattrValueBytesMax: 64 * KiB,
  xattrListBytesMax: 64 * KiB,

  /** Bytes of the plain EROFS metadata image and of the plain chunk map: 10 M entries fit. */
  metadataBytesMax: 4 * GiB - 1,
  chunkMapBytesMax: 2 * GiB - 1,
} as const;
