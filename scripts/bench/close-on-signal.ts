import { constants } from 'node:os';

/**
 * Closes what is open when a signal asks the program to end, and ends it: daemons, namespaces and mounts
 * would stay.
 */
export function closeOnSignal(close: () => Promise<void>): void {
  for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) {
    process.once(signal, () => {
      void close()
        .catch((error: unknown) => process.stderr.write(`${error}\n`))
        .finally(() => process.exit(128 + constants.signals[signal]));
    });
  }
}
