import { createHash } from 'node:crypto';

/** Of the page, in light and in dark, as the reader's system asks for. */
export const pageStyle = `
:root { color-scheme: light dark; --text: #1a202c; --faint: #4a5568; --back: #fff; --line: #cbd5e0;
  --panel: #f7fafc; --link: #2b5797; --s0: #2b6cb0; --s1: #2f7d4f; --s2: #b7521a; --s3: #7a46b5; --s4: #a3296a; }
@media (prefers-color-scheme: dark) {
  :root { --text: #edf2f7; --faint: #b3bfcd; --back: #14181f; --line: #4a5568; --panel: #1d232d;
    --link: #8ab8f5; --s0: #63a4ee; --s1: #5fc48c; --s2: #f0a35e; --s3: #b794f4; --s4: #f28cc0; }
}
* { box-sizing: border-box; }
body { margin: 0 auto; max-width: 62rem; padding: 1rem; background: var(--back); color: var(--text);
  font: 16px/1.5 system-ui, sans-serif; }
a { color: var(--link); }
a:focus-visible, summary:focus-visible, [tabindex]:focus-visible { outline: 3px solid var(--link); outline-offset: 2px; }
.skip { position: absolute; left: -99rem; }
.skip:focus { left: 1rem; background: var(--back); padding: .5rem; }
h1 { font-size: 1.5rem; margin: .5rem 0; }
h2 { font-size: 1.15rem; margin: 0 0 .25rem; }
section { background: var(--panel); border: 1px solid var(--line); border-radius: .4rem; padding: 1rem; margin: 1rem 0; }
p { margin: .25rem 0 .5rem; }
.faint, dt, caption { color: var(--faint); }
nav a, nav strong { margin-right: 1rem; }
dl { display: grid; grid-template-columns: repeat(auto-fit, minmax(9rem, 1fr)); gap: .5rem; margin: .5rem 0; }
dd { margin: 0; font-weight: 600; overflow-wrap: anywhere; }
.wide { overflow-x: auto; }
table { border-collapse: collapse; width: 100%; font-size: .9rem; }
caption { text-align: left; }
th, td { text-align: left; padding: .2rem .6rem .2rem 0; border-bottom: 1px solid var(--line); overflow-wrap: anywhere; }
.number { text-align: right; font-variant-numeric: tabular-nums; }
svg { display: block; width: 100%; height: auto; }
svg text { fill: var(--faint); font-size: 12px; }
.axis { stroke: var(--line); }
.line { fill: none; stroke-width: 2; }
.s0 { fill: var(--s0); } .s1 { fill: var(--s1); } .s2 { fill: var(--s2); } .s3 { fill: var(--s3); } .s4 { fill: var(--s4); }
.l0 { stroke: var(--s0); } .l1 { stroke: var(--s1); stroke-dasharray: 6 3; }
.open { fill: var(--panel); stroke: var(--s2); stroke-width: 2; }
.failed { fill: none; stroke: var(--s4); stroke-width: 2; }
.key { list-style: none; padding: 0; margin: .25rem 0; display: flex; flex-wrap: wrap; gap: 1rem; }
.key svg { display: inline-block; width: 14px; height: 14px; vertical-align: -2px; margin-right: .3rem; }
`;

/** Nothing is loaded from anywhere, nothing runs, and no other page shows it as its own. */
export const contentSecurityPolicy = [
  "default-src 'none'",
  `style-src 'sha256-${createHash('sha256').update(pageStyle).digest('base64')}'`,
  "base-uri 'none'",
  "form-action 'none'",
  "frame-ancestors 'none'",
].join('; ');
