/** Loads one model and computes with it, so that the page never waits. */

import { draw, search } from "../core/beam.ts";
import { digit } from "../core/digit.ts";
import { Failure } from "../core/failure.ts";
import { Picture } from "../core/picture.ts";
import { GREEDY } from "../core/sampling.ts";
import { Tokenizer } from "../core/tokenizer.ts";
import { write } from "../core/writing.ts";
import type { Contents, FileEntry } from "./contents.ts";
import { download } from "./download.ts";
import type { Answers, FromWorker, Request, ToWorker } from "./messages.ts";
import { classify, look, SentenceRows, TextEngine } from "./onnx.ts";
import { fromBitmap, readPicture } from "./pixels.ts";
import { isMemory, openRuntime, openSession, type Runtime } from "./runtime.ts";

type Part = (message: { kind: "loaded"; done: number; total: number } | { kind: "text"; text: string; tokensPerSecond: number }) => void;
type Opening = Extract<Request, { ask: "open" }>;
const THREADS_MAX = 4;
const SHOWN_EACH = 30; // milliseconds between two messages about the same text

interface Model {
  digits?(request: Extract<Request, { ask: "digits" }>): Promise<Answers["digits"]>;
  caption?(request: Extract<Request, { ask: "caption" }>, part: Part): Promise<Answers["caption"]>;
  write?(request: Extract<Request, { ask: "write" }>, part: Part): Promise<Answers["write"]>;
}

let model: Model = {};
let stopped = false;
const say = (message: FromWorker) => self.postMessage(message);
const breathe = () => new Promise<void>((go) => {
  const { port1, port2 } = new MessageChannel(); // a timer would wait for 4 ms
  port1.onmessage = () => {
    port1.close();
    go();
  };
  port2.postMessage(null);
});

let done = Promise.resolve();

/** One request after the other: a session on a GPU does not bear two at once. */
self.onmessage = ({ data }: MessageEvent<ToWorker>) => {
  if (data.ask === "stop") stopped = true;
  else done = done.then(() => work(data));
};

async function work(request: Request & { id: number }): Promise<void> {
  stopped = false;
  const { id } = request;
  try {
    say({ id, kind: "answer", answer: await answered(request, (part) => say({ id, ...part })) });
  } catch (error) {
    const memory = isMemory(error);
    const message = error instanceof Failure ? error.message
      : memory ? "There is not enough memory for this: close other tabs, or take a smaller model or picture."
        : `It did not work: ${String(error).slice(0, 200)}`;
    say({ id, kind: "failed", message, fatal: !(error instanceof Failure) });
  }
}

async function answered(request: Request, part: Part): Promise<Answers[keyof Answers]> {
  if (request.ask === "open") {
    const began = performance.now();
    const runtime = await opened(request, part);
    return { runtime, seconds: (performance.now() - began) / 1000 };
  }
  const able = { digits: model.digits, caption: model.caption, write: model.write }[request.ask];
  if (!able) throw new Failure("The model is not loaded.");
  return able(request as never, part);
}

/** Loads what `kind` needs; gives the name of the runtime. */
async function opened({ kind, contents, base, choice, threads }: Opening, part: Part): Promise<string> {
  const entry = contents[kind];
  if (!entry) throw new Failure("There is no such model in this app.");
  const files = entry.files as Record<string, FileEntry>;
  const total = Object.values(files).reduce((sum, { bytes }) => sum + bytes, 0);
  const most = kind === "digits" ? 1 : (threads ?? Math.min(navigator.hardwareConcurrency || 1, THREADS_MAX));
  const starting = openRuntime(base, choice, total, entry.precision, most);
  starting.catch(() => {}); // is told after the download
  const done: Record<string, number> = {};
  const loaded = Object.entries(files).map(async ([role, file]) => {
    const bytes = await download(file, new URL("models/", base).href, (count) => {
      done[role] = count;
      part({ kind: "loaded", done: Object.values(done).reduce((a, b) => a + b, 0), total });
    });
    return [role, bytes] as const;
  });
  const content = Object.fromEntries(await Promise.all(loaded));
  const runtime = await starting;
  model = await ready(runtime, contents, kind, content);
  return runtime.name;
}

async function ready(
  runtime: Runtime, contents: Contents, kind: keyof Contents, content: Record<string, Uint8Array>,
): Promise<Model> {
  const session = (role: string) => openSession(
    runtime, content[role]!, `The file “${role}” of the model`, kind === "write",
  );
  const text = () => new Tokenizer(new TextDecoder().decode(content["tokenizer"]));
  if (kind === "digits") {
    const classifier = await session("model");
    return { digits: async ({ grey, side }) => {
      const seen = digit(new Picture(side, side, 1, grey), contents.digits!.side);
      return seen && { probabilities: await classify(runtime.ort, classifier, seen) };
    } };
  }
  if (kind === "caption") {
    const [encoder, decoder, tokenizer] = [await session("encoder"), await session("decoder"), text()];
    const { start, end, limit, side } = contents.caption!;
    return { caption: async ({ picture, name, beams }, part) => {
      const began = performance.now();
      const whole = picture instanceof Blob ? await readPicture(picture, name) : fromBitmap(picture);
      const seen = await look(runtime.ort, encoder, whole.squeezed(side));
      const looked = performance.now();
      const rows = new SentenceRows(runtime.ort, decoder, seen, beams);
      let shown = looked;
      const [best] = beams > 1 ? await search(rows, start, end, beams, limit)
        : await draw(rows, start, end, limit, GREEDY, 1, (tokens) => {
          if (performance.now() - shown < SHOWN_EACH) return;
          shown = performance.now();
          part({ kind: "text", text: tokenizer.decode(tokens).trim(), tokensPerSecond: 0 });
        });
      const milliseconds = { picture: looked - began, words: performance.now() - looked };
      return { text: tokenizer.decode(best!.tokens).trim(), cut: best!.cut, milliseconds };
    } };
  }
  const [writer, tokenizer] = [await session("model"), text()];
  return { write: async ({ prompt, sampling, limit }, part) => {
    const engine = new TextEngine(runtime.ort, writer);
    let [first, shown, speed] = [0, 0, 0];
    try {
      const found = await write(prompt, engine, tokenizer, contents.write!, sampling, limit, async (now, count) => {
        const time = performance.now();
        if (count === 1) first = time;
        else speed = ((count - 1) * 1000) / (time - first);
        if (time - shown > SHOWN_EACH) {
          part({ kind: "text", text: now, tokensPerSecond: speed });
          shown = time;
        }
        await breathe(); // so that a stop is heard
        return !stopped;
      });
      return { text: found.text, stop: found.stop, tokens: found.tokens.length, tokensPerSecond: speed };
    } finally {
      engine.close();
    }
  } };
}
