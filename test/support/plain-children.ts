/**
 * Loaded before each test file: tap's runner has every Node.js that a test starts load what counts coverage, which
 * we do not use. It doubles the start of each `thin`, and is not what users run.
 */
import processOnSpawn from 'process-on-spawn';

processOnSpawn.removeAllListeners();
delete process.env.NODE_OPTIONS;
