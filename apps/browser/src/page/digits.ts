import type { Contents } from "../models/contents.ts";
import { element, tell, told } from "./elements.ts";
import type { Model } from "./model.ts";

const PEN = 22; // pixels of 280, about as thick as MNIST's
const STEP = 8; // pixels that an arrow key moves the pen
const MOVES: Record<string, [number, number]> = {
  ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1],
};

/** The tab in which a drawn digit is read; the probabilities move while it is drawn. */
export class DigitsTab {
  private readonly model: Model<"digits">;
  private readonly paper = element<HTMLCanvasElement>("paper");
  private readonly context = this.paper.getContext("2d", { willReadFrequently: true })!;
  private readonly bars: { row: HTMLElement; bar: HTMLElement; share: HTMLElement }[];
  private readonly labels: readonly string[];
  private place = { x: this.paper.width / 2, y: this.paper.height / 2 };
  private penIsDown = false;
  private busy = false;
  private changed = false;
  private updates: number[] = [];

  constructor(model: Model<"digits">, contents: NonNullable<Contents["digits"]>) {
    [this.model, this.labels] = [model, contents.labels];
    this.bars = contents.labels.map((label) => {
      const [row, name, bar, share] = ["li", "span", "i", "span"].map((tag) => document.createElement(tag));
      name!.textContent = label;
      row!.append(name!, bar!, share!);
      element("bars").append(row!);
      return { row: row!, bar: bar!, share: share! };
    });
    this.paper.onpointerdown = (event) => {
      this.paper.setPointerCapture(event.pointerId);
      this.line(this.at(event), this.at(event));
    };
    this.paper.onpointermove = (event) => {
      if (!this.paper.hasPointerCapture(event.pointerId)) return;
      for (const each of event.getCoalescedEvents?.() ?? [event]) this.line(this.place, this.at(each));
    };
    this.paper.onkeydown = (event) => this.key(event);
    element("clear").onclick = () => this.clear();
    this.clear();
  }

  private at(event: PointerEvent): { x: number; y: number } {
    const scale = this.paper.width / this.paper.clientWidth;
    const frame = this.paper.getBoundingClientRect();
    return { x: (event.clientX - frame.left) * scale, y: (event.clientY - frame.top) * scale };
  }

  private key(event: KeyboardEvent): void {
    const move = MOVES[event.key];
    if (!move && event.key !== " ") return;
    event.preventDefault();
    const bounded = (value: number) => Math.min(Math.max(value, 0), this.paper.width);
    const next = move ? { x: bounded(this.place.x + move[0] * STEP), y: bounded(this.place.y + move[1] * STEP) } : this.place;
    if (!move) this.penIsDown = !this.penIsDown;
    if (this.penIsDown) this.line(this.place, next);
    this.place = next;
    const where = [next.x, next.y].map((value) => Math.round((value / this.paper.width) * 100));
    element("pen").textContent = `Pen ${this.penIsDown ? "down" : "up"} at ${where[0]} %, ${where[1]} %`;
  }

  private line(from: { x: number; y: number }, to: { x: number; y: number }): void {
    const pen = this.context;
    [pen.strokeStyle, pen.lineWidth, pen.lineCap, pen.lineJoin] = ["#fff", PEN, "round", "round"];
    pen.beginPath();
    pen.moveTo(from.x, from.y);
    pen.lineTo(to.x + 0.1, to.y);
    pen.stroke();
    this.place = to;
    void this.look();
  }

  private clear(): void {
    this.context.fillStyle = "#000";
    this.context.fillRect(0, 0, this.paper.width, this.paper.height);
    this.show(null);
  }

  /** One drawing at a time: what is drawn meanwhile is looked at next. */
  private async look(): Promise<void> {
    this.changed = true;
    if (this.busy) return;
    this.busy = true;
    try {
      tell(null);
      while (this.changed) {
        this.changed = false;
        const side = this.paper.width;
        const { data } = this.context.getImageData(0, 0, side, side);
        const grey = Uint8Array.from({ length: side * side }, (_, place) => data[place * 4]!);
        const found = await this.model.ask({ ask: "digits", grey, side }, undefined, [grey.buffer]);
        this.show(found?.probabilities ?? null);
      }
    } catch (error) {
      tell(told(error));
    } finally {
      this.busy = false;
    }
  }

  private show(probabilities: readonly number[] | null): void {
    const best = probabilities ? probabilities.indexOf(Math.max(...probabilities)) : -1;
    this.bars.forEach(({ row, bar, share }, place) => {
      const probability = probabilities?.[place] ?? 0;
      bar.style.transform = `scaleX(${probability})`;
      share.textContent = probabilities ? `${(probability * 100).toFixed(1)} %` : "";
      row.classList.toggle("best", place === best);
    });
    element("found").textContent = best < 0 ? "" : this.labels[best]!;
    const now = performance.now();
    this.updates = probabilities ? [...this.updates.filter((time) => now - time < 1000), now] : [];
    element("digits-facts").textContent = this.updates.length > 1 ? `${this.updates.length} updates in the last second` : "";
  }
}
