import { z } from 'zod';
import { type Digest, digestOf, isDigest } from '../digest.js';
import { ThinError } from '../errors.js';
import { type Platform, platformSchema } from '../image/descriptor.js';
import { limits } from '../limits.js';
import { packsMax } from './chunk-map-layout.js';
import { type OriginalImage, readOriginalImage } from './original-image.js';

/**
 * The thin descriptor: the small JSON that makes a thin image (FORMAT.md, "Thin descriptor"). It is
 * the `config` blob of the thin manifest and carries the original manifest and image config as text,
 * so that a node needs nothing more of the original image, and can check that they are what the
 * manifest digest it asked for names.
 */
const thinDescriptorVersion = 2;
/** Of a descriptor whose metadata is whole: what every node reads is written where that is all there is. */
const wholeVersion = 1;

/** Plain bytes per byte on the wire, beyond the first MiB: metadata compresses 10 to 200 times. */
const wireRatioMax = 1000;
/** Bytes that zstd may add to what does not compress. */
const wireOverheadMax = 64 * 1024;

const digest = z.string().refine(isDigest, 'wanted sha256: and 64 lower-case hex digits');
const size = z.int().positive();
const blob = z.object({ digest, size });

const wireBlob = (plainBytesMax: number) =>
  z
    .object({
      digest,
      size: size.max(plainBytesMax), // in memory as a whole, as what it decodes to
      plainDigest: digest,
      plainSize: size.max(plainBytesMax),
    })
    .refine(
      (at) => at.plainSize <= at.size * wireRatioMax + 2 ** 20,
      `wanted at most ${wireRatioMax} plain bytes for each byte`,
    )
    .refine(
      (at) => at.size <= at.plainSize + at.plainSize / 128 + wireOverheadMax,
      'wanted a size near plainSize at most',
    );

const metadataBlob = wireBlob(limits.metadataBytesMax).and(
  z.object({ bareSize: size.max(limits.metadataBytesMax).optional() }),
);

const text = z.string().min(1).max(255);

/** A document of the original image, byte for byte. */
const document = z.object({
  digest,
  size: size.max(limits.manifestBytesMax),
  text: z.string(),
});

const thinDescriptorSchema = z.object({
  version: z.union([z.literal(wholeVersion), z.literal(thinDescriptorVersion)]),
  image: z.object({
    manifest: document.extend({ mediaType: text }),
    config: document,
    platform: platformSchema,
  }),
  metadata: metadataBlob,
  chunkMap: wireBlob(limits.chunkMapBytesMax),
  packs: z
    .array(blob)
    .max(packsMax)
    .refine((packs) => new Set(packs.map((at) => at.digest)).size === packs.length, 'a pack twice'),
  /** Which chunks a start touches, in order; a reader that does not know it starts without. */
  hotList: wireBlob(limits.chunkMapBytesMax).optional(),
});

type Parsed = z.infer<typeof thinDescriptorSchema>;

/** A zstd blob and what it decodes to; sizes in bytes. */
export interface WireBlob {
  readonly digest: Digest;
  readonly size: number;
  readonly plainDigest: Digest;
  readonly plainSize: number;
}

/** The same of metadata, which may be bare on the line: then that has another size. */
export interface WireMetadata extends WireBlob {
  readonly bareSize?: number | undefined;
}

export interface ThinDescriptor extends Omit<Parsed, 'image'> {
  readonly image: OriginalImage;
}

/** What {@link encodeThinDescriptor} makes a descriptor of. */
export interface ThinDescriptorContent {
  readonly manifest: { readonly mediaType: string; readonly bytes: Buffer };
  /** Bytes of the image config, whose digest the manifest names. */
  readonly config: Buffer;
  readonly platform: Platform;
  readonly metadata: WireMetadata;
  readonly chunkMap: WireBlob;
  readonly packs: readonly { readonly digest: Digest; readonly size: number }[];
  readonly hotList?: WireBlob;
}

/**
 * Reads and checks a descriptor, in time linear in its size.
 * @throws ThinError `corrupt`; `invalid` for a version newer than {@link thinDescriptorVersion}
 */
