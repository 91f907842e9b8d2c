import { connect } from 'node:net';
import { setTimeout as delay } from 'node:timers/promises';
import type { ImageConfig } from '../image/image-config.js';
import { type ContainerKey, runInContainer } from '../mount/runc.js';
import type { ReadySign } from '../ready-option.js';

/** Milliseconds between two looks at a port, and between two health checks. */
const portPollMs = 20;
const healthPollMs = 250;

export interface WatchedContainer {
  readonly key: ContainerKey;
  readonly config: ImageConfig;
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
  if (sign?.kind === 'seconds') {
    await delay(sign.seconds * 1000, undefined, { signal, ref: false }).catch(() => {});
  } else if (sign?.kind === 'tcp') {
    await poll(() => answers(sign.port), portPollMs, signal);
  } else if ((sign === undefined || sign.kind === 'health') && check) {
    await poll(() => runInContainer(key, check), healthPollMs, signal);
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

async function poll(
  look: () => Promise<boolean>,
  everyMs: number,
  signal: AbortSignal,
): Promise<void> {
  while (!signal.aborted && !(await look())) {
    await delay(everyMs, undefined, { signal, ref: false }).catch(() => {});
  }
}

function answers(port: number): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = connect({ host: '127.0.0.1', port });
    const end = (answer: boolean) => {
      socket.destroy();
      resolve(answer);
    };
    socket.once('connect', () => end(true));
    socket.once('error', () => end(false));
  });
}
