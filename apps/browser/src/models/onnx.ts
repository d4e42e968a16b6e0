/** The three models of the app over onnxruntime-web, with the inputs that `edgevision export` gives them. */

import type * as Ort from "onnxruntime-web";

import type { Rows } from "../core/beam.ts";
import type { Picture } from "../core/picture.ts";
import { softmax } from "../core/sampling.ts";
import type { Engine } from "../core/writing.ts";

type Tensors = Record<string, Ort.Tensor>;
const present = (past: string) => past.replace("past_key_values", "present");
const longs = (ort: typeof Ort, values: readonly number[], dims: readonly number[]) =>
  new ort.Tensor("int64", BigInt64Array.from(values, BigInt), dims);

/** Probabilities of each label; the picture is grey and has the model's size. */
export async function classify(ort: typeof Ort, session: Ort.InferenceSession, picture: Picture): Promise<number[]> {
  const plane = picture.planes();
  const pixels = new Float32Array(3 * plane.length);
  for (const channel of [0, 1, 2]) pixels.set(plane, channel * plane.length);
  const given = new ort.Tensor("float32", pixels, [1, 3, picture.height, picture.width]);
  const { logits } = await session.run({ pixel_values: given }, ["logits"]);
  return softmax(logits!.data as Float32Array);
}

/**
 * What the decoder needs of a picture (3 channels, in the model's size): what the encoder gives, by the names of the
 * decoder's inputs. `edgevision app browser` has the encoder compute all that is the same for every word.
 */
export async function look(ort: typeof Ort, encoder: Ort.InferenceSession, picture: Picture): Promise<Tensors> {
  const given = new ort.Tensor("float32", picture.planes(), [1, 3, picture.height, picture.width]);
  const { last_hidden_state: features, ...seen } = await encoder.run({ pixel_values: given });
  return features ? { encoder_hidden_states: features, ...seen } : seen;
}

/** `count` sentences side by side; keys and values of the words so far go out of one step and into the next. */
export class SentenceRows implements Rows {
  private readonly ort: typeof Ort;
  private readonly decoder: Ort.InferenceSession;
  private readonly seen: Tensors;
  private past: Tensors;

  constructor(ort: typeof Ort, decoder: Ort.InferenceSession, seen: Tensors, count: number) {
    [this.ort, this.decoder] = [ort, decoder];
    const first = Array<number>(count).fill(0);
    this.seen = Object.fromEntries(Object.entries(seen).map(([name, tensor]) => [name, rowsOf(ort, tensor, first)]));
    this.past = emptyPast(ort, decoder, count);
  }

  async next(tokens: readonly number[]): Promise<Float32Array[]> {
    const ids = longs(this.ort, tokens, [tokens.length, 1]);
    const names = Object.keys(this.past);
    const given = { input_ids: ids, ...this.seen, ...this.past };
    const found = await this.decoder.run(given, ["logits", ...names.map(present)]);
    this.past = Object.fromEntries(names.map((name) => [name, found[present(name)]!]));
    const logits = (await found["logits"]!.getData()) as Float32Array;
    const size = logits.length / tokens.length;
    return tokens.map((_, row) => logits.subarray(row * size, (row + 1) * size));
  }

  reorder(rows: readonly number[]): void {
    if (rows.every((row, place) => row === place)) return;
    for (const [name, tensor] of Object.entries(this.past)) this.past[name] = rowsOf(this.ort, tensor, rows);
  }
}

/** A copy with these of the rows. */
function rowsOf(ort: typeof Ort, tensor: Ort.Tensor, rows: readonly number[]): Ort.Tensor {
  const data = tensor.data as Float32Array;
  const size = data.length / tensor.dims[0]!;
  const copy = data.slice(0, 0).constructor as new (length: number) => Float32Array;
  const made = new copy(size * rows.length);
  rows.forEach((row, place) => made.set(data.subarray(row * size, (row + 1) * size), place * size));
  return new ort.Tensor(tensor.type as "float32", made, [rows.length, ...tensor.dims.slice(1)]);
}

/** A language model in the midst of a text. */
export class TextEngine implements Engine {
  private readonly ort: typeof Ort;
  private readonly session: Ort.InferenceSession;
  private past: Tensors;
  private length = 0;

  constructor(ort: typeof Ort, session: Ort.InferenceSession) {
    [this.ort, this.session] = [ort, session];
    this.past = emptyPast(ort, session, 1);
  }

  async next(tokens: readonly number[]): Promise<Float32Array> {
    const total = this.length + tokens.length;
    const every: Record<string, () => Ort.Tensor> = {
      input_ids: () => longs(this.ort, tokens, [1, tokens.length]),
      attention_mask: () => longs(this.ort, Array<number>(total).fill(1), [1, total]),
      position_ids: () => longs(this.ort, tokens.map((_, place) => this.length + place), [1, tokens.length]),
      num_logits_to_keep: () => longs(this.ort, [1], []),
    };
    const wanted = this.session.inputNames.filter((name) => name in every);
    const given = Object.fromEntries(wanted.map((name) => [name, every[name]!()]));
    const names = Object.keys(this.past);
    const found = await this.session.run({ ...given, ...this.past }, ["logits", ...names.map(present)]);
    for (const old of Object.values(this.past)) old.dispose(); // on a GPU they would stay
    this.past = Object.fromEntries(names.map((name) => [name, found[present(name)]!]));
    this.length = total;
    const logits = found["logits"]!;
    const values = Float32Array.from((await logits.getData()) as Float32Array);
    return values.subarray(values.length - logits.dims.at(-1)!);
  }

  /** Gives back what the text took. */
  close(): void {
    for (const tensor of Object.values(this.past)) tensor.dispose();
  }
}

/** Keys and values of no tokens, for each input that wants some. */
function emptyPast(ort: typeof Ort, session: Ort.InferenceSession, rows: number): Tensors {
  const past: Tensors = {};
  for (const input of session.inputMetadata) {
    if (!input.isTensor || !input.name.startsWith("past_key_values.")) continue;
    const [, heads, , width] = input.shape;
    const data = input.type === "float16" ? new Uint16Array() : new Float32Array();
    past[input.name] = new ort.Tensor(input.type as "float32", data as Float32Array, [rows, Number(heads), 0, Number(width)]);
  }
  return past;
}
