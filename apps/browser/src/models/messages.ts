/** What the page and a worker say to each other; there is one worker for each kind of model. */

import type { Sampling } from "../core/sampling.ts";
import type { Stop } from "../core/writing.ts";
import type { Contents, Kind } from "./contents.ts";
import type { Choice } from "./runtime.ts";

export interface Answers {
  open: { runtime: string; seconds: number };
  digits: { probabilities: number[] } | null;
  caption: { text: string; cut: boolean; milliseconds: { picture: number; words: number } };
  write: { text: string; stop: Stop; tokens: number; tokensPerSecond: number };
}

export type Request =
  | { ask: "open"; kind: Kind; contents: Contents; base: string; choice: Choice; threads: number | null }
  | { ask: "digits"; grey: Uint8Array; side: number }
  | { ask: "caption"; picture: Blob | ImageBitmap; name: string; beams: number }
  | { ask: "write"; prompt: string; sampling: Sampling; limit: number };

/** To the worker: a request with a number, or that the text may end now. */
export type ToWorker = (Request & { id: number }) | { ask: "stop" };

/** From the worker: a part of what is coming, the answer, or why there is none. */
export type FromWorker =
  | { id: number; kind: "loaded"; done: number; total: number }
  | { id: number; kind: "text"; text: string; tokensPerSecond: number }
  | { id: number; kind: "answer"; answer: Answers[keyof Answers] }
  | { id: number; kind: "failed"; message: string; fatal: boolean };
