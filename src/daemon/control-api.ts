import { z } from 'zod';
import type { PopReport } from '../pop/point-of-presence.js';
import type { SharedTierReport } from '../pop/shared-tier-report.js';
import { pullModes } from '../pull/pull-mode.js';
import type { PullProgress } from '../pull/pull-run.js';
import type { TierReport } from './hot-tier.js';
import type { Activity, WaitingRead, WhyReport } from './observation.js';
import { type MountForm, mountForms } from './root.js';
import { startModes } from './start-mode.js';
import { tierChoices } from './tier-choices.js';

/**
 * What the commands ask of the daemon: `POST /v1/<method>` on its Unix socket with one JSON object;
 * the answer is a line of JSON for each {@link ControlEvent}, the last of them `result` or `error`.
 * Clients import only types from here, so that they start without loading the schemas.
 */
const imageRequest = z.object({
  reference: z.string().min(1),
  /** `os/architecture[/variant]`; this machine's if absent. */
  platform: z.string().optional(),
  /** `dir:<path>`, `http(s)://…`, `s3://…`; the image's own registry if absent. */
  store: z.string().optional(),
  /** Whether to ask the store although the reference is known here, as `docker run --pull`. */
  pull: z.enum(['missing', 'always', 'never']).default('missing'),
  /** Whether an image that is pulled in full may be used before all of it is here. */
  start: z.enum(startModes).default('early'),
  plainHttp: z.boolean().optional(),
  caFile: z.string().optional(),
  /** Of another S3 service than AWS's. */
  s3Endpoint: z.string().optional(),
  s3Region: z.string().optional(),
  username: z.string().optional(),
  password: z.string().optional(),
});

const mountForm = z.enum(['auto', ...mountForms]).default('auto');

/**
 * Chosen by a client that makes a request again when the daemon has died over it: what came of the
 * first one, if anything did, is of no use to anybody, or is what the client asked for.
 */
const requestId = z.string().min(1).max(64).optional();

const mountRequest = imageRequest.extend({
  requestId,
  target: z.string().startsWith('/'),
  readOnly: z.boolean(),
  form: mountForm,
});

const containerRequest = imageRequest.extend({
  requestId,
  name: z.string().optional(),
  /** Forget the writable layer when the command has ended. */
  remove: z.boolean(),
  command: z.array(z.string()),
  entrypoint: z.string().optional(),
  env: z.array(z.string()),
  user: z.string().optional(),
  workdir: z.string().optional(),
  hostname: z.string().optional(),
  volumes: z.array(z.string()),
  network: z.enum(['host', 'none']),
  readOnly: z.boolean(),
  /** Bytes. */
  memory: z.number().int().positive().optional(),
  terminal: z.boolean(),
  form: mountForm,
  /** When its start is over; by the image's health check, or half a minute, if absent. */
  ready: z
    .discriminatedUnion('kind', [
      z.object({ kind: z.literal('health') }),
      z.object({ kind: z.literal('tcp'), port: z.number().int().min(1).max(65_535) }),
      z.object({ kind: z.literal('line'), text: z.string().min(1) }),
      z.object({ kind: z.literal('seconds'), seconds: z.number().nonnegative() }),
    ])
    .optional(),
  /** Name or absolute path of an OCI runtime; runc or else crun if absent. */
  runtime: z.string().min(1).optional(),
});

/** All layers of an image, whether it has a thin form or not. */
const pullRequest = imageRequest.extend({ mode: z.enum(pullModes).default('auto') });

export const controlSchemas = {
  'image.open': imageRequest,
  'image.pull': pullRequest,
  mount: mountRequest,
  unmount: z.object({ target: z.string().min(1), force: z.boolean() }),
  'container.create': containerRequest,
  'container.attach': z.object({ id: z.string() }),
  /** It has written the line that was waited for. */
  'container.ready': z.object({ id: z.string() }),
  'container.end': z.object({ id: z.string(), exitCode: z.number().int() }),
  /** Or of a mount that was left. */
  'container.remove': z.object({ id: z.string() }),
  status: z.object({}),
  /** Of a mount, a container or an image. */
  why: z.object({ name: z.string().min(1) }),
  activity: z.object({}),
  /** Of the site that this node is one of. */
  pop: z.object({}),
  /** Of the folder that the nodes of a site have in common. */
  sharedTier: z.object({}),
  gc: z.object({ all: z.boolean() }),
  /** What is pinned in the first tier. */
  tier: z.object({}),
  'tier.choose': z.object({ image: z.string().min(1), choice: z.enum(tierChoices) }),
  /** Bytes of pinned files at most; null: a part of the tier. */
  'tier.limit': z.object({ bytes: z.number().int().nonnegative().nullable() }),
  /** Of work in the background. */
  pause: z.object({ paused: z.boolean() }),
  check: z.object({}),
} as const;

export type ControlMethod = keyof typeof controlSchemas;
/** As the client writes it. */
export type ControlRequest<M extends ControlMethod> = z.input<(typeof controlSchemas)[M]>;
/** As the server sees it, with defaults filled in. */
export type CheckedRequest<M extends ControlMethod> = z.output<(typeof controlSchemas)[M]>;
export type ImageRequest = CheckedRequest<'image.open'>;

