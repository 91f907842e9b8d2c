import type { Test } from 'tap';
import { Agreement, type AgreementOptions } from '../../src/pop/agreement.js';
import type { RedisAddress } from '../../src/pop-option.js';
import { cleanUp } from '../support/clean-up.js';

const pollMs = 10;
const pollTimeoutMs = 90_000;
/**
 * Milliseconds for an answer of Redis, where how slow it may be is not what is tried: a busy machine
 * takes longer than a read would wait.
 */
export const slowAnswerMs = 5000;

/** A node of a site, without anything that it could serve. */
export async function joinSite(
  t: Test,
  redis: RedisAddress,
  nodeName: string,
  more: Partial<AgreementOptions> = {},
): Promise<Agreement> {
  const options = { answerMs: slowAnswerMs, ...more };
  const agreement = await openAgreement(redis, nodeName, undefined, options);
  cleanUp(t, () => agreement[Symbol.asyncDispose]());
  await until(() => agreement.ready);
  return agreement;
}

export function openAgreement(
  redis: RedisAddress,
  nodeName: string,
  onTurn: AgreementOptions['onTurn'] = () => undefined,
  more: Partial<AgreementOptions> = {},
): Promise<Agreement> {
  const info = () => ({ host: nodeName, startedAt: Date.now() });
  return Agreement.open({ redis, nodeName, info, onTurn, ...more });
}

export async function until(condition: () => boolean | Promise<boolean>): Promise<void> {
  const deadline = Date.now() + pollTimeoutMs;
  while (!(await condition())) {
    if (Date.now() > deadline) throw new Error('waited in vain');
    await new Promise((resolve) => setTimeout(resolve, pollMs));
  }
}
