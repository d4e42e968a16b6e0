/** The draws of `numpy.random.default_rng((seed, index))`: PCG64 (O'Neill, 2014) seeded by a `SeedSequence`. */
export class RandomNumbers {
  private readonly increment: bigint;
  private state: bigint;

  constructor(seed: number, index = 0) {
    const words = seedWords([seed, index], 8);
    const wide = (first: number) =>
      [1, 0, 3, 2].reduce((sum, place) => (sum << 32n) | BigInt(words[first + place]!), 0n);
    this.increment = whole((wide(4) << 1n) | 1n);
    this.state = whole(this.increment + wide(0));
    this.step();
  }

  /** A number in [0, 1) with 53 bits. */
  next(): number {
    this.step();
    const mixed = BigInt.asUintN(64, (this.state >> 64n) ^ this.state);
    const turn = this.state >> 122n;
    const bits = BigInt.asUintN(64, (mixed >> turn) | (mixed << (64n - turn)));
    return Number(bits >> 11n) * 2 ** -53;
  }

  private step(): void {
    this.state = whole(this.state * 0x2360ed051fc65da44385df649fccf645n + this.increment);
  }
}

const whole = (value: bigint) => BigInt.asUintN(128, value);

/** NumPy's `SeedSequence`: spreads a few numbers over a pool of 4 words of 32 bits, and gives words of it. */
function seedWords(entropy: readonly number[], count: number): Uint32Array {
  let constant = 0x43b0d7e5;
  const hashed = (word: number) => {
    let value = word ^ constant;
    constant = Math.imul(constant, 0x931e8875);
    value = Math.imul(value, constant);
    return value ^ (value >>> 16);
  };
  const mixed = (x: number, y: number) => {
    const value = Math.imul(0xca01f9dd, x) - Math.imul(0x4973f715, y);
    return value ^ (value >>> 16);
  };
  const pool = Int32Array.from({ length: 4 }, (_, place) => hashed(entropy[place] ?? 0));
  for (let source = 0; source < 4; source++) {
    for (let target = 0; target < 4; target++) {
      if (source !== target) pool[target] = mixed(pool[target]!, hashed(pool[source]!));
    }
  }
  constant = 0x8b51f9dd;
  return Uint32Array.from({ length: count }, (_, place) => {
    let value = pool[place % 4]! ^ constant;
    constant = Math.imul(constant, 0x58f38ded);
    value = Math.imul(value, constant);
    return value ^ (value >>> 16);
  });
}
