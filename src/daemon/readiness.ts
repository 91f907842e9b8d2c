import { connect } from 'node:net';
import { setTimeout as delay } from 'node:timers/promises';
import { ThinError } from '../errors.js';
import type { ImageConfig } from '../image/image-config.js';
import { runInContainer } from '../mount/run-in-container.js';
import type { ContainerKey } from '../mount/runc.js';
import type { ReadySign } from '../ready-option.js';

/** Milliseconds between two looks at a port, and between two health checks. */
const portPollMs = 20;
const healthPollMs = 250;
/** Looks become rarer: between two is a twentieth of the time that it has taken, so much is not known. */
const pollGrowth = 20;
/** Milliseconds for an answer: of a port of this machine, and of a check that the image gives no time. */
const portAnswerMs = 1_000;
const healthAnswerMs = 30_000;

export interface WatchedContainer {
  readonly key: ContainerKey;
  readonly config: ImageConfig;
}

/** @throws ThinError `invalid` for a sign that an image cannot give */
export function checkReadySign(sign: ReadySign | undefined, config: ImageConfig): void {
  if (sign?.kind !== 'health' || healthCommand(config)) return;
  throw new ThinError(
    'invalid',
    'Cannot use --ready health: the image has no health check (wanted tcp:<port>, line:<text> or seconds)',
  );
}

/**
 * Resolves when a container is ready; never, before `signal`, where nothing but its user can tell.
 * Never fails.
 * @param sign if not given: the image's health check, if it has one
 */
export async function untilReady(
  sign: ReadySign | undefined,
  { key, config }: WatchedContainer,
  signal: AbortSignal,
): Promise<void> {
  const check = healthCommand(config);
  const timeoutMs = healthTimeoutMs(config);
  if (sign?.kind === 'seconds') {
    await delay(sign.seconds * 1000, undefined, { signal, ref: false }).catch(() => {});
  } else if (sign?.kind === 'tcp') {
    await poll(() => answers(sign.port), portPollMs, signal);
  } else if ((sign === undefined || sign.kind === 'health') && check) {
    // Where no process can be had now, it is asked again.
    const look = () => runInContainer(key, check, { signal, timeoutMs }).catch(() => false);
    await poll(look, healthPollMs, signal);
  } else {
    await new Promise<void>((resolve) => {
      if (signal.aborted) resolve();
      signal.addEventListener('abort', () => resolve(), { once: true });
    });
  }
}

/** As docker reads it; undefined for an image without one. */
export function healthCommand({ config }: ImageConfig): string[] | undefined {
  const [kind, ...words] = config?.Healthcheck?.Test ?? [];
  if (kind === 'CMD' && words.length > 0) return words;
  if (kind === 'CMD-SHELL' && words[0] !== undefined) return ['/bin/sh', '-c', words[0]];
  return undefined;
}

/** As docker reads it: nanoseconds, 0 for the default. */
function healthTimeoutMs({ config }: ImageConfig): number {
  const stated = (config?.Healthcheck?.Timeout ?? 0) / 1e6;
  return stated > 0 ? Math.min(stated, healthAnswerMs) : healthAnswerMs;
}

async function poll(
  look: () => Promise<boolean>,
  everyMs: number,
  signal: AbortSignal,
): Promise<void> {
  const startedAt = performance.now();
  while (!signal.aborted && !(await look())) {
    const waitMs = Math.max(everyMs, (performance.now() - startedAt) / pollGrowth);
    await delay(waitMs, undefined, { signal, ref: false }).catch(() => {});
  }
}

function answers(port: number): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = connect({ host: '127.0.0.1', port, timeout: portAnswerMs });
    const end = (answer: boolean) => {
      socket.destroy();
      resolve(answer);
    };
    socket.once('connect', () => end(true));
    socket.once('timeout', () => end(false));
    socket.once('error', () => end(false));
  });
}
