import { fetchName } from '../../src/pop/pop-keys.js';
import { parseRedisAddress } from '../../src/pop-option.js';
import { openAgreement, slowAnswerMs, until } from './site.js';

/*
 * A node that is to be killed: claims what its second argument names, and tells when it has that.
 * lease-owner.ts <redis address> <name>
 */
const [, , address = '', name = ''] = process.argv;
const agreement = await openAgreement(parseRedisAddress(address), 'owner', undefined, {
  answerMs: slowAnswerMs,
});
await until(() => agreement.ready);
const options = { background: () => false, patienceMs: 60_000 };
const claim = await agreement.leases.claim(
  fetchName('frame', name),
  options,
  new AbortController().signal,
);
process.stdout.write(`${claim.kind}\n`);
setInterval(() => undefined, 60_000);
