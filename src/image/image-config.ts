import { z } from 'zod';
import { ThinError } from '../errors.js';
import { limits } from '../limits.js';
import type { ContentDigest } from './content-digest.js';
import { contentDigestSchema, type Descriptor } from './descriptor.js';
import { parseJsonDocument } from './json-document.js';
import type { Manifest } from './manifest.js';

/** Text that goes to execve or into a path: NUL would cut it short there. */
const words = z.string().refine((text) => !text.includes('\0'), 'wanted text without NUL');
/** A set, written in JSON as an object with empty values. */
const setSchema = z.record(words, z.unknown());
/** Nanoseconds. */
const duration = z.number();

const processSchema = z.object({
  /** `user`, `uid`, `user:group`, `uid:gid`; resolved in the image's own files when it runs. */
  User: words.optional(),
  /** `NAME=value` */
  Env: z.array(words).optional(),
  Entrypoint: z.array(words).optional(),
  Cmd: z.array(words).optional(),
  WorkingDir: words.optional(),
  /** `SIGTERM` or a number. */
  StopSignal: words.optional(),
  /** Paths as keys. */
  Volumes: setSchema.optional(),
  /** `80/tcp` as keys. */
  ExposedPorts: setSchema.optional(),
  Labels: z.record(z.string(), z.string()).optional(),
  /** Docker's own, not OCI's. */
  Healthcheck: z
    .object({
      Test: z.array(words).optional(),
      Interval: duration.optional(),
      Timeout: duration.optional(),
      StartPeriod: duration.optional(),
      StartInterval: duration.optional(),
      Retries: z.number().optional(),
    })
    .optional(),
});

/**
 * What an image is for and how to run it. Names are those of the JSON. What docker writes beside it
 * (history, the container it was built in) is left out.
 * @see https://github.com/opencontainers/image-spec/blob/v1.1.0/config.md
 */
export const imageConfigSchema = z.object({
  created: z.string().optional(),
  author: z.string().optional(),
  architecture: z.string(),
  os: z.string(),
  variant: z.string().optional(),
  'os.version': z.string().optional(),
  'os.features': z.array(z.string()).optional(),
  config: processSchema.optional(),
  rootfs: z.object({
    type: z.literal('layers'),
    /** Digests of the uncompressed layers, lowest first. */
    diff_ids: z.array(contentDigestSchema).max(limits.layersMax),
  }),
});

export type ImageConfig = z.infer<typeof imageConfigSchema>;

/** @throws ThinError `corrupt` if `bytes` (at most 4 MiB) are no image config. */
export function parseImageConfig(bytes: Uint8Array): ImageConfig {
  return parseJsonDocument('image config', bytes, imageConfigSchema);
}

/** One layer as the manifest (compressed) and the config (plain) name it. */
export interface ImageLayer {
  readonly descriptor: Descriptor;
  readonly diffId: ContentDigest;
}

/**
 * The layers of an image, lowest first.
 * @throws ThinError `corrupt` if manifest and config disagree about how many there are.
 */
export function imageLayers(manifest: Manifest, config: ImageConfig): ImageLayer[] {
  const diffIds = config.rootfs.diff_ids;
  const disagreement = new ThinError(
    'corrupt',
    `Cannot read image: its config has ${diffIds.length} diff IDs (wanted ${manifest.layers.length}, one for each layer)`,
  );
  if (diffIds.length !== manifest.layers.length) throw disagreement;
  return manifest.layers.map((descriptor, index) => {
    const diffId = diffIds[index];
    if (diffId === undefined) throw disagreement;
    return { descriptor, diffId };
  });
}
