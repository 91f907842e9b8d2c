import { randomBytes } from 'node:crypto';
import type { ThinError } from '../errors.js';
import type { RedisAddress } from '../pop-option.js';
import { ImageUses } from './image-uses.js';
import { type LeaseCounts, Leases } from './leases.js';
import { type Member, type MemberInfo, Members } from './members.js';
import { channelOf, siteChannel } from './pop-keys.js';
import { RedisLink } from './redis-link.js';

export interface AgreementOptions {
  readonly redis: RedisAddress;
  /** Milliseconds that a read may lose to a Redis that does not answer; 50 if not given. */
  readonly answerMs?: number | undefined;
  /** Of this node's folder: stays over restarts. Lower-case letters and digits. */
  readonly nodeName: string;
  /** What the node says of itself. @param localAddress by which it reaches Redis, once it does */
  readonly info: (localAddress: string | undefined, leases: LeaseCounts) => MemberInfo;
  /** Redis is not asked any more, with why; or is again. */
  readonly onTurn: (why: ThinError | undefined) => void;
  /** Whether a node answers that is silent; it does not if this is not given. */
  readonly isThere?: (member: Member) => Promise<boolean>;
  /** A node fell silent. */
  readonly onDeath?: (node: string) => void;
}

/** What this node and the others of its site agree upon through Redis, as long as that answers. */
export class Agreement implements AsyncDisposable {
  /** This process among the nodes of the site: a node that starts again is another one. */
  readonly node: string;
  readonly link: RedisLink;
  readonly members: Members;
  readonly leases: Leases;
  readonly uses: ImageUses;
  readonly #announced = new Set<(message: string) => void>();

  /** Begins to connect; never fails, and does not wait for Redis for longer than a moment. */
  static async open(options: AgreementOptions): Promise<Agreement> {
    const agreement = new Agreement(options);
    await agreement.members.start();
    return agreement;
  }

  private constructor(options: AgreementOptions) {
    const { redis, nodeName, info, isThere, onTurn, onDeath } = options;
    this.node = `${nodeName}.${randomBytes(4).toString('hex')}`;
    const events = {
      onMessage: (text: string) => {
        this.leases.heard(text);
        for (const told of this.#announced) told(text);
      },
      onTurn: (why: ThinError | undefined) => {
        if (why) this.leases.lost();
        onTurn(why);
      },
    };
    const channels = [channelOf(this.node), siteChannel];
    this.link = new RedisLink(redis, channels, events, options.answerMs);
    this.members = new Members(this.link, this.node, {
      info: () => info(this.link.localAddress, this.leases.counts),
      isThere: async (member) => (await isThere?.(member)) ?? false,
      onDeath: (node) => {
        this.leases.died(node);
        onDeath?.(node);
      },
    });
    this.leases = new Leases(this.link, this.node, (node) => this.members.isDead(node));
    this.uses = new ImageUses(this.link, this.node);
  }

  /** @param told called with what any node of the site announces (image-uses.ts) */
  onAnnounced(told: (message: string) => void): void {
    this.#announced.add(told);
  }

  /** Whether leases can be had now. */
  get ready(): boolean {
    return this.link.up && this.members.joined;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.leases[Symbol.asyncDispose]();
    await this.uses[Symbol.asyncDispose]();
    await this.members[Symbol.asyncDispose]();
    await this.link[Symbol.asyncDispose]();
  }
}
