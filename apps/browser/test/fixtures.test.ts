/** Everything that is not screen or runtime gives what Python gives: the fixtures of all apps. */

import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { test } from "node:test";

import { draw, search, type Rows, type Sentence } from "../src/core/beam.ts";
import { digit } from "../src/core/digit.ts";
import { Failure } from "../src/core/failure.ts";
import { Picture, type Filter } from "../src/core/picture.ts";
import { decodePng } from "../src/core/png.ts";
import { RandomNumbers } from "../src/core/random.ts";
import { GREEDY, highest, Sampler, softmax, type Sampling } from "../src/core/sampling.ts";
import { Tokenizer } from "../src/core/tokenizer.ts";
import { write } from "../src/core/writing.ts";

const FOLDER = new URL("../../fixtures/", import.meta.url);
const bytes = (name: string) => new Uint8Array(readFileSync(new URL(name, FOLDER)));
const text = (name: string) => readFileSync(new URL(name, FOLDER), "utf8");
const coded = (base64: string) => new Uint8Array(Buffer.from(base64, "base64"));
const fixtures = JSON.parse(text("fixtures.json"));
const raw = (entry: any) => new Picture(entry.width, entry.height, entry.channels, bytes(entry.raw));

function sampling(entry: any): Sampling {
  const { temperature, top_k: topK, top_p: topP, min_p: minP, repetition_penalty: repetitionPenalty, seed } = entry;
  return { temperature, topK, topP, minP, repetitionPenalty, seed };
}

/** Logits of a text: the row (sum of (place + 1) * token) % rows of a table. */
class Table implements Rows {
  private readonly table: Float32Array[];
  private texts: number[][];

  constructor(table: number[][], count = 1) {
    this.table = table.map((row) => Float32Array.from(row));
    this.texts = Array.from({ length: count }, () => []);
  }

  async next(tokens: readonly number[]): Promise<Float32Array[]> {
    return this.texts.map((known, row) => {
      known.push(tokens[row]!);
      return this.table[known.reduce((sum, token, place) => sum + (place + 1) * token, 0) % this.table.length]!;
    });
  }

  reorder(rows: readonly number[]): void {
    this.texts = rows.map((row) => [...this.texts[row]!]);
  }
}

/** The same for one text, of which several tokens come at once. */
const engine = () => {
  const rows = new Table(fixtures.texts.table);
  return {
    next: async (tokens: readonly number[]) => {
      let logits: Float32Array[] = [];
      for (const token of tokens) logits = await rows.next([token]);
      return logits[0]!;
    },
  };
};

function same(found: Sentence[], expected: any[]): void {
  assert.deepEqual(found.map(({ tokens, cut }) => ({ tokens, cut })), expected.map(({ tokens, cut }) => ({ tokens, cut })));
  found.forEach(({ score }, place) => assert.ok(Math.abs(score - expected[place].score) < 1e-9));
}

test("pixels are Pillow's", async () => {
  for (const entry of fixtures.pictures) {
    const picture = raw(entry);
    assert.deepEqual((await decodePng(bytes(entry.png)))!.opaque().bytes, picture.bytes, entry.name);
    for (const { filter, width, height, bytes: expected } of entry.resized) {
      assert.deepEqual(picture.resized(width, height, filter as Filter).bytes, coded(expected), `${entry.name} ${filter}`);
    }
    for (const { side, bytes: expected } of entry.seen) assert.deepEqual(picture.squeezed(side).bytes, coded(expected));
  }
});

test("digits are Python's", () => {
  for (const entry of fixtures.digits) assert.deepEqual(digit(raw(entry))!.bytes, coded(entry.digit), entry.name);
  assert.equal(digit(new Picture(50, 40, 1, new Uint8Array(2000))), null);
});

test("planes of colours", () => {
  const planes = new Picture(2, 1, 3, Uint8Array.of(0, 51, 255, 255, 0, 51)).planes();
  assert.deepEqual(planes, Float32Array.of(0, 1, 0.2, 0, 1, 0.2));
});

test("texts and tokens are Python's", () => {
  for (const fixture of fixtures.tokenizers) {
    const tokenizer = new Tokenizer(text(fixture.file));
    assert.equal(tokenizer.size, fixture.size);
    for (const entry of fixture.texts) {
      assert.deepEqual(tokenizer.encode(entry.text), entry.tokens, entry.text);
      assert.equal(tokenizer.decode(entry.tokens), entry.back);
    }
    for (const entry of fixture.tokens) assert.equal(tokenizer.decode(entry.tokens), entry.text);
    for (const refused of fixture.refused) assert.throws(() => tokenizer.encode(refused), Failure);
  }
  const long = "the".repeat(3000);
  const tokenizer = new Tokenizer(text("bpe-tokenizer.json"));
  assert.equal(tokenizer.decode(tokenizer.encode(long)), long);
});

