import fc from 'fast-check';

/** Any whole number; `random` looks at cases that no run before has seen. */
const seedVariable = 'THINFS_TEST_SEED';

/**
 * fast-check with the same cases in every run: what fails once fails again, and a change is what
 * made it fail. `THINFS_TEST_SEED=random npm test -- test/thin` looks further; fast-check names the
 * seed of a case that fails.
 */
const seed = process.env[seedVariable] ?? '20261121';
if (seed !== 'random') fc.configureGlobal({ seed: Number(seed) });

export default fc;