export function parseThinDescriptor(bytes: Buffer): ThinDescriptor {
  if (bytes.length > limits.descriptorBytesMax) {
    throw corrupt(`${bytes.length} bytes (wanted at most ${limits.descriptorBytesMax})`);
  }
  const json = parseCanonicalJson(bytes);
  refuseNewer(json);
  const parsed = thinDescriptorSchema.safeParse(json);
  if (!parsed.success) {
    const [issue] = parsed.error.issues;
    throw corrupt(`${issue?.path.join('.') ?? ''}: ${issue?.message ?? 'not a descriptor'}`);
  }
  checkBareSize(parsed.data);
  return { ...parsed.data, image: readOriginalImage(parsed.data.image) };
}

/**
 * The bytes of a descriptor: JSON without white space, its fields in a fixed order.
 * @throws ThinError `corrupt` if manifest, config and the rest do not belong together
 */
export function encodeThinDescriptor(content: ThinDescriptorContent): Buffer {
  const { manifest, config, platform } = content;
  const { bareSize } = content.metadata;
  const json = {
    version: bareSize === undefined ? wholeVersion : thinDescriptorVersion,
    image: {
      manifest: { mediaType: manifest.mediaType, ...embed('manifest', manifest.bytes) },
      config: embed('config', config),
      platform: {
        os: platform.os,
        architecture: platform.architecture,
        variant: platform.variant,
        'os.version': platform['os.version'],
        'os.features': platform['os.features'],
      },
    },
    metadata: { ...wireFields(content.metadata), bareSize },
    chunkMap: wireFields(content.chunkMap),
    packs: content.packs.map((pack) => ({ digest: pack.digest, size: pack.size })),
    hotList: content.hotList && wireFields(content.hotList),
  };
  const bytes = Buffer.from(JSON.stringify(json));
  parseThinDescriptor(bytes);
  return bytes;
}

function corrupt(what: string): ThinError {
  return new ThinError('corrupt', `Cannot read thin descriptor: ${what}`);
}

/**
 * JSON that is exactly what `JSON.stringify` writes. That leaves one reading of it: no key twice, no
 * number beyond what a double holds, no bytes that are not UTF-8.
 */
function parseCanonicalJson(bytes: Buffer): unknown {
  try {
    const json: unknown = JSON.parse(bytes.toString('utf8'));
    if (bytes.equals(Buffer.from(JSON.stringify(json)))) return json;
  } catch (error) {
    throw new ThinError('corrupt', 'Cannot read thin descriptor: it is not JSON', { cause: error });
  }
  throw corrupt('its JSON is not in canonical form');
}

function refuseNewer(json: unknown): void {
  const versioned = z.object({ version: z.int().positive() }).safeParse(json);
  if (versioned.success && versioned.data.version > thinDescriptorVersion) {
    throw new ThinError(
      'invalid',
      `Cannot read thin descriptor: it has version ${versioned.data.version} ` +
        `(wanted at most ${thinDescriptorVersion}); a newer thinfs reads it`,
    );
  }
}

/** Bare metadata is the metadata, and a number of 4 bytes for each file, whose inode has 64 at least. */
function checkBareSize({ version, metadata }: Parsed): void {
  const { bareSize, plainSize } = metadata;
  if ((bareSize !== undefined) !== (version === thinDescriptorVersion)) {
    throw corrupt(`metadata.bareSize is ${bareSize} (wanted one in version 2, and only there)`);
  }
  const more = (bareSize ?? plainSize) - plainSize;
  if (more >= 0 && more % 4 === 0 && more <= plainSize) return;
  throw corrupt(
    `metadata.bareSize is ${bareSize}, of ${plainSize} bytes (wanted 4 more for each file)`,
  );
}

function embed(what: string, bytes: Buffer) {
  const content = bytes.toString('utf8');
  if (!Buffer.from(content).equals(bytes)) {
    throw new ThinError('corrupt', `Cannot use image ${what}: its JSON is not UTF-8`);
  }
  return { digest: digestOf(bytes), size: bytes.length, text: content };
}

function wireFields(blob: WireBlob): WireBlob {
  const { digest, size, plainDigest, plainSize } = blob;
  return { digest, size, plainDigest, plainSize };
}
