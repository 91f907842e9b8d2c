import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

interface Teardown {
  teardown(action: () => void): void;
}

/** A folder of its own for a test; what is mounted in it goes first, as teardowns run backwards. */
export function temporaryFolder(t: Teardown): string {
  const folder = mkdtempSync(join(tmpdir(), 'thinfs-test-calls-'));
  t.teardown(() => rmSync(folder, { recursive: true, force: true }));
  return folder;
}
