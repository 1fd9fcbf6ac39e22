// NumPy's `default_rng([seed, index])`, so that subject k of a seed is the same here as in Python.
// SeedSequence and PCG64 as documented by their authors; normal numbers by the ziggurat method
// (Marsaglia and Tsang, 2000) in single precision, in the order in which NumPy draws.

const WORD = 2 ** 32;

/** The first eight 32-bit words of SeedSequence(words).generate_state. */
function seedWords(words) {
  let constant = 0x43b0d7e5;
  const hash = (value) => {
    value = (value ^ constant) >>> 0;
    constant = Math.imul(constant, 0x931e8875) >>> 0;
    value = Math.imul(value, constant) >>> 0;
    return (value ^ (value >>> 16)) >>> 0;
  };
  const mix = (x, y) => {
    const mixed = (Math.imul(0xca01f9dd, x) - Math.imul(0x4973f715, y)) >>> 0;
    return (mixed ^ (mixed >>> 16)) >>> 0;
  };
  const pool = [0, 1, 2, 3].map((i) => hash(i < words.length ? words[i] : 0));
  for (let from = 0; from < 4; from++) {
    for (let to = 0; to < 4; to++) if (from !== to) pool[to] = mix(pool[to], hash(pool[from]));
  }
  constant = 0x8b51f9dd;
  return Array.from({ length: 8 }, (_, i) => {
    let value = (pool[i % 4] ^ constant) >>> 0;
    constant = Math.imul(constant, 0x58f38ded) >>> 0;
    value = Math.imul(value, constant) >>> 0;
    return (value ^ (value >>> 16)) >>> 0;
  });
}

/** Low and high word of the product of two 32-bit words. */
function product(a, b) {
  const a0 = a & 0xffff, a1 = a >>> 16, b0 = b & 0xffff, b1 = b >>> 16;
  const middle = a1 * b0 + ((a0 * b0) >>> 16);
  const carry = (middle & 0xffff) + a0 * b1;
  return [Math.imul(a, b) >>> 0, a1 * b1 + Math.floor(middle / 65536) + Math.floor(carry / 65536)];
}

const MULTIPLIER = [0x9fccf645, 0x4385df64, 0x1fc65da4, 0x2360ed05]; // low word first

// The 256 layers of the ziggurat, from its last edge and the area of a layer.
const EDGE = 3.6541528853610088;
const density = (x) => Math.exp(-0.5 * x * x);
const [LIMITS, WIDTHS, HEIGHTS] = layers();

function layers() {
  const edges = new Float64Array(257), area = EDGE * density(EDGE) + tail();
  edges[256] = area / density(EDGE);
  edges[255] = EDGE;
  for (let i = 254; i > 0; i--) edges[i] = Math.sqrt(-2 * Math.log(area / edges[i + 1] + density(edges[i + 1])));
  edges[0] = 0;
  const limits = new Uint32Array(256), widths = new Float32Array(256), heights = new Float32Array(256);
  for (let i = 1; i < 256; i++) {
    limits[i] = Math.round((edges[i - 1] / edges[i]) * 2 ** 23);
    widths[i] = edges[i] / 2 ** 23;
    heights[i] = density(edges[i]);
  }
  limits[0] = Math.round((EDGE / edges[256]) * 2 ** 23); // the lowest layer: a box, and the tail
  widths[0] = edges[256] / 2 ** 23;
  heights[0] = 1;
  return [limits, widths, heights];
}

/** Area below exp(-x^2 / 2) from the last edge on, by its continued fraction. */
function tail() {
  let fraction = 0;
  for (let k = 60; k > 0; k--) fraction = k / (EDGE + fraction);
  return density(EDGE) / (EDGE + fraction);
}

export class Random {
  constructor(seed, index) {
    const words = [seed, index].flatMap((number) => {
      const high = Math.floor(number / WORD);
      return high ? [number >>> 0, high] : [number];
    });
    const s = seedWords(words);
    // State and increment as four words each, the low one first; a seed's first half is the high one.
    const start = [s[2], s[3], s[0], s[1]], stream = [s[6], s[7], s[4], s[5]];
    this.increment = stream.map((word, i) => ((word << 1) | (i ? stream[i - 1] >>> 31 : 1)) >>> 0);
    this.state = [0, 0, 0, 0];
    this.step();
    let carry = 0;
    for (let i = 0; i < 4; i++) {
      const sum = this.state[i] + start[i] + carry;
      this.state[i] = sum >>> 0;
      carry = sum >= WORD ? 1 : 0;
    }
    this.step();
    this.kept = -1;
  }

  /** state = state * multiplier + increment, modulo 2^128. */
  step() {
    const out = [...this.increment];
    for (let i = 0; i < 4; i++) {
      let carry = 0;
      for (let j = 0; i + j < 4; j++) {
        const [low, high] = product(this.state[i], MULTIPLIER[j]);
        const sum = out[i + j] + low + carry;
        out[i + j] = sum >>> 0;
        carry = high + Math.floor(sum / WORD);
      }
    }
    this.state = out;
  }

  uint32() {
    if (this.kept >= 0) {
      const word = this.kept;
      this.kept = -1;
      return word;
    }
    this.step();
    const [a, b, c, d] = this.state, turn = d >>> 26;
    let low = (a ^ c) >>> 0, high = (b ^ d) >>> 0;
    if (turn & 32) [low, high] = [high, low];
    const by = turn & 31;
    if (by) [low, high] = [(low >>> by) | (high << (32 - by)), (high >>> by) | (low << (32 - by))];
    this.kept = high >>> 0;
    return low >>> 0;
  }

  /** A whole number from 0 to limit - 1 (Lemire's method). */
  integer(limit) {
    if (limit < 2) return 0;
    const least = WORD % limit;
    for (;;) {
      const [low, high] = product(this.uint32(), limit);
      if (low >= least) return high;
    }
  }

  uniform() {
    return Math.fround((this.uint32() >>> 8) / 2 ** 24);
  }

  normal() {
    for (;;) {
      const word = this.uint32(), layer = word & 255, size = word >>> 9, sign = (word >>> 8) & 1 ? -1 : 1;
      const x = Math.fround(size * WIDTHS[layer]) * sign;
      if (size < LIMITS[layer]) return x;
      if (layer === 0) {
        for (;;) {
          const beyond = -Math.log1p(-this.uniform()) / EDGE, y = -Math.log1p(-this.uniform());
          if (y + y > beyond * beyond) return (size >>> 8) & 1 ? -(EDGE + beyond) : EDGE + beyond;
        }
      }
      const height = (HEIGHTS[layer - 1] - HEIGHTS[layer]) * this.uniform() + HEIGHTS[layer];
      if (height < density(x)) return x;
    }
  }

  normals(count) {
    return Float32Array.from({ length: count }, () => this.normal());
  }
}
