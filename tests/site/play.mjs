// Restores a rendered face at every setting on the built page, and prints what the browser computed as JSON.
//   node play.mjs SITE CHROMIUM NODE_MODULES [SHOT]     SHOT: a file for a screenshot of the first result
import { readFileSync } from "node:fs";
import { createRequire } from "node:module";
import { join, resolve } from "node:path";
import { pathToFileURL } from "node:url";

const [site, chromium, modules, shot] = process.argv.slice(2);
const require = createRequire(resolve(modules, "here.js"));
const playwright = require("playwright-core");
const FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-component-update", "--disable-sync"];
const browser = await playwright.chromium.launch({ executablePath: chromium, args: FLAGS });
const page = await browser.newPage({ viewport: { width: 1280, height: 900 } });
const outside = [];
const errors = [];
page.on("request", (request) => { if (!/^(file|data|blob):/.test(request.url())) outside.push(request.url()); });
page.on("console", (message) => { if (message.type() === "error") errors.push(message.text()); });
page.on("pageerror", (error) => errors.push(String(error)));
await page.goto(pathToFileURL(join(site, "play.html")).href);

const settings = await page.evaluate(() => Object.keys(window.lrData.settings));
const found = {};
for (const setting of settings) {
  await page.selectOption("#lr-setting", setting);
  await page.click("#lr-go");
  await page.waitForFunction(() => !document.getElementById("lr-go").disabled, null, { timeout: 120000 });
  // once more: sessions are there, and times are those of the networks alone
  await page.click("#lr-go");
  await page.waitForFunction(() => !document.getElementById("lr-go").disabled, null, { timeout: 120000 });
  found[setting] = await page.evaluate(async (name) => {
    const truth = await window.lrPlay.rendered(0);
    const plain = window.lrPlay.degrade(truth, name, false);
    const tiles = [...document.querySelectorAll("#lr-results .lr-tiles li")].map((tile) => [tile.querySelector("b").textContent, tile.querySelector("span").textContent]);
    return { status: document.getElementById("lr-status").textContent, small: Array.from(plain.rgb), tiles };
  }, setting);
  if (shot && setting === "4x") {
    await page.locator("#lr-step-3").scrollIntoViewIfNeeded();
    await page.screenshot({ path: shot, fullPage: true });
  }
}

// a photograph: a picture that the test makes, dropped as a file, and one that is small already
const bytes = await page.evaluate(async () => {
  const canvas = Object.assign(document.createElement("canvas"), { width: 300, height: 200 });
  const context = canvas.getContext("2d");
  context.fillStyle = "#c98";
  context.fillRect(60, 20, 180, 160);
  return [...new Uint8Array(await (await new Promise((done) => { canvas.toBlob(done); })).arrayBuffer())];
});
await page.setInputFiles("#lr-file", { name: "photo.png", mimeType: "image/png", buffer: Buffer.from(bytes) });
await page.waitForSelector("#lr-crop-box:not([hidden])");
await page.selectOption("#lr-setting", "4x");
const photo = {};
for (const native of [false, true]) {
  await page.setChecked("#lr-native", native);
  await page.click("#lr-go");
  await page.waitForFunction(() => !document.getElementById("lr-go").disabled, null, { timeout: 120000 });
  photo[native] = await page.evaluate(() => [...document.querySelectorAll("#lr-results .lr-tiles li")].map((tile) => tile.textContent));
}

// a capture of the poor camera, at another position of every control
await page.click("#lr-camera > summary");
await page.waitForFunction(() => document.querySelectorAll("#lr-shots img").length === 3);
for (const [control, value] of [["exposure", "1"], ["noise", "3"], ["jpeg", "2"]]) await page.fill(`#lr-${control}`, value);
await page.check("#lr-bayer");
await page.selectOption("#lr-height", "16");
const said = await page.evaluate(() => ["exposure", "noise", "jpeg"].map((name) => document.getElementById(`lr-${name}-says`).textContent));
await page.waitForFunction(() => document.querySelector("#lr-shots li:last-child img").naturalWidth === 16);
const capture = await page.evaluate(() => document.querySelector("#lr-shots li:last-child img").src);
await page.click("#lr-take");
await page.waitForFunction(() => !document.getElementById("lr-go").disabled, null, { timeout: 120000 });
const taken = await page.evaluate(() => [...document.querySelectorAll("#lr-results .lr-tiles li")].map((tile) => tile.textContent));
await page.evaluate(readFileSync(require.resolve("axe-core/axe.min.js"), "utf8"));
const axe = await page.evaluate(() => window.axe.run(document, { resultTypes: ["violations"], preload: false }));
const grave = axe.violations.filter((v) => ["serious", "critical"].includes(v.impact)).map((v) => `${v.id}: ${v.nodes[0].html}`);
if (shot) await page.screenshot({ path: shot.replace(".png", "-camera.png"), fullPage: true });

await page.setInputFiles("#lr-file", { name: "notes.txt", mimeType: "text/plain", buffer: Buffer.from("no picture") });
await page.waitForFunction(() => document.getElementById("lr-status").textContent.includes("no picture"));
await browser.close();
console.log(JSON.stringify({ found, photo, said, capture, taken, grave, outside, errors }));
