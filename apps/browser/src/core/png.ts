import { Failure } from "./failure.ts";
import { Picture } from "./picture.ts";

const SIGNATURE = [0x89, 0x50, 0x4e, 0x47, 0x0d, 0x0a, 0x1a, 0x0a];
const CHANNELS: Record<number, number> = { 0: 1, 2: 3, 3: 1, 4: 2, 6: 4 }; // by colour type
const damaged = (why: string) => new Failure(`The picture is damaged: ${why}.`);

/** Pixels that a file claims, before anything is decoded; null where the format is another than PNG and JPEG. */
export function claimedSize(bytes: Uint8Array): { width: number; height: number } | null {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  if (isPng(bytes)) return bytes.length < 24 ? null : { width: view.getUint32(16), height: view.getUint32(20) };
  if (bytes[0] !== 0xff || bytes[1] !== 0xd8) return null;
  for (let place = 2; place + 9 < bytes.length && bytes[place] === 0xff;) {
    const marker = bytes[place + 1]!;
    const isFrame = marker >= 0xc0 && marker <= 0xcf && ![0xc4, 0xc8, 0xcc].includes(marker);
    if (isFrame) return { width: view.getUint16(place + 7), height: view.getUint16(place + 5) };
    place += 2 + view.getUint16(place + 2);
  }
  return null;
}

const isPng = (bytes: Uint8Array) => SIGNATURE.every((value, place) => bytes[place] === value);

/**
 * The pixels of a PNG file exactly as they are stored, in one, three or four channels of 8 bits; a canvas multiplies
 * by alpha, converts colours, and in some browsers adds noise. Null for what is left to the browser: another format,
 * and an interlaced file.
 */
export async function decodePng(bytes: Uint8Array): Promise<Picture | null> {
  if (!isPng(bytes)) return null;
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  let head: DataView | undefined;
  let palette = new Uint8Array();
  let clear: Uint8Array | null = null;
  let turn = 1;
  const packed: Uint8Array[] = [];
  for (let place = 8; ;) {
    if (place + 12 > bytes.length) throw damaged("its end is missing");
    const length = view.getUint32(place);
    const kind = String.fromCharCode(...bytes.subarray(place + 4, place + 8));
    const content = bytes.subarray(place + 8, place + 8 + length);
    if (content.length < length) throw damaged("its end is missing");
    if (kind === "IHDR") head = new DataView(bytes.buffer, bytes.byteOffset + place + 8, 13);
    else if (kind === "PLTE") palette = content.slice();
    else if (kind === "tRNS") clear = content;
    else if (kind === "IDAT") packed.push(content);
    else if (kind === "eXIf") turn = orientation(content);
    else if (kind === "IEND") break;
    place += 12 + length;
  }
  if (!head) throw damaged("it has no header");
  const [width, height, depth, colours] = [head.getUint32(0), head.getUint32(4), head.getUint8(8), head.getUint8(9)];
  const channels = CHANNELS[colours];
  const interlaced = head.getUint8(12) !== 0;
  if (interlaced || channels === undefined || (depth === 16 && clear)) return null;
  const line = Math.ceil((width * channels * depth) / 8);
  const rows = unfiltered(await inflated(packed, (line + 1) * height), line, height, Math.max((channels * depth) >> 3, 1));
  const samples = colours === 0 && depth === 16 ? scaled16(rows) : unpacked(rows, width * channels, height, line, depth);
  const most = (1 << depth) - 1;
  if (depth < 8 && colours !== 3) samples.forEach((value, place) => (samples[place] = (value * 255) / most));
  const picture = colours === 3 ? fromPalette(width, height, samples, palette, clear)
    : colours === 4 ? withAlpha(width, height, samples)
      : clear ? keyed(width, height, channels, samples, clear, depth < 8 ? 255 / most : 1)
        : new Picture(width, height, channels, samples);
  return upright(picture, turn);
}

/** EXIF's entry 0x0112: 1 is upright. */
function orientation(exif: Uint8Array): number {
  const view = new DataView(exif.buffer, exif.byteOffset, exif.byteLength);
  const little = exif[0] === 0x49;
  try {
    const first = view.getUint32(4, little);
    for (let entry = 0; entry < view.getUint16(first, little); entry++) {
      const place = first + 2 + entry * 12;
      if (view.getUint16(place, little) === 0x0112) return view.getUint16(place + 8, little);
    }
  } catch {
    // what is cut off says nothing
  }
  return 1;
}

/** Turned and mirrored as EXIF's orientation (2 to 8) wants it. */
function upright(picture: Picture, turn: number): Picture {
  if (turn < 2 || turn > 8) return picture;
  const { width, height, channels, bytes } = picture;
  const [newWidth, newHeight] = turn > 4 ? [height, width] : [width, height];
  const made = new Uint8Array(bytes.length);
  const [fromRight, fromBelow] = [[2, 3, 7, 8].includes(turn), [3, 4, 6, 7].includes(turn)];
  for (let row = 0; row < newHeight; row++) {
    for (let column = 0; column < newWidth; column++) {
      const [across, down] = turn > 4 ? [row, column] : [column, row];
      const x = fromRight ? width - 1 - across : across;
      const y = fromBelow ? height - 1 - down : down;
      const source = (y * width + x) * channels;
      made.set(bytes.subarray(source, source + channels), (row * newWidth + column) * channels);
    }
  }
  return new Picture(newWidth, newHeight, channels, made);
}

