import { writeFileSync } from 'node:fs';
import { request } from 'node:http';
import { join } from 'node:path';
import { text } from 'node:stream/consumers';
import t from 'tap';
import { nodeConfig } from '../../src/config.js';
import type { PopReport } from '../../src/pop/point-of-presence.js';
import { RedisServer } from '../pop/redis-server.js';
import { Chromium } from '../support/chromium.js';
import { startRegistry } from '../support/docker-registry.js';
import { freePort } from '../support/free-port.js';
import { pushToRegistry, testImage } from '../support/images.js';
import { runCommand } from '../support/run-command.js';
import { startNode, type TestNode, thinifyProgram, until } from './test-node.js';

const registry = await startRegistry(t);
const reference = `${registry.host}/busybox:1`;
await pushToRegistry(await testImage('busybox'), reference);
await runCommand(process.execPath, [thinifyProgram, reference]);
const browser = await Chromium.open(t);

interface WatchedNode {
  readonly node: TestNode;
  readonly url: string;
}

async function watchedNode(
  environment: Readonly<Record<string, string>> = {},
): Promise<WatchedNode> {
  const address = `127.0.0.1:${await freePort()}`;
  const node = startNode(t, { THINFS_METRICS: address, THINFS_COMPLETE: 'never', ...environment });
  t.equal((await node.thin(['daemon', 'start'])).code, 0);
  return { node, url: `http://${address}/` };
}

/** Runs in the page: the least contrast of a text to what is behind it (WCAG 2.2, 1.4.3). */
const leastContrast = `(() => {
  const rgb = (text) => text.match(/[\\d.]+/g).slice(0, 3).map(Number);
  const light = (text) => rgb(text).map((of) => of / 255)
    .map((of) => (of <= 0.04045 ? of / 12.92 : ((of + 0.055) / 1.055) ** 2.4))
    .reduce((sum, of, at) => sum + of * [0.2126, 0.7152, 0.0722][at], 0);
  const behind = (element) => {
    const color = getComputedStyle(element).backgroundColor;
    return color !== 'rgba(0, 0, 0, 0)' || !element.parentElement ? color : behind(element.parentElement);
  };
  const texts = document.querySelectorAll('h1, h2, p, a, strong, dt, dd, td, th, caption, summary, li, svg text');
  const ratios = [...texts].map((element) => {
    const style = getComputedStyle(element);
    const ink = element instanceof SVGElement ? style.fill : style.color;
    const [a, b] = [light(ink), light(behind(element))].sort((x, y) => y - x);
    return (a + 0.05) / (b + 0.05);
  });
  return Math.min(...ratios);
})()`;

