/**
 * The app in a real browser: node test/chromium.ts SCENARIO ADDRESS JSON
 *
 * Prints what was seen as JSON, with every request beyond the app's own origin and every complaint of the console.
 */

import { chromium, type BrowserContext, type Page } from "playwright-core";

const [scenario, address, json, executablePath] = process.argv.slice(2) as [string, string, string, string];
const given = JSON.parse(json);
const LONG = { timeout: 30_000 };
const foreign: string[] = [];
const complaints: string[] = [];

async function opened(context: BrowserContext, hash = "", query = ""): Promise<Page> {
  const page = await context.newPage();
  page.on("console", (message) => ["error", "warning"].includes(message.type()) && complaints.push(message.text()));
  page.on("pageerror", (error) => complaints.push(error.message));
  await page.goto(`${address}${query}${hash}`);
  return page;
}

const ready = (page: Page, kind: string) => page.waitForSelector(`#status[data-ready=${kind}]`, LONG);
const message = async (page: Page) => (await page.waitForSelector("#message:not([hidden])", LONG)).textContent();

async function caption(page: Page, picture: string, beams = 1): Promise<string | null> {
  await page.evaluate(() => (document.querySelector("#caption-facts")!.textContent = ""));
  await page.selectOption("#beams", String(beams));
  await page.setInputFiles("#file", picture);
  await page.waitForFunction(() => {
    const [facts, said] = ["#caption-facts", "#message"].map((id) => document.querySelector<HTMLElement>(id)!);
    return facts!.textContent!.endsWith("words") || !said!.hidden;
  }, null, LONG);
  return (await page.isVisible("#message")) ? page.textContent("#message") : page.textContent("#sentence");
}

/** Lines through points in shares of the canvas. */
async function drawn(page: Page, points: [number, number][]): Promise<{ found: string | null; facts: string | null }> {
  const { x, y, width, height } = (await page.locator("#paper").boundingBox())!;
  const [first, ...rest] = points.map(([across, down]) => [x + across * width, y + down * height] as const);
  await page.mouse.move(...first!);
  await page.mouse.down();
  for (const point of rest) await page.mouse.move(...point, { steps: 25 });
  await page.mouse.up();
  await page.waitForFunction(() => document.querySelector("#found")!.textContent !== "", null, LONG);
  await page.waitForTimeout(200);
  return { found: await page.textContent("#found"), facts: await page.textContent("#digits-facts") };
}

async function written(page: Page, prompt: string, settings: Record<string, number>): Promise<unknown> {
  await page.fill("#prompt", prompt);
  for (const [name, value] of Object.entries(settings)) await page.fill(`#${name}`, String(value));
  await page.evaluate(() => {
    const seen: string[] = [];
    (globalThis as any).seen = seen;
    const text = document.querySelector("#text")!;
    new MutationObserver(() => seen.push(text.textContent!)).observe(text, { subtree: true, characterData: true, childList: true });
  });
  await page.click("#go");
  await page.waitForFunction(() => /^\d+ tokens($| ·)/.test(document.querySelector("#write-facts")!.textContent!), null, LONG);
  const parts = await page.evaluate(() => (globalThis as any).seen as string[]);
  return { text: (await page.textContent("#text"))!.slice(prompt.length), facts: await page.textContent("#write-facts"), parts };
}

