/**
 * Keeps the page for when there is no net. Model files are kept by `models/download.ts`, piece by piece.
 *
 * Every answer gets the headers that make a page isolated, which threads need and few static hosts send.
 */

export {};
declare const self: ServiceWorkerGlobalScope;

// Both are put in by vite.config.ts: a hash of the files, and what the page consists of.
const VERSION = "__VERSION__";
const FILES = JSON.parse("__FILES__") as string[];
const SHELL = `edgevision-shell-${VERSION}`;
const RUNTIME = "edgevision-runtime-__RUNTIME__";
const HEADERS = {
  "Cross-Origin-Opener-Policy": "same-origin",
  "Cross-Origin-Embedder-Policy": "require-corp",
  "Cross-Origin-Resource-Policy": "same-origin",
};

self.addEventListener("install", (event) => {
  event.waitUntil(caches.open(SHELL).then((cache) => cache.addAll(FILES)));
});

self.addEventListener("activate", (event) => {
  const old = (name: string) => /^edgevision-(shell|runtime)-/.test(name) && name !== SHELL && name !== RUNTIME;
  event.waitUntil((async () => {
    for (const name of await caches.keys()) if (old(name)) await caches.delete(name);
    await self.clients.claim();
  })());
});

self.addEventListener("fetch", (event) => {
  const { request } = event;
  const scope = self.registration.scope;
  if (request.method !== "GET" || !request.url.startsWith(scope)) return;
  const path = new URL(request.url).pathname.slice(new URL(scope).pathname.length);
  if (path === "models/models.json" || request.mode === "navigate") event.respondWith(newest(request, path));
  else if (!path.startsWith("models/")) event.respondWith(kept(request, path.startsWith("ort/") ? RUNTIME : SHELL));
});

/** From the net, and what was last seen of it where there is none. */
async function newest(request: Request, path: string): Promise<Response> {
  const key = request.mode === "navigate" ? new URL("./", self.registration.scope).href : path;
  try {
    const answer = await fetch(request);
    if (answer.ok) await (await caches.open(SHELL)).put(key, answer.clone());
    return isolated(answer);
  } catch {
    return isolated((await caches.match(key)) ?? Response.error());
  }
}

/** What is kept, else from the net and then kept. */
async function kept(request: Request, cache: string): Promise<Response> {
  const found = await caches.match(request.url, { ignoreVary: true });
  if (found) return isolated(found);
  const answer = await fetch(request);
  if (answer.ok && answer.status === 200) await (await caches.open(cache)).put(request.url, answer.clone());
  return isolated(answer);
}

function isolated(answer: Response): Response {
  if (answer.status === 0) return answer;
  const headers = new Headers(answer.headers);
  for (const [name, value] of Object.entries(HEADERS)) headers.set(name, value);
  return new Response(answer.body, { status: answer.status, statusText: answer.statusText, headers });
}
