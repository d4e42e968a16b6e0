/** Model files: downloaded once, piece by piece, checked, and kept for the next visit and for when there is no net. */

import { Failure } from "../core/failure.ts";
import type { FileEntry } from "./contents.ts";

const CACHE = "edgevision-models";
const PIECE = 1 << 20; // bytes that are kept together: what a lost connection costs at most
const PATIENCE = 5; // attempts in a row that bring nothing
const PAUSE = 400; // milliseconds after the first of them, then twice as long each time
const PATIENCE_WITHOUT_DATA = 20_000; // milliseconds

export type Progress = (done: number, total: number) => void;

/**
 * The whole file.
 *
 * A download that breaks off goes on where it was, also on the next visit; only a file that has the promised
 * checksum is given. Two tabs that want the same file do not both load it.
 *
 * @param base address of the folder with models.json.
 */
export async function download(file: FileEntry, base: string, progress: Progress): Promise<Uint8Array<ArrayBuffer>> {
  const get = async () => {
    const kept = await open();
    const url = new URL(file.url, base).href;
    for (const attempt of [1, 2]) {
      const bytes = new Uint8Array(file.bytes);
      const fromCache = await restore(kept, url, file, bytes);
      progress(fromCache, file.bytes);
      if (fromCache < file.bytes) await receive(kept, url, file, bytes, fromCache, progress);
      if (await isPromised(bytes, file.sha256)) return bytes;
      await forget(kept, (key) => key.startsWith(`${url}?`));
      if (fromCache === 0 || attempt === 2) break; // what was kept may have been the damaged part: once more
    }
    throw new Failure(`${file.url} is damaged, or was changed on the server: reload the page, or build the app again.`);
  };
  return navigator.locks ? navigator.locks.request(`edgevision ${file.sha256}`, get) : get();
}

/** Let go of what no model of today needs. */
export async function tidy(files: readonly FileEntry[], base: string): Promise<void> {
  const wanted = files.map((file) => prefix(new URL(file.url, base).href, file));
  await forget(await open(), (key) => key.startsWith(base) && !wanted.some((start) => key.startsWith(start)));
}

/** Null where the browser keeps nothing for pages without HTTPS. */
async function open(): Promise<Cache | null> {
  return "caches" in self ? caches.open(CACHE).catch(() => null) : null;
}

const prefix = (url: string, file: FileEntry) => `${url}?sha256=${file.sha256}&piece=`;

/** Puts the pieces that are kept into `bytes`; gives how many bytes there are from the beginning. */
async function restore(kept: Cache | null, url: string, file: FileEntry, bytes: Uint8Array): Promise<number> {
  let done = 0;
  for (let piece = 0; kept && done < file.bytes; piece++) {
    const found = await kept.match(prefix(url, file) + piece);
    const content = found && new Uint8Array(await found.arrayBuffer());
    if (!content || content.length !== Math.min(PIECE, file.bytes - done)) break;
    bytes.set(content, done);
    done += content.length;
  }
  return done;
}

async function receive(
  kept: Cache | null, url: string, file: FileEntry, bytes: Uint8Array, done: number, progress: Progress,
): Promise<void> {
  let stored = Math.floor(done / PIECE);
  const store = async () => {
    while (kept && (done >= (stored + 1) * PIECE || (done === file.bytes && stored * PIECE < done))) {
      const content = bytes.slice(stored * PIECE, (stored + 1) * PIECE);
      try {
        await kept.put(prefix(url, file) + stored, new Response(content));
      } catch {
        kept = null; // the disk is full: it works without
      }
      stored++;
    }
  };
  let idle = 0;
  while (done < file.bytes) {
    const before = done;
    try {
      for await (const { part, start } of received(url, done)) {
        if (start + part.length > file.bytes) throw new Failure(`${file.url} is longer than promised: build the app again.`);
        bytes.set(part, start);
        done = start + part.length;
        progress(done, file.bytes);
        await store();
      }
    } catch (error) {
      if (error instanceof Failure) throw error;
    }
    idle = done > before ? 0 : idle + 1;
    if (idle === PATIENCE) {
      const [had, all] = [done, file.bytes].map((count) => (count / 1e6).toFixed(1));
      throw new Failure(`The connection is lost, ${had} of ${all} MB are here. Try again: it goes on from there.`);
    }
    if (idle > 0) await new Promise((go) => setTimeout(go, PAUSE * 2 ** (idle - 1)));
  }
  await store();
}

/** Parts of a file with the place that each begins at. */
async function* received(url: string, from: number): AsyncGenerator<{ part: Uint8Array; start: number }> {
  const stop = new AbortController();
  let watch = setTimeout(() => stop.abort(), PATIENCE_WITHOUT_DATA);
  try {
    const headers: HeadersInit = from > 0 ? { Range: `bytes=${from}-` } : {};
    const answer = await fetch(url, { headers, signal: stop.signal, cache: "no-store" });
    if (answer.status === 404) throw new Failure(`${new URL(url).pathname} is not on the server: build the app again.`);
    if (!answer.ok || !answer.body) throw new Error(`status ${answer.status}`);
    let start = answer.status === 206 ? from : 0; // some servers know no ranges
    const reader = answer.body.getReader();
    for (;;) {
      const { value, done } = await reader.read();
      if (done) return;
      clearTimeout(watch);
      watch = setTimeout(() => stop.abort(), PATIENCE_WITHOUT_DATA);
      yield { part: value, start };
      start += value.length;
    }
  } finally {
    clearTimeout(watch);
    stop.abort();
  }
}

/** Whether the bytes have the checksum; browsers compute none for pages without HTTPS, where length must do. */
async function isPromised(bytes: Uint8Array<ArrayBuffer>, sha256: string): Promise<boolean> {
  if (!globalThis.crypto?.subtle) return true;
  const digest = new Uint8Array(await crypto.subtle.digest("SHA-256", bytes));
  return Array.from(digest, (byte) => byte.toString(16).padStart(2, "0")).join("") === sha256;
}

async function forget(kept: Cache | null, which: (key: string) => boolean): Promise<void> {
  for (const { url } of (await kept?.keys()) ?? []) if (which(url)) await kept!.delete(url);
}
