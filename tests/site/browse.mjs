// Opens every page of a built site from its files in Chromium, wide and light, then narrow and dark, and prints what it saw as JSON.
//   node browse.mjs SITE CHROMIUM NODE_MODULES [SHOTS]     SHOTS: a folder for screenshots
import { readFileSync, readdirSync, statSync } from "node:fs";
import { createRequire } from "node:module";
import { join, resolve } from "node:path";
import { fileURLToPath, pathToFileURL } from "node:url";

const [site, chromium, modules, shots] = process.argv.slice(2);
const require = createRequire(resolve(modules, "here.js"));
const playwright = require("playwright-core");
const axe = readFileSync(require.resolve("axe-core/axe.min.js"), "utf8");
const FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-component-update", "--disable-sync"];
const GRAVE = ["serious", "critical"];

const pages = readdirSync(site, { recursive: true }).filter((name) => name.endsWith(".html") && !name.startsWith("_static")).sort();
const browser = await playwright.chromium.launch({ executablePath: chromium, args: FLAGS });
const seen = [];
for (const [width, height, colorScheme] of [[1280, 900, "light"], [390, 844, "dark"]]) {
  const context = await browser.newContext({ viewport: { width, height }, colorScheme });
  for (const name of pages) {
    const page = await context.newPage();
    const one = { page: name, width, errors: [], outside: [], bytes: 0 };
    page.on("console", (message) => { if (message.type() === "error") one.errors.push(message.text()); });
    page.on("pageerror", (error) => one.errors.push(String(error)));
    page.on("requestfailed", (request) => one.errors.push(`not loaded: ${request.url()}`));
    page.on("request", (request) => {
      const url = request.url();
      if (url.startsWith("file:")) one.bytes += statSync(fileURLToPath(url.split(/[?#]/)[0])).size;
      else if (!url.startsWith("data:") && !url.startsWith("blob:")) one.outside.push(url);
    });
    await page.goto(pathToFileURL(join(site, name)).href, { waitUntil: "load" });
    await page.waitForTimeout(300);
    if (shots) await page.screenshot({ path: join(shots, `${name.replaceAll("/", "_")}-${width}.png`) });
    one.view = one.bytes;
    one.wide = await page.evaluate(() => document.documentElement.scrollWidth - document.documentElement.clientWidth);
    await page.evaluate(axe);
    const found = await page.evaluate(() => window.axe.run(document, { resultTypes: ["violations"], preload: false }));
    one.axe = found.violations.filter((v) => GRAVE.includes(v.impact))
      .map((v) => ({ id: v.id, impact: v.impact, nodes: v.nodes.length, first: v.nodes[0].html.slice(0, 200), why: v.nodes[0].failureSummary }));
    seen.push(one);
    await page.close();
  }
  await context.close();
}
const page = await browser.newPage();
await page.goto(`${pathToFileURL(join(site, "search.html")).href}?q=bicubic`);
await page.waitForSelector("#search-results ul.search li");
const found = await page.evaluate(() => document.querySelectorAll("#search-results ul.search li").length);
await browser.close();
console.log(JSON.stringify({ seen, found }));