test("other tokenizers are refused", () => {
  const made = (normalizer: string, kind: string, merges: string) => `
    {"added_tokens": [], "normalizer": ${normalizer}, "pre_tokenizer": {"type": "${kind}"},
     "decoder": {"type": "ByteLevel"}, "model": {"type": "BPE", "vocab": {"a": 0}, "merges": ${merges}}}`;
  new Tokenizer(made("null", "ByteLevel", "[]"));
  const others = [
    made('{"type": "NFC"}', "ByteLevel", "[]"), made("null", "Metaspace", "[]"), made("null", "ByteLevel", '[["a", "b"]]'), "no",
  ];
  for (const other of others) assert.throws(() => new Tokenizer(other), Failure);
});

test("draws are NumPy's", () => {
  for (const { seed, index, draws } of fixtures.draws) {
    const random = new RandomNumbers(seed, index);
    assert.deepEqual(draws.map(() => random.next()), draws);
  }
});

test("sampled tokens are Python's", () => {
  const logits: Float32Array[] = fixtures.sampling.logits.map((row: number[]) => Float32Array.from(row));
  for (const run of fixtures.sampling.runs) {
    const sampler = new Sampler(sampling(run));
    const tokens: number[] = [];
    run.tokens.forEach((_: number, step: number) => tokens.push(sampler.choose(logits[step % logits.length]!, tokens)));
    assert.deepEqual(tokens, run.tokens);
  }
});

test("the highest in order, and probabilities", () => {
  const scores = Float64Array.from({ length: 1000 }, (_, place) => (place * 7919) % 101);
  const sorted = [...scores.keys()].sort((a, b) => scores[b]! - scores[a]! || a - b);
  for (const count of [1, 3, 40, 249, 251, 1000]) assert.deepEqual(highest(scores, count), sorted.slice(0, count));
  const found = softmax(Float32Array.of(1000, 999, -1000));
  assert.ok(Math.abs(found[0]! / found[1]! - Math.E) < 1e-9);
  for (const bad of [Float32Array.of(1, NaN), Float32Array.of(Infinity, 0)]) {
    assert.throws(() => new Sampler(GREEDY).choose(bad, []), Failure);
  }
});

test("sentences are Python's", async () => {
  const { table, start, end } = fixtures.sentences;
  for (const { beams, limit, penalty, distinct, found } of fixtures.sentences.beams) {
    same(await search(new Table(table, beams), start, end, beams, limit, penalty, distinct), found);
  }
  for (const { sampling: how, count, limit, found } of fixtures.sentences.draws) {
    same(await draw(new Table(table, count), start, end, limit, sampling(how), count), found);
  }
});

test("texts are Python's", async () => {
  const tokenizer = new Tokenizer(text(fixtures.texts.tokenizer));
  for (const run of fixtures.texts.runs) {
    let shown = "";
    const model = { ends: [fixtures.texts.end], context: run.context };
    const found = await write(run.prompt, engine(), tokenizer, model, sampling(run.sampling), run.limit, (now) => {
      assert.ok(now.startsWith(shown));
      shown = now;
      return true;
    });
    assert.equal(found.text, run.text);
    assert.equal(found.stop, run.stop);
  }
  const cut = await write("The", engine(), tokenizer, { ends: [], context: 100 }, GREEDY, 256, (now) => now.length < 3);
  assert.equal(cut.text.length, 3);
  for (const [prompt, ends] of [["The cat", [0]], ["", []]] as const) {
    await assert.rejects(write(prompt, engine(), tokenizer, { ends: [...ends], context: 7 }, GREEDY, 9, () => true), Failure);
  }
});

test("every kind of PNG that Pillow reads", async () => {
  for (const entry of fixtures.decoded) {
    const picture = (await decodePng(bytes(entry.file)))!.opaque();
    assert.deepEqual([picture.width, picture.height], [entry.width, entry.height], entry.name);
    assert.deepEqual(picture.bytes, bytes(entry.raw), entry.name);
  }
});

test("a damaged PNG is said, another file is left to the browser", async () => {
  const whole = bytes(fixtures.decoded[0].file);
  for (const length of [20, 60, whole.length - 20]) await assert.rejects(decodePng(whole.subarray(0, length)), Failure);
  assert.equal(await decodePng(new TextEncoder().encode("no picture")), null);
});
