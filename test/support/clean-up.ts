/** Whatever ends: a test, or a part of it. */
export interface Teardown {
  teardown(work: () => Promise<void>): void;
}

/**
 * Cleans up when `t` ends, the last first. What goes wrong then is told, and fails the file: a teardown
 * that throws would leave those before it undone, and what they are to end would keep the file alive.
 */
export function cleanUp(t: Teardown, work: () => unknown): void {
  t.teardown(async () => {
    try {
      await work();
    } catch (error) {
      process.exitCode = 1;
      process.stderr.write(`cannot clean up: ${error instanceof Error ? error.stack : error}\n`);
    }
  });
}
