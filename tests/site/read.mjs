// Uses the pages of a built site as a reader does, and prints what came of it as JSON.
//   node read.mjs SITE CHROMIUM NODE_MODULES
import { createRequire } from "node:module";
import { join, resolve } from "node:path";
import { pathToFileURL } from "node:url";

const [site, chromium, modules] = process.argv.slice(2);
const playwright = createRequire(resolve(modules, "here.js"))("playwright-core");
const FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-component-update", "--disable-sync"];
const browser = await playwright.chromium.launch({ executablePath: chromium, args: FLAGS });
const page = await browser.newPage({ viewport: { width: 390, height: 844 } });
const open = (name) => page.goto(pathToFileURL(join(site, "index.html")).href.replace("index.html", name), { waitUntil: "load" });
const said = {};

// findings: chosen by verdict, searched, and reached by their name
await open("index.html");
const rows = () => page.locator("table.lr-cards tbody tr[id]").count();
said.findings = await rows();
said.byVerdict = {};
for (const verdict of ["supported", "not supported", "inconclusive", "trivial", "not tested"]) {
  await page.selectOption('select[data-column="0"]', verdict);
  said.byVerdict[verdict] = await rows();
}
await page.selectOption('select[data-column="0"]', "");
said.byWork = [];
for (const work of await page.locator('select[data-column="1"] option').allInnerTexts()) {
  await page.selectOption('select[data-column="1"]', { label: work });
  said.byWork.push(await rows());
}
await page.selectOption('select[data-column="1"]', "");
const last = await page.locator("table.lr-cards tbody tr[id]").last().getAttribute("id");
await page.fill(".dt-search input", last);
said.searched = await rows();
await open(`index.html#${last}`);
await page.waitForTimeout(800);
said.reached = await page.evaluate((id) => {
  const row = document.getElementById(id);
  const box = row.getBoundingClientRect();
  return row.querySelector("details").open && box.top >= -1 && box.top < innerHeight;
}, last);
said.evidence = [];
for (const query of ["", `?q=${last}`]) {
  await open(`evidence.html${query}`);
  said.evidence.push(await page.locator("table.lr-table tbody tr").count());
}

// a study: code unfolded, a figure enlarged, a long table sorted, faces compared
await open("notebooks/01_degradation_settings.html");
const folded = () => page.evaluate(() => [...document.querySelectorAll("details.hide")].map((cell) => cell.open));
said.folded = (await folded()).some(Boolean);
await page.click(".lr-all-code");
said.unfolded = (await folded()).every(Boolean);
await page.click(".lr-all-code");
const figure = page.locator(".lr-enlarge").first();
await figure.scrollIntoViewIfNeeded();
await figure.click();
said.enlarged = await page.evaluate(() => document.querySelector("dialog").open && document.querySelector("dialog img").naturalWidth);
await page.keyboard.press("Escape");
said.closed = await page.evaluate(() => !document.querySelector("dialog").open);
const table = page.locator("div.cell_output table.dataTable").first();
const first = () => table.locator("tbody tr").first().innerText();
const before = await first();
await table.locator("thead th").nth(1).click();
await table.locator("thead th").nth(1).click();
said.sorted = before !== await first();
await page.locator("#lr-compared").scrollIntoViewIfNeeded();
await page.selectOption("#lr-compared .lr-choice select >> nth=0", "8x");
await page.locator('#lr-compared .lr-controls input[type="range"]').fill("3");
await page.locator("#lr-compared .lr-cut").fill("20");
said.compared = await page.evaluate(() => {
  const windows = [...document.querySelectorAll("#lr-compared .lr-window img")];
  const moved = new Set(windows.map((image) => getComputedStyle(image).transform.split(",")[0]));
  return { pictures: windows.length, loaded: windows.every((image) => image.naturalWidth > 0), scales: [...moved], files: windows.map((image) => image.src.split("/").pop()) };
});
// from the first page to the row of a finding in its study, however many pictures lie above it
const named = await page.evaluate(() => document.querySelector('td a[id][href^="../index.html#"]')?.id);
if (named) {
  await open("index.html");
  await open(`notebooks/01_degradation_settings.html#${named}`);
  await page.waitForTimeout(1500);
  const top = await page.evaluate((id) => document.getElementById(id).getBoundingClientRect().top, named);
  said.deep = top >= 0 && top < 300;
}
await browser.close();
console.log(JSON.stringify(said));
