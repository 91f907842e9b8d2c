import { Parser, type Result } from 'tap-parser';

export interface Tally {
  /** Assertions. */
  passed: number;
  /** Assertions, and files or subtests that ended badly although no assertion in them failed. */
  failed: number;
  /** What did not run, as `file > test: reason`. */
  readonly skipped: string[];
}

/** Of what a failed file printed beside its results, its last lines are told. */
const toldLinesMax = 50;

/**
 * Reads the TAP of a whole run, which holds a subtest for each file, prints a line for each file
 * and what is known about each failure, and counts.
 */
export class TestReport {
  readonly tally: Tally = { passed: 0, failed: 0, skipped: [] };
  /** Takes the TAP, as bytes or text in pieces of any size. */
  readonly parser = new Parser();
  readonly #print: (line: string) => void;
  /** Lines that are no TAP, of the file that is being read. */
  #printed: string[] = [];

  constructor(print: (line: string) => void) {
    this.#print = print;
    this.#follow(this.parser, []);
  }

  /** After the last byte. A run that broke off counts as one failure more. */
  finish(succeeded: boolean): Tally {
    this.parser.end();
    const { results } = this.parser;
    if (!results || results.bailout || results.plan.end === null) {
      this.#fail('the test runner itself: it did not come to its end');
    } else if (!(succeeded && results.ok) && this.tally.failed === 0) {
      this.#fail('the test runner itself');
    }
    return this.tally;
  }

  #follow(parser: Parser, trail: readonly string[]): void {
    let before = { ...this.tally };
    parser.on('child', (child: Parser) => {
      before = { ...this.tally };
      this.#follow(child, [...trail, child.name]);
    });
    parser.on('extra', (line: string) => this.#keep(line));
    parser.on('assert', (result: Result) => {
      this.#count(result, trail, before);
      if (result.closingTestPoint && trail.length === 0) this.#endFile(result, before);
      before = { ...this.tally };
    });
  }

  /** A subtest fails with its assertions; by itself it does when it crashes or takes too long. */
  #count(result: Result, trail: readonly string[], before: Tally): void {
    const place = [...trail, result.name].filter(Boolean).join(' > ');
    if (result.skip || result.todo) this.tally.skipped.push(`${place}: ${reason(result)}`);
    else if (!result.closingTestPoint && result.ok) this.tally.passed += 1;
    else if (!result.ok && this.tally.failed === before.failed) this.#fail(place, result.diag);
  }

  #keep(line: string): void {
    this.#printed.push(line.trim());
    if (this.#printed.length > toldLinesMax) this.#printed.shift();
  }

  #fail(place: string, diagnostics?: unknown): void {
    this.tally.failed += 1;
    this.#print(`not ok: ${place}`);
    for (const line of detailLines(diagnostics)) this.#print(`    ${line}`);
  }

  #endFile({ name, ok, skip, time }: Result, before: Tally): void {
    const passed = this.tally.passed - before.passed;
    const failed = this.tally.failed - before.failed;
    if (!ok) for (const line of this.#printed) this.#print(`  | ${line}`);
    this.#printed = [];
    const seconds = ((time ?? 0) / 1000).toFixed(1);
    const counts = failed > 0 ? `${passed} passed, ${failed} FAILED` : `${passed} passed`;
    this.#print(`${name}: ${skip ? 'skipped' : counts} (${seconds} s)`);
  }
}

function reason({ skip, todo }: Result): string {
  if (todo) return typeof todo === 'string' ? `to do: ${todo}` : 'to do';
  return typeof skip === 'string' && skip ? skip : 'no reason given';
}

/** The diagnostics of a failure as `key: value`, long texts in lines of their own. */
function detailLines(diagnostics: unknown): string[] {
  if (typeof diagnostics !== 'object' || diagnostics === null) return [];
  return Object.entries(diagnostics).flatMap(([key, value]) => {
    const text = typeof value === 'string' ? value.trimEnd() : JSON.stringify(value);
    if (!text.includes('\n')) return [`${key}: ${text}`];
    return [`${key}:`, ...text.split('\n').map((line) => `  ${line}`)];
  });
}