async function inflated(parts: Uint8Array[], length: number): Promise<Uint8Array> {
  const stream = new Blob(parts as Uint8Array<ArrayBuffer>[]).stream().pipeThrough(new DecompressionStream("deflate"));
  const found = new Uint8Array(length);
  let place = 0;
  try {
    for await (const part of stream as ReadableStream<Uint8Array>) {
      found.set(part.subarray(0, length - place), place);
      place = Math.min(place + part.length, length);
    }
  } catch {
    if (place < length) throw damaged("its data cannot be unpacked");
  }
  if (place < length) throw damaged("rows are missing");
  return found;
}

/** Without the filters of PNG (section 9 of its specification); `step` bytes are a pixel. */
function unfiltered(data: Uint8Array, line: number, height: number, step: number): Uint8Array {
  const rows = new Uint8Array(line * height);
  for (let row = 0; row < height; row++) {
    const filter = data[row * (line + 1)]!;
    if (filter > 4) throw damaged(`row ${row} has filter ${filter}`);
    const source = row * (line + 1) + 1;
    const target = row * line;
    for (let place = 0; place < line; place++) {
      const left = place >= step ? rows[target + place - step]! : 0;
      const up = row > 0 ? rows[target + place - line]! : 0;
      const both = place >= step && row > 0 ? rows[target + place - line - step]! : 0;
      const guess = filter === 0 ? 0 : filter === 1 ? left : filter === 2 ? up
        : filter === 3 ? (left + up) >> 1 : nearest(left, up, both);
      rows[target + place] = data[source + place]! + guess;
    }
  }
  return rows;
}

/** Paeth's predictor. */
function nearest(left: number, up: number, both: number): number {
  const [toLeft, toUp, toBoth] = [Math.abs(up - both), Math.abs(left - both), Math.abs(left + up - 2 * both)];
  return toLeft <= toUp && toLeft <= toBoth ? left : toUp <= toBoth ? up : both;
}

/** Bytes of samples of 1 to 8 bits; of 16 bits the higher byte, as Pillow takes it of colours. */
function unpacked(rows: Uint8Array, count: number, height: number, line: number, depth: number): Uint8Array {
  if (depth === 8) return rows;
  const samples = new Uint8Array(count * height);
  for (let place = 0; place < samples.length; place++) {
    const [row, column] = [Math.floor(place / count), place % count];
    if (depth === 16) {
      samples[place] = rows[row * line + column * 2]!;
    } else {
      const bit = column * depth;
      samples[place] = (rows[row * line + (bit >> 3)]! >> (8 - depth - (bit & 7))) & ((1 << depth) - 1);
    }
  }
  return samples;
}

/** Grey of 16 bits to the nearest of 8, halves to the even one. */
function scaled16(rows: Uint8Array): Uint8Array {
  return Uint8Array.from({ length: rows.length / 2 }, (_, place) => {
    const value = (rows[2 * place]! * 256 + rows[2 * place + 1]!) * (255 / 65535);
    const floor = Math.floor(value);
    return value - floor === 0.5 ? floor + (floor % 2) : Math.round(value);
  });
}

function fromPalette(
  width: number, height: number, samples: Uint8Array, palette: Uint8Array, clear: Uint8Array | null,
): Picture {
  const channels = clear ? 4 : 3;
  const made = new Uint8Array(width * height * channels);
  samples.forEach((entry, place) => {
    if (entry * 3 + 3 > palette.length) throw damaged(`its palette has no colour ${entry}`);
    made.set(palette.subarray(entry * 3, entry * 3 + 3), place * channels);
    if (clear) made[place * 4 + 3] = clear[entry] ?? 255;
  });
  return new Picture(width, height, channels, made);
}

/** Grey with alpha in four channels. */
function withAlpha(width: number, height: number, samples: Uint8Array): Picture {
  const made = new Uint8Array(width * height * 4);
  for (let place = 0; place < width * height; place++) {
    made.fill(samples[place * 2]!, place * 4, place * 4 + 3);
    made[place * 4 + 3] = samples[place * 2 + 1]!;
  }
  return new Picture(width, height, 4, made);
}

/** Of which one colour is clear. */
function keyed(
  width: number, height: number, channels: number, samples: Uint8Array, clear: Uint8Array, scale: number,
): Picture {
  const key = Array.from({ length: channels }, (_, channel) => clear[channel * 2 + 1]! * scale);
  const made = new Uint8Array(width * height * 4);
  for (let place = 0; place < width * height; place++) {
    const pixel = samples.subarray(place * channels, (place + 1) * channels);
    for (let channel = 0; channel < 3; channel++) made[place * 4 + channel] = pixel[channels === 1 ? 0 : channel]!;
    made[place * 4 + 3] = key.every((value, channel) => value === pixel[channel]) ? 0 : 255;
  }
  return new Picture(width, height, 4, made);
}