const scenarios: Record<string, (context: BrowserContext) => Promise<unknown>> = {
  /** All three tabs; then without a net. */
  async all(context) {
    const page = await opened(context);
    await ready(page, "caption");
    const isolated = await page.evaluate(() => crossOriginIsolated);
    const captions: Record<string, unknown> = {};
    for (const picture of given.pictures) captions[picture] = await caption(page, picture);
    const beams = await caption(page, given.pictures[0], 4);
    await page.click("#tab-digits");
    await ready(page, "digits");
    const digit = await drawn(page, given.digit);
    await page.click("#tab-write");
    await ready(page, "write");
    const texts = [];
    for (const { prompt, settings } of given.texts) texts.push(await written(page, prompt, settings));
    await page.fill("#prompt", given.strange);
    await page.click("#go");
    const strange = await message(page);
    await page.evaluate(() => navigator.serviceWorker.ready);
    await page.reload(); // now the service worker has the page
    await ready(page, "write");
    await context.setOffline(true);
    await page.goto(`${address}#caption`);
    await page.reload();
    await ready(page, "caption");
    const offline = await caption(page, given.pictures[0]);
    const marks = await page.evaluate(() => performance.getEntriesByType("navigation")[0]!.toJSON().duration);
    return { isolated, captions, beams, digit, texts, strange, offline, marks };
  },

  /** What is wrong with each of these pictures; then a good one. */
  async pictures(context) {
    const page = await opened(context);
    await ready(page, "caption");
    const messages: Record<string, unknown> = {};
    for (const picture of given.bad) {
      await page.setInputFiles("#file", picture);
      messages[picture] = await message(page);
      await page.evaluate(() => (document.querySelector<HTMLElement>("#message")!.hidden = true));
    }
    const dropped = await page.evaluateHandle(() => {
      const data = new DataTransfer();
      data.items.add(new File(["no picture"], "notes.txt", { type: "text/plain" }));
      return data;
    });
    await page.dispatchEvent("#stage", "drop", { dataTransfer: dropped });
    const drop = await message(page);
    await page.click("#camera");
    const camera = await message(page);
    const good: Record<string, unknown> = {};
    for (const picture of given.good) good[picture] = await caption(page, picture);
    return { messages, drop, camera, good, left: await page.isHidden("#message") };
  },

  /** What the page says when it is opened. */
  async message(context) {
    const page = await opened(context, "", given.query);
    return { message: await message(page) };
  },

  /** Several tabs at once. */
  async tabs(context) {
    const pages = await Promise.all(Array.from({ length: given.count }, () => opened(context, "#write")));
    await Promise.all(pages.map((page) => ready(page, "write")));
    return { ready: pages.length };
  },

  /** The camera, which gives a test picture. */
  async camera(context) {
    await context.grantPermissions(["camera"]);
    const page = await opened(context);
    await ready(page, "caption");
    await page.click("#camera");
    await page.waitForFunction(() => document.querySelector("#sentence")!.textContent !== "", null, LONG);
    const live = await page.isVisible("#video");
    await page.click("#camera");
    return { live, pressed: await page.getAttribute("#camera", "aria-pressed"), sentence: await page.textContent("#sentence") };
  },

  /** By WebGPU, in software. */
  async webgpu(context) {
    const page = await opened(context, "", "?runtime=webgpu");
    await ready(page, "caption");
    const runtime = await page.textContent("#status");
    const sentences = [];
    for (const beams of [1, 4]) sentences.push(await caption(page, given.picture, beams));
    await page.click("#tab-write");
    await ready(page, "write");
    return { runtime, sentences, text: await written(page, given.prompt, given.settings) };
  },

  /** For `edgevision bench`: the same picture again and again, a stroke, and a second visit. */
  async speed(context) {
    const page = await opened(context, "", `?threads=${given.threads}`);
    await ready(page, "caption");
    const milliseconds: number[] = [];
    for (let round = 0; round < given.rounds + 5; round++) {
      await caption(page, given.picture);
      const parts = (await page.getAttribute("#caption-facts", "data-milliseconds"))!.split(" ").map(Number);
      milliseconds.push(parts[0]! + parts[1]!);
    }
    const text = await page.textContent("#sentence");
    await page.click("#tab-digits");
    await ready(page, "digits");
    let updates = 0;
    for (let stroke = 0; stroke < 6; stroke++) {
      const { facts } = await drawn(page, given.digit);
      updates = Math.max(updates, Number.parseInt(facts!));
    }
    await page.goto("about:blank");
    const began = Date.now();
    await page.goto(`${address}#caption`);
    await ready(page, "caption");
    const wait = Date.now() - began;
    const sorted = milliseconds.slice(5).sort((a, b) => a - b);
    return { text, milliseconds: sorted[sorted.length >> 1], updates, ready: wait };
  },

  /** What is read in drawings. */
  async drawings(context) {
    const page = await opened(context);
    await ready(page, "digits");
    const found = [];
    for (const points of given.digits) {
      await page.click("#clear");
      found.push(await drawn(page, points));
    }
    return found;
  },

  /** Pictures for docs/: `folder`, `picture`, `digit` and `prompt` are given. */
  async screenshots(context) {
    const page = await opened(context);
    await page.setViewportSize({ width: 760, height: 760 });
    await ready(page, "caption");
    const said = [await caption(page, given.picture)];
    await page.screenshot({ path: `${given.folder}/browser-caption.png` });
    await page.click("#tab-digits");
    await ready(page, "digits");
    said.push((await drawn(page, given.digit)).found);
    await page.screenshot({ path: `${given.folder}/browser-digits.png` });
    await page.emulateMedia({ colorScheme: "dark" });
    await page.setViewportSize({ width: 390, height: 780 });
    await page.click("#tab-write");
    await ready(page, "write");
    const { text } = (await written(page, given.prompt, { limit: 200 })) as { text: string };
    await page.screenshot({ path: `${given.folder}/browser-write.png` });
    return [...said, text];
  },

  /** With the keyboard alone: tabs by arrows, a line with the pen, a text. */
  async keyboard(context) {
    const page = await opened(context, "#digits");
    await ready(page, "digits");
    await page.focus("#paper");
    for (const key of [..."↑↑↑↑↑↑↑↑ ↓↓↓↓↓↓↓↓↓↓↓↓↓↓↓↓"]) {
      await page.keyboard.press({ "↑": "ArrowUp", "↓": "ArrowDown" }[key] ?? "Space");
    }
    await page.waitForFunction(() => document.querySelector("#found")!.textContent !== "", null, LONG);
    const pen = await page.textContent("#pen");
    await page.focus("#tab-digits");
    await page.keyboard.press("ArrowRight");
    await ready(page, "write");
    return { pen, found: await page.textContent("#found"), selected: await page.getAttribute("#tab-write", "aria-selected") };
  },
};

const flags = {
  camera: ["--use-fake-device-for-media-stream", "--use-fake-ui-for-media-stream"],
  webgpu: ["--enable-unsafe-webgpu"],
}[scenario] ?? [];
const browser = await chromium.launch({ executablePath, args: ["--no-sandbox", ...flags] });
try {
  const context = await browser.newContext();
  context.on("request", (request) => {
    if (!request.url().startsWith(address) && !/^(blob|data):/.test(request.url())) foreign.push(request.url());
  });
  const seen = await scenarios[scenario]!(context);
  console.log(JSON.stringify({ seen, foreign, complaints }));
} finally {
  await browser.close();
}
