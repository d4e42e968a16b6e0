import { Failure } from "../core/failure.ts";
import type { Contents, Kind } from "../models/contents.ts";
import type { Answers, FromWorker, Request, ToWorker } from "../models/messages.ts";
import type { Choice } from "../models/runtime.ts";
import { element } from "./elements.ts";

type Part = (text: string, tokensPerSecond: number) => void;

interface Waiting {
  resolve(answer: never): void;
  reject(error: unknown): void;
  part: Part;
}

/** A model in a worker of its own, loaded when it is first needed, and anew after it broke. */
export class Model<K extends Kind> {
  private readonly kind: K;
  private readonly contents: Contents;
  private worker: Worker | null = null;
  private opening: Promise<Answers["open"]> | null = null;
  private facts = "";
  private readonly waiting = new Map<number, Waiting>();
  private count = 0;

  constructor(kind: K, contents: Contents) {
    [this.kind, this.contents] = [kind, contents];
  }

  /** Loads it, if that is not done; shows how far it is. */
  open(): Promise<Answers["open"]> {
    if (this.opening) this.show();
    this.opening ??= this.load();
    return this.opening;
  }

  private show(): void {
    element("status").textContent = this.facts;
    element("status").dataset.ready = this.kind;
  }

  /** @param part is given the text so far. */
  async ask(request: Extract<Request, { ask: K }>, part: Part = () => {}, given: Transferable[] = []): Promise<Answers[K]> {
    this.opening ??= this.load();
    await this.opening;
    return this.send<Answers[K]>(request, part, given);
  }

  /** The text that is being written may end. */
  stop(): void {
    this.worker?.postMessage({ ask: "stop" } satisfies ToWorker);
  }

  private async load(): Promise<Answers["open"]> {
    this.worker = new Worker(new URL("../models/worker.ts", import.meta.url), { type: "module" });
    this.worker.onmessage = ({ data }: MessageEvent<FromWorker>) => this.hear(data);
    this.worker.onerror = () => this.discard(new Failure("The part that computes could not be started, or has stopped. Try again."));
    const asked = new URLSearchParams(location.search);
    const choice = (asked.get("runtime") ?? "auto") as Choice;
    const threads = Number(asked.get("threads")) || null;
    const status = element("status");
    status.textContent = "Loading the model …";
    delete status.dataset.ready;
    try {
      const opened = await this.send<Answers["open"]>({
        ask: "open", kind: this.kind, contents: this.contents, base: document.baseURI, choice, threads,
      });
      const { name, precision } = this.contents[this.kind]!;
      const facts = [name, precision, opened.runtime, `ready in ${opened.seconds.toFixed(1)} s`];
      this.facts = facts.filter(Boolean).join(" · ");
      this.show();
      return opened;
    } catch (error) {
      status.textContent = "";
      this.discard(error);
      throw error;
    } finally {
      element("progress").hidden = true;
    }
  }

  private send<A>(request: Request, part: Part = () => {}, given: Transferable[] = []): Promise<A> {
    const id = this.count++;
    return new Promise<A>((resolve, reject) => {
      this.waiting.set(id, { resolve, reject, part });
      this.worker!.postMessage({ ...request, id } satisfies ToWorker, given);
    });
  }

  private hear(message: FromWorker): void {
    const { resolve, reject, part } = this.waiting.get(message.id) ?? {};
    if (message.kind === "loaded") {
      showProgress(message.done, message.total);
    } else if (message.kind === "text") {
      part?.(message.text, message.tokensPerSecond);
    } else {
      this.waiting.delete(message.id);
      if (message.kind === "answer") return resolve?.(message.answer as never);
      reject?.(new Failure(message.message));
      if (message.fatal) this.discard(new Failure(message.message));
    }
  }

  private discard(error: unknown): void {
    this.worker?.terminate();
    [this.worker, this.opening] = [null, null];
    for (const { reject } of this.waiting.values()) reject(error);
    this.waiting.clear();
  }
}

function showProgress(done: number, total: number): void {
  const bar = element<HTMLProgressElement>("progress");
  bar.hidden = done === total;
  bar.value = done / total;
  const [had, all] = [done, total].map((bytes) => (bytes / 1e6).toFixed(1));
  element("status").textContent = done === total ? "Starting the model …" : `Loading the model: ${had} of ${all} MB`;
}
