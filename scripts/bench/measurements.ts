import { composedAgainstOverlay } from './measure-composed.js';
import { conversion, conversionOfUpdate, memoryOfConversion } from './measure-conversion.js';
import { treeDifferences } from './measure-differences.js';
import { startsWhileFilesCome } from './measure-early-start.js';
import { fewFiles } from './measure-few-files.js';
import { objectReads } from './measure-objects.js';
import { pullAgainstClients } from './measure-pull.js';
import { pullOfUpdate } from './measure-second-pull.js';
import { startWarm } from './measure-start.js';
import { guessedStart } from './measure-start-guess.js';
import { startsOverLink } from './measure-start-link.js';
import { startOfUpdate } from './measure-start-update.js';
import type { Measurement } from './measurement.js';

const links = [
  { megabitsPerSecond: 100, roundTripMs: 20 },
  { megabitsPerSecond: 20, roundTripMs: 50 },
  undefined,
];
const startNames = ['python', 'node', 'nginx', 'postgres', 'r', 'gcc'] as const;

/** What `npm run bench` measures. To measure more, add a contender or a measurement here. */
export const measurements: readonly Measurement[] = [
  treeDifferences(),
  conversion('python'),
  conversion('science'),
  conversionOfUpdate(),
  memoryOfConversion('science'),
  startWarm('python'),
  fewFiles(),
  composedAgainstOverlay(),
  objectReads(),
  guessedStart('python'),
  guessedStart('node'),
  ...links.flatMap((link) => startNames.map((name) => startsOverLink(name, link))),
  startOfUpdate({ megabitsPerSecond: 100, roundTripMs: 20 }),
  pullAgainstClients({ image: 'python', ratioMost: 0.5 }),
  pullAgainstClients({ image: 'many-files', ratioMost: 0.35 }),
  pullAgainstClients({ image: 'large-layers', ratioMost: 0.7 }),
  pullOfUpdate(),
  startsWhileFilesCome(100),
  ...[1000, 100, 20].flatMap((link) =>
    (['python', 'many-files', 'large-layers'] as const).map((image) =>
      pullAgainstClients({ image, link }),
    ),
  ),
];
