/** Mounts what its argument says: for tests that take system calls away from it. */
import { mountComposed } from '../../src/mount/composed-mount.js';

await mountComposed(JSON.parse(process.argv[2] ?? ''));
