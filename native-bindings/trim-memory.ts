import { addon } from './addon.js';

/**
 * Gives memory that was freed back to the system, where the C library keeps it for the next time. Takes
 * some milliseconds: for the end of work that took much. Does nothing where the addon is missing.
 */
export function trimMemory(): void {
  try {
    addon().trimMemory();
  } catch {
    // What is kept is only memory.
  }
}
