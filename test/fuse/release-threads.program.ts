/** Ends as a server does whose thread does not come to its end: release-threads.program.ts <mount point> */
import { releaseThreads } from '../../src/fuse/exit-guard.js';
import { threadState } from '../../src/fuse/object-worker-messages.js';

const bytes = threadState.length * Int32Array.BYTES_PER_ELEMENT;
releaseThreads(process.argv[2] ?? '', [new Int32Array(new SharedArrayBuffer(bytes))]);
