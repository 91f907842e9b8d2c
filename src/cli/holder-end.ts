import { setTimeout as delay } from 'node:timers/promises';
import { isListening } from '../daemon/holder-client.js';

/** Milliseconds between two looks at a process that is ending. */
const endPollMs = 5;

/** When this returns, what starts next does not meet the holder that is ending. */
export async function holderEnd(holderSocket: string, signal: AbortSignal): Promise<void> {
  while (await isListening(holderSocket)) await delay(endPollMs, undefined, { signal });
}
