import { z } from 'zod';

/**
 * How an image becomes a root file system: `composed` by the kernel from metadata and tiers, so that
 * what is here is read at native speed and goes on without us; or `portable`, a FUSE file system of
 * the whole tree, which works everywhere.
 */
export const mountForms = ['composed', 'portable'] as const;
export type MountForm = (typeof mountForms)[number];
export type MountChoice = MountForm | 'auto';

export interface RootRequest {
  /** Absolute path of an empty folder; made if it lies in ours. */
  readonly target: string;
  /** Folder of ours for `upper` and `work`; absent: read-only. */
  readonly changes?: string | undefined;
}

/** What is written down of a root, so that a later daemon finds it again. */
export const rootRecord = z.object({
  target: z.string(),
  changes: z.string().optional(),
  form: z.enum(mountForms),
  /** For people: which mechanism. */
  server: z.string(),
});
export type RootRecord = z.infer<typeof rootRecord>;

/** An image's tree, mounted for one container or at one mount point. */
export interface Root {
  readonly record: RootRecord;
  /** Resolves when it is gone, whoever unmounted it, as far as that is noticed. */
  readonly ended: Promise<void>;
  /** @throws ThinError `busy` if something uses it; it goes on then */
  unmount(): Promise<void>;
  /** Takes it away although it is in use. */
  detach(): Promise<void>;
}
