// Exits with 0 if node_modules holds what package-lock.json says, else with 1.
// Plain JavaScript, because it runs before there is anything that could run TypeScript.
import { existsSync, readFileSync } from 'node:fs';

function packages(file) {
  try {
    return JSON.parse(readFileSync(new URL(`../${file}`, import.meta.url), 'utf8')).packages;
  } catch {
    return {};
  }
}

const installed = packages('node_modules/.package-lock.json');
const { '': _root, ...wanted } = packages('package-lock.json');
const differs = ([path, { version, optional }]) =>
  !optional &&
  (installed[path]?.version !== version || !existsSync(new URL(`../${path}`, import.meta.url)));
process.exit(Object.entries(wanted).some(differs) ? 1 : 0);
