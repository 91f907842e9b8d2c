/** Starts that are remembered. */
export const deploymentsMax = 500;

/** What a start is timed to: its sign of readiness, its end, else that all was made for it. */
export type DeploymentEnd = 'ready' | 'ended' | 'made' | 'failed';

/** One start of a container. */
export interface Deployment {
  /** When it was asked for, in milliseconds on a clock that only grows. */
  readonly at: number;
  /** As it was asked for. */
  readonly image: string;
  /** Milliseconds to its end. */
  readonly ms: number;
  readonly end: DeploymentEnd;
  /** Compressed bytes that came from the image's store meanwhile; undefined: all of it was pulled. */
  readonly originBytes: number | undefined;
  /** Whether nothing had to come from there. */
  readonly hit: boolean;
}

/** The last starts of this node, in memory: 500 at most. */
export class DeploymentLog {
  readonly #all: Deployment[] = [];

  /** @returns replaces what is told of it, as long as it is remembered */
  add(deployment: Deployment): (changed: Deployment) => void {
    let current = deployment;
    this.#all.push(current);
    if (this.#all.length > deploymentsMax) this.#all.shift();
    return (changed) => {
      const at = this.#all.lastIndexOf(current);
      if (at >= 0) this.#all[at] = changed;
      current = changed;
    };
  }

  /** The oldest first. */
  list(): readonly Deployment[] {
    return this.#all;
  }
}
