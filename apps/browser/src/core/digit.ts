import { isMuchHigher, Picture, Weights, type Filter } from "./picture.ts";

/**
 * A drawn digit as MNIST has it, and as `edgevision classify` makes it: white on black, cut out, its longer side
 * scaled to 20 of 28 pixels, its centre of mass in the middle. Null where nothing is drawn.
 *
 * @param picture grey, clean white on black, as a canvas gives it; of 28 x 28 pixels it is taken as it is.
 */
export function digit(picture: Picture, side = 28): Picture | null {
  const { width, height, bytes } = picture;
  const most = bytes.reduce((a, b) => Math.max(a, b), 0);
  if (most < 8) return null;
  if (width === side && height === side) return picture;
  const ink = Float64Array.from(bytes, (value) => (value < 0.08 * most ? 0 : value / most));
  let [top, bottom, left, right] = [height, 0, width, 0];
  ink.forEach((value, place) => {
    if (value <= 0.25) return;
    const [row, column] = [Math.floor(place / width), place % width];
    [top, bottom] = [Math.min(top, row), Math.max(bottom, row)];
    [left, right] = [Math.min(left, column), Math.max(right, column)];
  });
  const [high, wide] = [bottom - top + 1, right - left + 1];
  const cut = Float32Array.from({ length: high * wide }, (_, place) => {
    return ink[(top + Math.floor(place / wide)) * width + left + (place % wide)]!;
  });

  const scale = (20 * side) / 28 / Math.max(high, wide);
  const fitWide = Math.max(1, rounded(wide * scale));
  const fitHigh = Math.max(1, rounded(high * scale));
  const small = scaled(cut, wide, high, fitWide, fitHigh, scale > 1 ? "bicubic" : "box");
  const peak = Math.max(small.reduce((a, b) => Math.max(a, b), 0), 1e-6);
  return placed(Float64Array.from(small, (value) => Math.min(Math.max(value / peak, 0), 1)), fitWide, fitHigh, side);
}

/** In the middle of side x side pixels by its centre of mass. */
function placed(ink: Float64Array, width: number, height: number, side: number): Picture {
  const mass = ink.reduce((a, b) => a + b, 0);
  const y = ink.reduce((sum, value, place) => sum + value * Math.floor(place / width), 0) / mass;
  const x = ink.reduce((sum, value, place) => sum + value * (place % width), 0) / mass;
  const start = (centre: number, length: number) =>
    Math.min(Math.max(rounded(side / 2 - centre), 0), side - length);
  const [top, left] = [start(y, height), start(x, width)];
  const bytes = new Uint8Array(side * side);
  ink.forEach((value, place) => {
    bytes[(top + Math.floor(place / width)) * side + left + (place % width)] = rounded(value * 255);
  });
  return new Picture(side, side, 1, bytes);
}

/** Pillow's resize of numbers that are no bytes. */
function scaled(
  values: Float32Array, width: number, height: number, newWidth: number, newHeight: number, filter: Filter,
): Float32Array {
  const across = (given: Float32Array) => {
    if (newWidth === width) return given;
    const weights = new Weights(width, width, newWidth, filter);
    return Float32Array.from({ length: (given.length / width) * newWidth }, (_, place) => {
      const column = place % newWidth;
      return weights.number(column, given, Math.floor(place / newWidth) * width + weights.first[column]!, 1);
    });
  };
  const down = (given: Float32Array) => {
    if (newHeight === height) return given;
    const weights = new Weights(height, height, newHeight, filter);
    const line = given.length / height;
    return Float32Array.from({ length: newHeight * line }, (_, place) => {
      const row = Math.floor(place / line);
      return weights.number(row, given, weights.first[row]! * line + (place % line), line);
    });
  };
  return isMuchHigher(width, height, newWidth, newHeight) ? across(down(values)) : down(across(values));
}

/** To the nearest whole number, halves to the even one, as Python does. */
function rounded(value: number): number {
  const floor = Math.floor(value);
  if (value - floor !== 0.5) return Math.round(value);
  return floor % 2 === 0 ? floor : floor + 1;
}
