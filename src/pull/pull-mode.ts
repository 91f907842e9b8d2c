import { availableParallelism } from 'node:os';
import { ThinError } from '../errors.js';

/**
 * How the layers of an image are brought here. All modes end with the same bytes; `auto` is meant to
 * be used, the others are the stages on the way to it, kept so that each step can be measured:
 *
 * - `docker`: three downloads at once into files, then one layer after the other is inflated and
 *   stored, lowest first.
 * - `sequential`: one download at a time, with the whole link to itself; a layer that is here is
 *   inflated and stored while the next one downloads.
 * - `pipelined`: besides, a layer is inflated and stored while it downloads itself.
 * - `parallel`: besides, as many layers at once as there are cores.
 * - `auto`: as many layers at once, and connections for one large layer, as the link and the cores
 *   make use of (link-policy.ts); the largest layer first.
 */
export const pullModes = ['auto', 'parallel', 'pipelined', 'sequential', 'docker'] as const;
export type PullMode = (typeof pullModes)[number];

/** What a mode does. */
export interface PullPlan {
  /** Downloads at once; `adaptive`: found out on the way. */
  readonly downloads: number | 'adaptive';
  /** A layer is inflated only when all of it is here. */
  readonly wholeFirst: boolean;
  /** Calls that store a layer's files at the same time. */
  readonly storesInFlight: number;
  readonly largestFirst: boolean;
}

/** Of docker's client and of containerd. */
const dockerDownloads = 3;

export function planOf(mode: PullMode, cores = availableParallelism()): PullPlan {
  const storesInFlight = Math.max(2, cores);
  const one = { storesInFlight: 1, largestFirst: false };
  switch (mode) {
    case 'docker':
      return { ...one, downloads: dockerDownloads, wholeFirst: true };
    case 'sequential':
      return { ...one, downloads: 1, wholeFirst: true };
    case 'pipelined':
      return { ...one, downloads: 1, wholeFirst: false };
    case 'parallel':
      return { downloads: cores, wholeFirst: false, storesInFlight, largestFirst: false };
    case 'auto':
      return { downloads: 'adaptive', wholeFirst: false, storesInFlight, largestFirst: true };
  }
}

/** @throws ThinError `invalid` */
export function parsePullMode(text: string): PullMode {
  const mode = pullModes.find((known) => known === text);
  if (mode !== undefined) return mode;
  throw new ThinError('invalid', `Cannot pull in mode ${text}: wanted ${pullModes.join(', ')}`);
}