t.test(
  'a node alone: what was started, in light and dark, for keys and readers of screens',
  async (t) => {
    const { node, url } = await watchedNode();
    await browser.visit(url);
    t.match(await browser.value('document.body.innerText'), /No container was started/);
    const run = ['run', '--rm', reference, 'busybox', 'true'];
    t.equal((await node.thin(run)).code, 0);
    const warm = ['run', '--rm', '--ready', 'line:up', reference, 'sh', '-c', 'echo up; sleep 0.1'];
    t.equal((await node.thin(warm)).code, 0);
    const evil = '<img src=/x onerror=document.title=1>';
    t.not((await node.thin(['run', '--rm', evil])).code, 0);

    browser.requests.length = 0;
    await browser.visit(`${url}?hours=6`);
    t.same(browser.requests, [`${url}?hours=6`], 'nothing else is loaded');
    t.same(browser.complaints, [], 'and nothing was kept from being');
    const said = String(await browser.value('document.querySelector("main").innerText'));
    t.match(said, /Hit ratio\s+1 of 2 starts needed nothing from the origin/);
    t.match(said, /[1-9][\d.]* [kM]B from 127\.0\.0\.1:\d+/, 'bytes by host');
    t.match(said, /2 starts, .* on average; 1 failed/);
    t.match(await browser.value('document.title'), /^thinfs on /);
    t.equal(
      await browser.value('document.querySelectorAll("img, script, link, iframe").length'),
      0,
    );
    t.ok(await browser.value(`document.body.textContent.includes(${JSON.stringify(evil)})`));
    t.equal(
      await browser.value(
        'document.querySelectorAll("svg[aria-labelledby^=deployments] .open").length',
      ),
      1,
    );
    const listed = await browser.value(
      '[...document.querySelectorAll("[aria-label^=\\"The last\\"] tbody tr")].map((row) => row.textContent)',
    );
    t.match(listed, [
      /onerror.*until it failed0 B/,
      /busybox:1.*until it was ready0 B/,
      /busybox:1.*until its command ended[1-9].*B/,
    ]);

    await browser.value(
      'document.body.append(Object.assign(document.createElement("script"), { textContent: "window.ran = 1" }))',
    );
    t.equal(await browser.value('window.ran'), undefined, 'no script runs, wherever it comes from');

    const backgrounds = new Set();
    for (const scheme of ['light', 'dark']) {
      const features = [{ name: 'prefers-color-scheme', value: scheme }];
      await browser.ask('Emulation.setEmulatedMedia', { features });
      backgrounds.add(await browser.value('getComputedStyle(document.body).backgroundColor'));
      const contrast = Number(await browser.value(leastContrast));
      t.ok(contrast >= 4.5, `contrast of text, ${scheme}: ${contrast.toFixed(2)}`);
    }
    t.equal(backgrounds.size, 2);

    await browser.press('Tab');
    t.equal(await browser.value('document.activeElement.className'), 'skip');
    for (let at = 0; at < 30; at++) {
      if ((await browser.value('document.activeElement.localName')) === 'summary') break;
      await browser.press('Tab');
    }
    await browser.press('Enter');
    t.equal(await browser.value('document.querySelectorAll("details[open]").length'), 1);

    const { nodes } = await browser.ask('Accessibility.getFullAXTree');
    const tree = JSON.stringify(nodes);
    for (const name of ['Hit ratio over time', 'Bytes by source over time', 'Time of each start']) {
      t.ok(tree.includes(name), `${name} has a name`);
    }
    for (const role of ['main', 'navigation', 'heading', 'image', 'table', 'columnheader']) {
      t.ok(tree.includes(`"value":"${role}"`), `there is a ${role}`);
    }

    const narrow = { width: 360, height: 800, deviceScaleFactor: 1, mobile: true };
    await browser.ask('Emulation.setDeviceMetricsOverride', narrow);
    const width = 'document.documentElement.scrollWidth';
    t.ok(Number(await browser.value(width)) <= 360, 'nothing is cut off on a small screen');
    await browser.ask('Emulation.clearDeviceMetricsOverride');
  },
);

t.test('in a site, with Redis and without', async (t) => {
  const redis = await RedisServer.start(t);
  const secret = join(startNode(t).folder, 'secret');
  writeFileSync(secret, 'what the nodes know each other by');
  const pop = { THINFS_POP: redis.url, THINFS_POP_SECRET: secret };
  const [first, second] = [await watchedNode(pop), await watchedNode(pop)];
  const report = async (): Promise<PopReport> =>
    JSON.parse((await second.node.thin(['pop', 'status', '--json'])).stdout);
  await until('they see each other', async () => (await report()).members.length === 2);
  for (const { node } of [first, second]) {
    t.equal((await node.thin(['run', '--rm', reference, 'busybox', 'true'])).code, 0);
  }
  await browser.visit(second.url);
  const said = () => browser.value('document.querySelector("main").innerText');
  // Who finds the other slow, as on a busy machine, goes to the origin alone.
  const [started] = (await second.node.status()).images;
  const hits = started?.fetched.bytes === 0 ? 1 : 0;
  t.match(await said(), new RegExp(`${hits} of 1 starts needed nothing from the origin`));
  // Whose shelf has a frame, the other's or its own, depends on which of them is its home.
  t.match(await said(), /[1-9][\d.]* [kM]B from (other nodes|own shelf)/);
  t.match(await said(), /Redis answers\. Shared: /);
  t.equal(await browser.value('document.querySelectorAll("#site ~ .wide tbody tr").length'), 2);
  await redis.kill();
  await until('it is known that Redis is away', async () => !(await report()).agreed);
  await browser.visit(`${second.url}?refresh=1`);
  t.match(await said(), /Redis does not answer/);
  t.equal(await browser.value('document.querySelectorAll("#site ~ .wide tbody tr").length'), 2);

  const { socket } = nodeConfig({ root: second.node.root }, process.env, process.getuid?.() ?? 0);
  const get = (path: string) =>
    new Promise<{ headers: NodeJS.Dict<string | string[]>; body: string }>((resolve, reject) => {
      const asked = request({ socketPath: socket, path }, (response) => {
        text(response).then((body) => resolve({ headers: response.headers, body }), reject);
      });
      asked.on('error', reject).end();
    });
  const { headers, body } = await get('/?hours=24&refresh=1');
  t.match(headers['content-security-policy'], /^default-src 'none'; style-src 'sha256-[^']+'; /);
  t.match(headers, { refresh: '10', 'x-content-type-options': 'nosniff' });
  t.match(body, /^<!doctype html>/, 'on the control socket too');
});
