/** Pictures of 8 bits and Pillow's resize, to the last bit of version 13; browsers, Node and Pillow all differ. */

export type Filter = "box" | "bilinear" | "bicubic";

const BITS = 22; // behind the point, of a weight

/** Rows of pixels; one channel is grey, three are red, green and blue, four have alpha too. */
export class Picture {
  readonly width: number;
  readonly height: number;
  readonly channels: number;
  readonly bytes: Uint8Array;

  constructor(width: number, height: number, channels: number, bytes: Uint8Array) {
    if (bytes.length !== width * height * channels) throw new RangeError("as many bytes as pixels and channels");
    this.width = width;
    this.height = height;
    this.channels = channels;
    this.bytes = bytes;
  }

  /**
   * Antialiased; rounded to 8 bits after the columns and after the rows.
   *
   * @param gap whole blocks are averaged first, so that this many times the new size is left to be weighed.
   */
  resized(width: number, height: number, filter: Filter, gap?: number): Picture {
    if (width === this.width && height === this.height) return this;
    const block = (old: number, size: number) =>
      gap === undefined ? 1 : Math.max(Math.trunc(old / size / gap), 1);
    const wide = block(this.width, width);
    const high = block(this.height, height);
    const picture = this.averaged(wide, high);
    const columns = new Weights(Math.fround(this.width / wide), picture.width, width, filter);
    const rows = new Weights(Math.fround(this.height / high), picture.height, height, filter);
    const across = (made: Picture) => (width === this.width ? made : made.acrossColumns(columns));
    const down = (made: Picture) => (height === this.height ? made : made.acrossRows(rows));
    return isMuchHigher(picture.width, picture.height, width, height) ? across(down(picture)) : down(across(picture));
  }

  /** The whole picture in a square, as a captioner sees it. */
  squeezed(side: number): Picture {
    return this.resized(side, side, "bicubic", 3);
  }

  /** The bytes as float32 in [0, 1], (channels, height, width). */
  planes(): Float32Array {
    const { bytes, channels } = this;
    const size = this.width * this.height;
    const planes = new Float32Array(bytes.length);
    for (let channel = 0; channel < channels; channel++) {
      for (let place = 0; place < size; place++) {
        planes[channel * size + place] = bytes[place * channels + channel]! / 255;
      }
    }
    return planes;
  }

  /** Red, green and blue on white, by Pillow's `alpha_composite`. */
  opaque(): Picture {
    const { bytes, channels, width, height } = this;
    if (channels === 3) return this;
    const colours = new Uint8Array(width * height * 3);
    for (let place = 0; place < width * height; place++) {
      for (let channel = 0; channel < 3; channel++) {
        const value = bytes[place * channels + (channels < 3 ? 0 : channel)]!;
        colours[place * 3 + channel] = channels === 4 ? onWhite(value, bytes[place * 4 + 3]!) : value;
      }
    }
    return new Picture(width, height, 3, colours);
  }

  /** The mean of each block of wide x high pixels; at the right and below, of what there is. */
  private averaged(wide: number, high: number): Picture {
    if (wide === 1 && high === 1) return this;
    const { bytes, channels, width, height } = this;
    const newWidth = Math.ceil(width / wide);
    const newHeight = Math.ceil(height / high);
    const made = new Uint8Array(newWidth * newHeight * channels);
    for (let row = 0; row < newHeight; row++) {
      const down = Math.min(high, height - row * high);
      for (let column = 0; column < newWidth; column++) {
        const across = Math.min(wide, width - column * wide);
        const share = Math.trunc(Math.fround(2 ** 32) / Math.fround(256 * down * across));
        for (let channel = 0; channel < channels; channel++) {
          let sum = Math.trunc((down * across) / 2);
          for (let y = 0; y < down; y++) {
            let place = ((row * high + y) * width + column * wide) * channels + channel;
            for (let x = 0; x < across; x++, place += channels) sum += bytes[place]!;
          }
          made[(row * newWidth + column) * channels + channel] = Math.floor((sum * share) / 2 ** 24);
        }
      }
    }
    return new Picture(newWidth, newHeight, channels, made);
  }

