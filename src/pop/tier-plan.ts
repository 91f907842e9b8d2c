import type { ReplacementPolicy } from '../pop-option.js';
import { replacement } from './replacement.js';

/** A file of the shared tier, by the hex of its digest. */
export type FileName = string;

/** An image whose files are in the shared tier. */
export interface TierImage {
  readonly image: string;
  /** All files that it has, wherever they are. */
  readonly files: readonly FileName[];
  /** Milliseconds since it was used last; infinity if nobody knows of it. */
  readonly idleMs: number;
  /** Times that it was mounted. */
  readonly times: number;
  /** Some node has it mounted: its files stay. */
  readonly inUse: boolean;
}

export interface TierState {
  /** Bytes of each file that is there. */
  readonly files: ReadonlyMap<FileName, number>;
  readonly images: readonly TierImage[];
  /** Files of no image, there for so long that none will come for them. */
  readonly orphans: readonly FileName[];
}

/** What leaves. */
export interface TierPlan {
  readonly images: readonly string[];
  readonly files: readonly FileName[];
  readonly bytes: number;
}

/** Uses of one image that count: more say nothing new. */
const timesMax = 100;

/**
 * Chooses what leaves a shared tier until `wanted` bytes are freed: what belongs to no image, then
 * whole images in the order of the policy, as far as no image that stays has the same files. Never
 * what is in use. Pure.
 */
export function planTier(state: TierState, wanted: number, policy: ReplacementPolicy): TierPlan {
  const images = new Map(state.images.map((image) => [image.image, image]));
  const holders = new Map<FileName, number>();
  for (const { files } of images.values()) {
    for (const file of files) holders.set(file, (holders.get(file) ?? 0) + 1);
  }
  const leaving = { images: [] as string[], files: [] as FileName[], bytes: 0 };
  const leave = (file: FileName): void => {
    const size = state.files.get(file);
    if (size === undefined) return;
    leaving.files.push(file);
    leaving.bytes += size;
  };
  for (const file of wanted > 0 ? state.orphans : []) if (!holders.has(file)) leave(file);
  const order = byUse(state, policy);
  for (let next = order.victim(); next !== undefined; next = order.victim()) {
    if (leaving.bytes >= wanted) break;
    order.removed(next);
    leaving.images.push(next);
    for (const file of images.get(next)?.files ?? []) {
      const left = (holders.get(file) ?? 1) - 1;
      holders.set(file, left);
      if (left === 0) leave(file);
    }
  }
  return leaving;
}

/** The images that may leave, told to the policy as they were used. */
function byUse({ files, images }: TierState, policy: ReplacementPolicy) {
  const order = replacement<string>(policy);
  const free = images.filter(({ inUse }) => !inUse).sort((a, b) => later(a) - later(b));
  for (const { image, files: own, times } of free) {
    const bytes = own.reduce((sum, file) => sum + (files.get(file) ?? 0), 0);
    const count = Math.min(Math.max(times, 1), timesMax);
    for (let use = 0; use < count; use++) order.used(image, Math.max(bytes, 1));
  }
  return order;
}

/** Ascending for what was used later; infinities differ by nothing. */
function later({ idleMs }: TierImage): number {
  return Number.isFinite(idleMs) ? -idleMs : -Number.MAX_SAFE_INTEGER;
}
