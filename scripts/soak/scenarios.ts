import {
  anotherContainer,
  collectGarbage,
  type Fault,
  fillDisk,
  flipBits,
  killHolder,
  killServer,
  outage,
  stopAndStart,
  upgrade,
} from './faults.js';
import type { NodeSettings } from './soak-node.js';

export interface Scenario {
  readonly name: string;
  /** Each happens once before the first happens again, in an order that is drawn. */
  readonly faults: readonly Fault[];
  /** Milliseconds from the end of one to the next. */
  readonly pause: number;
  readonly settings: NodeSettings;
  /** MiB of the disk for the node's state. */
  readonly disk: number;
}

/** Half of the image, so that there are cold files always; the rest has room. */
const half: NodeSettings = { cacheSize: '40M', freeSpace: '0' };
const roomy = 1_024;

/** What is done to a node while a container reads. */
export const scenarios: readonly Scenario[] = [
  { name: 'server-kills', faults: [killServer], pause: 2_000, settings: half, disk: roomy },
  { name: 'upgrades', faults: [upgrade], pause: 500, settings: half, disk: roomy },
  {
    name: 'holder-kills',
    faults: [killHolder, killServer, stopAndStart],
    pause: 1_000,
    settings: half,
    disk: roomy,
  },
  { name: 'outages', faults: [outage], pause: 2_000, settings: half, disk: roomy },
  {
    name: 'quota',
    faults: [killServer, collectGarbage, anotherContainer],
    pause: 2_000,
    settings: { cacheSize: '8M', freeSpace: '0' },
    disk: roomy,
  },
  {
    name: 'full-disk',
    faults: [fillDisk, fillDisk, killServer],
    pause: 1_000,
    settings: { cacheSize: '1G', freeSpace: '2M' },
    disk: 64,
  },
  {
    name: 'bit-flips',
    faults: [flipBits],
    pause: 3_000,
    settings: { cacheSize: '1G', freeSpace: '0' },
    disk: roomy,
  },
  {
    name: 'all',
    faults: [
      killServer,
      upgrade,
      killHolder,
      stopAndStart,
      outage,
      fillDisk,
      flipBits,
      anotherContainer,
      collectGarbage,
    ],
    pause: 500,
    settings: { cacheSize: '40M', freeSpace: '2M' },
    disk: 96,
  },
];