  private acrossColumns(weights: Weights): Picture {
    const { bytes, channels, width, height } = this;
    const made = new Uint8Array(weights.count * height * channels);
    for (let row = 0, target = 0; row < height; row++) {
      for (let column = 0; column < weights.count; column++) {
        const start = (row * width + weights.first[column]!) * channels;
        for (let channel = 0; channel < channels; channel++) {
          made[target++] = weights.byte(column, bytes, start + channel, channels);
        }
      }
    }
    return new Picture(weights.count, height, channels, made);
  }

  private acrossRows(weights: Weights): Picture {
    const line = this.width * this.channels;
    const made = new Uint8Array(weights.count * line);
    for (let row = 0, target = 0; row < weights.count; row++) {
      const start = weights.first[row]! * line;
      for (let place = 0; place < line; place++) {
        made[target++] = weights.byte(row, this.bytes, start + place, line);
      }
    }
    return new Picture(this.width, weights.count, this.channels, made);
  }
}

/** A value over white, as Pillow's `alpha_composite` has it. */
function onWhite(value: number, alpha: number): number {
  if (alpha === 0) return 255;
  const share = Math.trunc((alpha * 255 * 255 * 128) / (alpha * 255 + 255 * (255 - alpha)));
  const sum = value * share + 255 * (255 * 128 - share) + (0x80 << 7);
  return ((sum >> 8) + sum) >> 8 >> 7;
}

/** Whether Pillow, since version 13, begins with the rows: where more than twice as many rows as columns go. */
export function isMuchHigher(width: number, height: number, newWidth: number, newHeight: number): boolean {
  return height > newHeight && height - newHeight > 2 * (width - newWidth);
}

/** Half the width of each filter, in pixels of the smaller of both pictures. */
const REACH: Record<Filter, number> = { box: 0.5, bilinear: 1, bicubic: 2 };

const WEIGHT: Record<Filter, (distance: number) => number> = {
  box: (distance) => (distance > -0.5 && distance <= 0.5 ? 1 : 0),
  bilinear: (distance) => Math.max(1 - Math.abs(distance), 0),
  bicubic: (distance) => {
    const x = Math.abs(distance);
    const a = -0.5;
    if (x < 1) return ((a + 2) * x - (a + 3)) * x * x + 1;
    return x < 2 ? (((x - 5) * x + 8) * x - 4) * a : 0;
  },
};

/** Pillow's weights: an antialiased filter; for 8 bits in whole numbers. */
export class Weights {
  readonly first: Int32Array;
  readonly count: number;
  private readonly exact: Float64Array[] = [];
  private readonly whole: Int32Array[] = [];

  /** @param extent of the `size` old pixels, the part that counts; the last may count in part. */
  constructor(extent: number, size: number, count: number, filter: Filter) {
    this.count = count;
    this.first = new Int32Array(count);
    const scale = extent / count;
    const stretch = Math.max(scale, 1);
    const reach = REACH[filter] * stretch;
    for (let place = 0; place < count; place++) {
      const centre = (place + 0.5) * scale;
      const first = Math.max(Math.trunc(centre - reach + 0.5), 0);
      const end = Math.min(Math.trunc(centre + reach + 0.5), size);
      const weights = new Float64Array(end - first);
      let sum = 0;
      for (let near = 0; near < weights.length; near++) {
        weights[near] = WEIGHT[filter]((near + first - centre + 0.5) * (1 / stretch));
        sum += weights[near]!;
      }
      if (sum !== 0) weights.forEach((weight, near) => (weights[near] = weight / sum));
      this.first[place] = first;
      this.exact.push(weights);
      this.whole.push(Int32Array.from(weights, (weight) => weight * (1 << BITS) + (weight < 0 ? -0.5 : 0.5)));
    }
  }

  /** Of bytes from `start` on, `step` apart. */
  byte(place: number, bytes: Uint8Array, start: number, step: number): number {
    let total = 1 << (BITS - 1);
    for (const weight of this.whole[place]!) {
      total += bytes[start]! * weight;
      start += step;
    }
    return Math.min(Math.max(total >> BITS, 0), 255);
  }

  /** Of numbers from `start` on, `step` apart. */
  number(place: number, values: Float32Array, start: number, step: number): number {
    let total = 0;
    for (const weight of this.exact[place]!) {
      total += values[start]! * weight;
      start += step;
    }
    return total;
  }
}
