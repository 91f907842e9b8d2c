/** Attaches a loop device to the file that is its argument, says so, and waits to be killed. */
import { attachLoop } from '../../native-bindings/loop-device.js';

const { path } = await attachLoop(process.argv[2] ?? '', { blockSize: 4096, directIo: false });
setInterval(() => undefined, 1000);
process.stdout.write(`${path}\n`);
