import { z } from 'zod';
import { type ContentDigest, isContentDigest } from './content-digest.js';

export const contentDigestSchema = z.custom<ContentDigest>(
  (text) => typeof text === 'string' && isContentDigest(text),
  'wanted sha256:<64 hex digits> or sha512:<128 hex digits>',
);

/** Bytes, as an integer that arithmetic keeps exact (below 2^53). */
export const sizeSchema = z.int().nonnegative();

export const annotationsSchema = z.record(z.string(), z.string());

export const platformSchema = z.object({
  os: z.string(),
  architecture: z.string(),
  variant: z.string().optional(),
  'os.version': z.string().optional(),
  'os.features': z.array(z.string()).optional(),
});

/** What a program was built for, in Go's words: `linux`, `arm64`, `v8`. */
export type Platform = z.infer<typeof platformSchema>;

/**
 * A pointer to content. `urls` of the specification is ignored on purpose: content comes from the
 * registry that was asked, with its credentials, from nowhere else (CVE-2020-15157). `data`, the content
 * itself in base64, is a claim like the rest: see `inlinedContent`.
 * @see https://github.com/opencontainers/image-spec/blob/v1.1.0/descriptor.md
 */
export const descriptorSchema = z.object({
  mediaType: z.string().min(1).max(255),
  digest: contentDigestSchema,
  size: sizeSchema,
  artifactType: z.string().optional(),
  platform: platformSchema.optional(),
  annotations: annotationsSchema.optional(),
  data: z.string().optional(),
});

export type Descriptor = z.infer<typeof descriptorSchema>;
