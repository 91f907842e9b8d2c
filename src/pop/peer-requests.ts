import { Agent, send } from '../http-client.js';
import type { Clock } from '../store/clock.js';
import { batchAnswerBytesMax, packNames, parseBatch } from './frame-batch.js';
import type { Member } from './members.js';
import {
  bodyHeader,
  hashOf,
  nonceHeader,
  proofHeader,
  type SiteSecret,
  voucherHeader,
} from './peer-auth.js';
import type { PeerHealth } from './peer-health.js';
import type { BatchAnswer } from './peer-queue.js';
import { type FetchName, fetchName } from './pop-keys.js';
import type { NodeKey } from './voucher.js';

/** Connections to one peer. */
const connectionsMax = 16;
/** Milliseconds to connect, and for one answer. */
const connectTimeoutMs = 500;
export const answerTimeoutMs = 3000;
const nothing = Buffer.alloc(0);

interface PeerRequest {
  readonly method: 'POST' | 'PUT' | 'DELETE';
  readonly path: string;
  readonly body: Buffer;
  readonly headers?: Readonly<Record<string, string>>;
  /** What comes of it says nothing about how fast it gives frames. */
  readonly isProbe?: boolean;
}

interface PeerAnswer {
  readonly status: number;
  readonly body: Buffer;
}

export interface PeerRequestsOptions {
  readonly secret: SiteSecret;
  readonly key: NodeKey;
  readonly clock: Clock;
  readonly healthOf: (member: Member) => PeerHealth;
  /** Told of answers that were unsigned, or did not come. */
  readonly onFailure: () => void;
}

/** Requests to the other nodes of the site, signed both ways (peer-auth.ts). None of them fails. */
export class PeerRequests implements AsyncDisposable {
  readonly #options: PeerRequestsOptions;
  readonly #agent = new Agent({
    connections: connectionsMax,
    connect: { timeout: connectTimeoutMs },
    headersTimeout: answerTimeoutMs,
    bodyTimeout: answerTimeoutMs,
    maxResponseSize: batchAnswerBytesMax,
  });

  constructor(options: PeerRequestsOptions) {
    this.#options = options;
  }

  async frames(
    names: readonly FetchName[],
    member: Member,
    signal: AbortSignal,
  ): Promise<BatchAnswer> {
    const body = packNames(names);
    const answer = await this.#exchange(
      { method: 'POST', path: '/v1/frames', body },
      member,
      signal,
    );
    if (answer?.status === 503) return 'busy';
    return answer?.status === 200 ? parseBatch(answer.body, names.length) : undefined;
  }

  /** Whether it answers at all. */
  async isThere(member: Member, signal: AbortSignal): Promise<boolean> {
    const body = packNames([fetchName('word', 'is anybody there')]);
    const asked = { method: 'POST', path: '/v1/frames', body, isProbe: true } as const;
    return (await this.#exchange(asked, member, signal)) !== undefined;
  }

  /** @returns whether it was taken */
  async give(name: FetchName, body: Buffer, member: Member): Promise<boolean> {
    const signal = AbortSignal.timeout(answerTimeoutMs);
    const voucher = this.#options.key.vouch(name, hashOf(body)).toString('hex');
    const headers = { [voucherHeader]: voucher };
    const asked = { method: 'PUT', path: `/v1/frame/${name}`, body, headers } as const;
    return (await this.#exchange(asked, member, signal))?.status === 204;
  }

  async takeAway(name: FetchName, member: Member): Promise<void> {
    const signal = AbortSignal.timeout(answerTimeoutMs);
    const asked = { method: 'DELETE', path: `/v1/frame/${name}`, body: nothing } as const;
    await this.#exchange(asked, member, signal);
  }

  /** Undefined for whatever is no signed answer in time. */
  async #exchange(
    { method, path, body, headers: more, isProbe = false }: PeerRequest,
    member: Member,
    signal: AbortSignal,
  ): Promise<PeerAnswer | undefined> {
    const { secret, clock, healthOf, onFailure } = this.#options;
    const health = healthOf(member);
    const nonce = secret.newNonce();
    const bodyHash = hashOf(body);
    const proof = secret.signRequest(nonce, method, path, bodyHash);
    const startedAt = clock.now();
    try {
      const {
        statusCode: status,
        headers,
        body: stream,
      } = await send(this.#agent, new URL(`${member.info.url}${path}`), {
        ...{ method, signal },
        headers: { [nonceHeader]: nonce, [proofHeader]: proof, [bodyHeader]: bodyHash, ...more },
        ...(body.length > 0 && { body }),
      });
      const bytes = Buffer.from(await stream.arrayBuffer());
      const wanted = secret.signAnswer(nonce, status, hashOf(bytes));
      if (!secret.matches(headers[proofHeader], wanted)) throw new Error('not signed');
      if (status === 503) health.busy();
      else if (!isProbe) health.answered(clock.now() - startedAt);
      return { status, body: bytes };
    } catch {
      if (!signal.aborted) {
        health.failed(startedAt);
        onFailure();
      }
      return undefined;
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#agent.destroy();
  }
}