export interface ImageSummary {
  /** Digest of the platform's original manifest. */
  readonly manifest: string;
  readonly references: readonly string[];
  /** `thin`: files are fetched when touched; `pulled`: everything was downloaded. */
  readonly kind: 'thin' | 'pulled';
  readonly platform: string;
  /** Bytes of all distinct files, plain, and how many of them there are. */
  readonly fileBytes: number;
  readonly files: number;
  /** Absolute paths on this node. */
  readonly metadataPath: string;
  readonly configPath: string;
  readonly descriptorPath: string | undefined;
  readonly chunkMapPath: string | undefined;
  /** Where missing bytes come from; empty for a pulled image. */
  readonly source: string;
  /** Milliseconds since 1970. */
  readonly lastUsed: number;
}

/** How far the rest of a mounted image has been brought in the background. */
export interface CompletionStatus {
  readonly state: 'waiting' | 'running' | 'paused' | 'complete' | 'failed';
  /** Bytes of all files, and of those that are still to come; 0 before it begins. */
  readonly totalBytes: number;
  readonly missingBytes: number;
  /** What has been in the way last: of `failed`, why; else it is tried again. */
  readonly reason?: string;
}

/** What one mounted image has asked of its store since the daemon started. */
export interface FetchCounters {
  readonly requests: number;
  /** Compressed bytes received. */
  readonly bytes: number;
  readonly failures: number;
}

/** What was known that a start would read, as plain bytes. */
export interface FirstStart {
  readonly neededBytes: number;
  /** Of them: in files of this or other images that were here, an older version say. */
  readonly hereBytes: number;
}

export interface MountSummary {
  readonly id: string;
  readonly kind: 'mount' | 'container';
  readonly target: string;
  readonly reference: string;
  readonly manifest: string;
  readonly readOnly: boolean;
  readonly form: MountForm;
  /** For people: `raw`, `fuse-native`, or how the kernel reads the metadata. */
  readonly server: string;
  readonly since: number;
  /** Of an ended container that was kept. */
  readonly exitCode?: number;
}

/** A folder of a mount or container that is left as it is: nothing can be read of it, or it cannot be removed. */
export interface LeftFolder {
  readonly id: string;
  readonly kind: MountSummary['kind'];
  /** Absolute. */
  readonly folder: string;
  readonly reason: string;
}

export interface ContainerStart {
  readonly id: string;
  /** OCI bundle: what `runc run --bundle` wants. */
  readonly bundle: string;
  /** Absolute path of the runtime's program, and where it keeps its state. */
  readonly runtime: string;
  readonly runtimeRoot: string;
  readonly stopSignal: string;
}

export interface NodeStatus {
  readonly version: string;
  readonly pid: number;
  readonly root: string;
  readonly startedAt: number;
  readonly cache: {
    readonly bytes: number;
    readonly quota: number;
    readonly freeSpaceFloor: number;
    readonly files: number;
    readonly partialFiles: number;
  };
  readonly images: readonly (ImageSummary & {
    readonly fetched: FetchCounters;
    readonly completion?: CompletionStatus | undefined;
    /** Its first one since the daemon began. */
    readonly firstStart?: FirstStart | undefined;
  })[];
  readonly mounts: readonly MountSummary[];
  /** What an earlier daemon, or a failure, has left. */
  readonly left?: readonly LeftFolder[];
  /** Reads of programs that wait for bytes, the longest first. */
  readonly waiting: readonly WaitingRead[];
}

export interface ControlResults {
  readonly 'image.open': ImageSummary;
  readonly 'image.pull': ImageSummary;
  readonly mount: MountSummary;
  readonly unmount: MountSummary;
  readonly 'container.create': ContainerStart;
  /** Held again, by the command that runs it: its first connection broke with the daemon. */
  readonly 'container.attach': null;
  readonly 'container.ready': null;
  readonly 'container.end': null;
  readonly 'container.remove': null;
  readonly status: NodeStatus;
  readonly why: WhyReport;
  readonly activity: Activity;
  /** Null for a node that is in no site. */
  readonly pop: PopReport | null;
  readonly tier: TierReport;
  readonly 'tier.choose': null;
  readonly 'tier.limit': null;
  /** Null for a node that has none. */
  readonly sharedTier: SharedTierReport | null;
  readonly pause: null;
  readonly gc: { readonly bytes: number; readonly files: number; readonly images: number };
  /** `wrong`: digests of files that were not what they should be, and are removed. */
  readonly check: {
    readonly files: number;
    readonly bytes: number;
    readonly wrong: readonly string[];
  };
}

/** How a full pull goes, some times a second. */
export interface PullEvent extends PullProgress {
  readonly event: 'pull';
  /** Digests of the layers as the registry has them, lowest first. */
  readonly digests: readonly string[];
}

/** One line of an answer. */
export type ControlEvent =
  /** For people: one short sentence about what is being done or was decided. */
  | { readonly event: 'note'; readonly message: string }
  /** Bytes done of a longer job; `total` is 0 while unknown. */
  | {
      readonly event: 'progress';
      readonly job: string;
      readonly done: number;
      readonly total: number;
    }
  | PullEvent
  | { readonly event: 'result'; readonly result: unknown }
  | { readonly event: 'error'; readonly code: string; readonly message: string };
