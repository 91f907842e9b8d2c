/** Prints what the probe says in the folder that is the argument. */
import { probeComposed } from '../../src/mount/probe-composed.js';

process.stdout.write(JSON.stringify(await probeComposed(process.argv[2] ?? '')));
