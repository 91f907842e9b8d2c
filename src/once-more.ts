import { isThinError } from './errors.js';

/**
 * Does `attempt`, and once more if what came was corrupt: a cache on the way, or memory, may have
 * been wrong for once. Not for what was handed on before it was verified.
 * @throws what the second attempt throws
 */
export async function onceMore<T>(attempt: () => Promise<T>): Promise<T> {
  try {
    return await attempt();
  } catch (error) {
    if (!isThinError(error, 'corrupt')) throw error;
    return await attempt();
  }
}
