import { setTimeout as delay } from 'node:timers/promises';

const pollMs = 100;
const conditionMs = 120_000;

/**
 * Waits for a condition that nobody announces.
 * @throws Error if it does not hold within two minutes
 */
export async function until(
  what: string,
  condition: () => boolean | Promise<boolean>,
): Promise<void> {
  const deadline = performance.now() + conditionMs;
  while (!(await condition())) {
    if (performance.now() > deadline) throw new Error(`Waited in vain until ${what}`);
    await delay(pollMs);
  }
}
