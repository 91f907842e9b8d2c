import type { PopReport } from '../pop/point-of-presence.js';
import type { SharedTierReport } from '../pop/shared-tier-report.js';
import type { SourceReport } from '../store/source-health.js';
import type { Deployment } from './deployment-log.js';
import type { Slot } from './history.js';

/** Hours that the charts can show. */
export const pageHours = [1, 6, 24] as const;
export type PageHours = (typeof pageHours)[number];
/** Milliseconds that they are cut into. */
export const spanMs: Readonly<Record<PageHours, number>> = {
  1: 60_000,
  6: 5 * 60_000,
  24: 15 * 60_000,
};
/** Seconds after which the page comes again by itself, for who asks for it. */
export const refreshSeconds = 10;

/** What the reader of the page has chosen. */
export interface PageChoice {
  readonly hours: PageHours;
  readonly refresh: boolean;
}

/** A read that waits, as far as the page tells of it. */
export interface PageWait {
  readonly reference: string | undefined;
  readonly paths: readonly string[];
  /** Milliseconds since 1970. */
  readonly since: number;
  readonly sources: readonly string[];
  readonly error?: string;
}

/** A node as its page shows it. */
export interface PageData {
  readonly host: string;
  readonly version: string;
  /** Milliseconds for which the daemon's server has run. */
  readonly upMs: number;
  /** Now: on the clock of spans and deployments, and in milliseconds since 1970. */
  readonly clock: number;
  readonly time: number;
  readonly images: number;
  readonly mounts: number;
  /** Bytes of disk. */
  readonly cache: { readonly bytes: number; readonly quotaBytes: number };
  readonly waiting: readonly PageWait[];
  readonly sources: readonly SourceReport[];
  /** Null for a node that is in no site. */
  readonly site: PopReport | null;
  /** Null for a node that has none. */
  readonly sharedTier: SharedTierReport | null;
  /** What came, by time; the width is that of the chosen range. */
  readonly spans: readonly Slot[];
  readonly deployments: readonly Deployment[];
}
