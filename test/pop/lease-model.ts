import type { ClaimAnswer, LeaseNews, LeaseText } from '../../src/pop/lease-protocol.js';

/** What Redis keeps of one lease, and what its scripts do: a test holds this against the scripts. */
export interface LeaseModel {
  readonly lease: LeaseText | undefined;
  readonly waiters: readonly string[];
  /** The last token that was given. */
  readonly token: number;
}

export interface Told {
  readonly node: string;
  readonly news: LeaseNews;
}

export const emptyLease: LeaseModel = { lease: undefined, waiters: [], token: 0 };

export function modelClaim(
  model: LeaseModel,
  node: string,
  insteadOf: LeaseText | undefined,
): { model: LeaseModel; answer: ClaimAnswer } {
  const { lease, waiters } = model;
  if (lease === undefined || lease === insteadOf) {
    const token = model.token + 1;
    const ours = `L ${token} ${node}` as LeaseText;
    return { model: { lease: ours, waiters, token }, answer: { ours: true, lease: ours } };
  }
  const answer = { ours: false, lease };
  if (lease.startsWith('D')) return { model, answer };
  return { model: { ...model, waiters: [...new Set([...waiters, node])].sort() }, answer };
}

export function modelPublish(
  model: LeaseModel,
  mark: LeaseText,
): { model: LeaseModel; told: Told[] } {
  const told = model.waiters.map((node) => ({ node, news: mark }));
  return { model: { ...model, lease: mark, waiters: [] }, told };
}

export function modelRelease(
  model: LeaseModel,
  lease: LeaseText,
): { model: LeaseModel; told: Told[] } {
  if (model.lease !== lease) return { model, told: [] };
  const told = model.waiters.map((node): Told => ({ node, news: 'free' }));
  return { model: { ...model, lease: undefined, waiters: [] }, told };
}
