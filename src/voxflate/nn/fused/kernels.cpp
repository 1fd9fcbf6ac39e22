// The passes over memory between two convolutions, each in one sweep. Channels innermost. Features (type T) are
// float32 or bfloat16; small tensors (scales, noise, sums, images) and all arithmetic are float32.
//
// Plain C++17 and OpenMP behind a C interface: no PyTorch headers, so that one build serves every version of
// PyTorch. The plain modules in nn are the definition; tests hold these functions to them.
//
// N samples, C channels, spatial sizes D, H, W (images: D = 1). "Two branches": tensors of C/2 channels each,
// whose channels alternate in the joined tensor (channel shuffle).

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <type_traits>
#include <vector>

#ifdef __AVX512F__
#include <immintrin.h>
#endif

namespace {

// Rounded to the nearest, ties to even, as PyTorch does; NaN stays NaN.
template <class Narrow, class Wide>
inline Narrow rounded(Wide bits, Wide none) {
  const Wide wide = (bits + 0x7fffu + ((bits >> 16) & 1u)) >> 16;
  return __builtin_convertvector((wide & ~none) | (0x7fc0u & none), Narrow);
}

constexpr float kSlope = 0.2f;  // of the leaky ReLU
constexpr int64_t kBlock = 256;  // voxels that one thread processes at a time
constexpr int kLanes = 16;

// Lanes of a (0 to 15, or 0 to 7) and b (from 16, or 8) in a new order. GCC before 12 only has its own builtin for
// this.
#if defined(__clang__) || (__GNUC__ >= 12 && !defined(VOXFLATE_OLD_SHUFFLE))
#define VOXFLATE_SHUFFLE(a, b, ...) __builtin_shufflevector(a, b, __VA_ARGS__)
#else
#define VOXFLATE_SHUFFLE(a, b, ...) __builtin_shuffle(a, b, Words{__VA_ARGS__})
#endif

struct bfloat16 {
  uint16_t bits;
};

// Sixteen channels at once: `Lanes` of float32, `Halfwords` of bfloat16. `Joined` and `Dealt` are a channel shuffle of
// two branches and back: a and b alternate in `low` and, from the ninth of each on, in `high`.
#ifdef __AVX512F__

typedef float Lanes __attribute__((vector_size(4 * kLanes)));
typedef uint32_t Words __attribute__((vector_size(4 * kLanes)));
typedef uint16_t Halfwords __attribute__((vector_size(2 * kLanes)));
// As they lie in memory. A memcpy would be equally correct, but GCC splits it into two halves.
typedef float UnalignedLanes __attribute__((vector_size(4 * kLanes), aligned(4), may_alias));
typedef uint16_t UnalignedHalfwords __attribute__((vector_size(2 * kLanes), aligned(2), may_alias));

inline Lanes load_all(const float* from) { return *reinterpret_cast<const UnalignedLanes*>(from); }
inline Halfwords load_all(const bfloat16* from) { return *reinterpret_cast<const UnalignedHalfwords*>(from); }
inline void store_all(float* to, Lanes value) { *reinterpret_cast<UnalignedLanes*>(to) = value; }
inline void store_all(bfloat16* to, Halfwords value) { *reinterpret_cast<UnalignedHalfwords*>(to) = value; }

inline Lanes where_positive(Lanes value, Lanes yes, Lanes no) { return value > 0.0f ? yes : no; }

inline Halfwords narrowed(Lanes value) {
#ifdef __AVX512BF16__  // also treats numbers below 1e-38 as 0
  return reinterpret_cast<Halfwords>(_mm512_cvtneps_pbh(reinterpret_cast<__m512>(value)));
#else
  return rounded<Halfwords>(reinterpret_cast<Words>(value), reinterpret_cast<Words>(value != value));
#endif
}

inline Lanes widened(Halfwords value) {  // GCC turns the conversion into five instructions
  const Words wide = reinterpret_cast<Words>(_mm512_cvtepu16_epi32(reinterpret_cast<__m256i>(value)));
  return reinterpret_cast<Lanes>(wide << 16);
}

inline float total(Lanes value) {
  value += VOXFLATE_SHUFFLE(value, value, 8, 9, 10, 11, 12, 13, 14, 15, 0, 1, 2, 3, 4, 5, 6, 7);
  value += VOXFLATE_SHUFFLE(value, value, 4, 5, 6, 7, 0, 1, 2, 3, 12, 13, 14, 15, 8, 9, 10, 11);
  value += VOXFLATE_SHUFFLE(value, value, 2, 3, 0, 1, 6, 7, 4, 5, 10, 11, 8, 9, 14, 15, 12, 13);
  return value[0] + value[1];
}

struct Joined {
  Lanes low, high;
};
struct Dealt {
  Lanes a, b;
};

inline Joined shuffled(Lanes a, Lanes b) {
  return {VOXFLATE_SHUFFLE(a, b, 0, 16, 1, 17, 2, 18, 3, 19, 4, 20, 5, 21, 6, 22, 7, 23),
          VOXFLATE_SHUFFLE(a, b, 8, 24, 9, 25, 10, 26, 11, 27, 12, 28, 13, 29, 14, 30, 15, 31)};
}

inline Dealt dealt(Lanes low, Lanes high) {
  return {VOXFLATE_SHUFFLE(low, high, 0, 2, 4, 6, 8, 10, 12, 14, 16, 18, 20, 22, 24, 26, 28, 30),
          VOXFLATE_SHUFFLE(low, high, 1, 3, 5, 7, 9, 11, 13, 15, 17, 19, 21, 23, 25, 27, 29, 31)};
}

#else  // In two halves: GCC splits a vector wider than the processor's into single numbers.

constexpr int kHalf = kLanes / 2;
typedef float Half __attribute__((vector_size(4 * kHalf)));
typedef uint32_t Words __attribute__((vector_size(4 * kHalf)));
typedef uint16_t HalfOfHalfwords __attribute__((vector_size(2 * kHalf)));
typedef float UnalignedHalf __attribute__((vector_size(4 * kHalf), aligned(4), may_alias));

struct Lanes {
  Half lo, hi;
};
struct Halfwords {
  HalfOfHalfwords lo, hi;
};

inline Lanes operator+(Lanes a, Lanes b) { return {a.lo + b.lo, a.hi + b.hi}; }
inline Lanes operator*(Lanes a, Lanes b) { return {a.lo * b.lo, a.hi * b.hi}; }
inline Lanes operator+(Lanes a, float b) { return {a.lo + b, a.hi + b}; }
inline Lanes operator*(Lanes a, float b) { return {a.lo * b, a.hi * b}; }
inline Lanes operator*(float a, Lanes b) { return b * a; }
inline Lanes& operator+=(Lanes& a, Lanes b) { return a = a + b; }
inline Lanes& operator*=(Lanes& a, Lanes b) { return a = a * b; }

inline Lanes load_all(const float* from) {
  const auto* half = reinterpret_cast<const UnalignedHalf*>(from);
  return {half[0], *reinterpret_cast<const UnalignedHalf*>(from + kHalf)};
}
inline Halfwords load_all(const bfloat16* from) {
  Halfwords value;
  std::memcpy(&value, from, sizeof value);
  return value;
}
inline void store_all(float* to, Lanes value) {
  *reinterpret_cast<UnalignedHalf*>(to) = value.lo;
  *reinterpret_cast<UnalignedHalf*>(to + kHalf) = value.hi;
}
inline void store_all(bfloat16* to, Halfwords value) { std::memcpy(to, &value, sizeof value); }

inline Lanes where_positive(Lanes value, Lanes yes, Lanes no) {
  return {value.lo > 0.0f ? yes.lo : no.lo, value.hi > 0.0f ? yes.hi : no.hi};
}

inline HalfOfHalfwords narrowed(Half value) {
  return rounded<HalfOfHalfwords>(reinterpret_cast<Words>(value), reinterpret_cast<Words>(value != value));
}
inline Halfwords narrowed(Lanes value) { return {narrowed(value.lo), narrowed(value.hi)}; }

inline Half widened(HalfOfHalfwords value) {
  return reinterpret_cast<Half>(__builtin_convertvector(value, Words) << 16);
}
inline Lanes widened(Halfwords value) { return {widened(value.lo), widened(value.hi)}; }

inline float total(Lanes value) {
  Half sum = value.lo + value.hi;
  sum += VOXFLATE_SHUFFLE(sum, sum, 4, 5, 6, 7, 0, 1, 2, 3);
  sum += VOXFLATE_SHUFFLE(sum, sum, 2, 3, 0, 1, 6, 7, 4, 5);
  return sum[0] + sum[1];
}

struct Joined {
  Lanes low, high;
};
struct Dealt {
  Lanes a, b;
};

inline Lanes alternating(Half a, Half b) {
  return {VOXFLATE_SHUFFLE(a, b, 0, 8, 1, 9, 2, 10, 3, 11), VOXFLATE_SHUFFLE(a, b, 4, 12, 5, 13, 6, 14, 7, 15)};
}
inline Joined shuffled(Lanes a, Lanes b) { return {alternating(a.lo, b.lo), alternating(a.hi, b.hi)}; }

inline Half even(Lanes x) { return VOXFLATE_SHUFFLE(x.lo, x.hi, 0, 2, 4, 6, 8, 10, 12, 14); }
inline Half odd(Lanes x) { return VOXFLATE_SHUFFLE(x.lo, x.hi, 1, 3, 5, 7, 9, 11, 13, 15); }
inline Dealt dealt(Lanes low, Lanes high) { return {{even(low), even(high)}, {odd(low), odd(high)}}; }

#endif

// How many lanes are used: all, or fewer at the end of the channels. Always a constant: copying an unknown number of
// bytes would be a call, and no sum stays in a register across calls.
template <int n>
using Constant = std::integral_constant<int, n>;
using Whole = Constant<kLanes>;

template <class Count>
inline Lanes load(const float* from, Count count) {
  if constexpr (std::is_same_v<Count, Whole>) return load_all(from);
  Lanes value = {};
  std::memcpy(&value, from, 4 * count);
  return value;
}

template <class Count>
inline Lanes load(const bfloat16* from, Count count) {
  if constexpr (std::is_same_v<Count, Whole>) return widened(load_all(from));
  Halfwords value = {};
  std::memcpy(&value, from, 2 * count);
  return widened(value);
}

template <class Count>
inline void store(float* to, Lanes value, Count count) {
  if constexpr (std::is_same_v<Count, Whole>) store_all(to, value);
  else std::memcpy(to, &value, 4 * count);
}

template <class Count>
inline void store(bfloat16* to, Lanes value, Count count) {
  const Halfwords narrow = narrowed(value);
  if constexpr (std::is_same_v<Count, Whole>) store_all(to, narrow);
  else std::memcpy(to, &narrow, 2 * count);
}

// The same past the caches, for features, which exceed them: a line that is written whole need not be read
// first. (Half lines, as in bfloat16, gain nothing.)
template <class T, class Count>
inline void stream(T* to, Lanes value, Count count) {
#ifdef __AVX512F__
  if constexpr (std::is_same_v<T, float> && std::is_same_v<Count, Whole>) {
    if (reinterpret_cast<uintptr_t>(to) % 64 == 0) return _mm512_stream_ps(to, reinterpret_cast<__m512>(value));
  }
#endif
  store(to, value, count);
}

// Before another thread reads what was streamed.
inline void settle() {
#ifdef __AVX512F__
  _mm_sfence();
#endif
}

// Room for n values, aligned to a cache line: otherwise half of the time would go into loads that cross two lines.
class Room {
 public:
  explicit Room(int64_t n) : lanes_((n + kLanes - 1) / kLanes) {}
  float* data() { return reinterpret_cast<float*>(lanes_.data()); }

 private:
  std::vector<Lanes> lanes_;
};

// Call `each(first, count)` for every sixteen of n values; the rest in eights, fours and ones.
template <class Each>
inline void in_lanes(int64_t n, Each each) {
  int64_t i = 0;
  for (; i + kLanes <= n; i += kLanes) each(i, Whole{});
  for (; i + 8 <= n; i += 8) each(i, Constant<8>{});
  for (; i + 4 <= n; i += 4) each(i, Constant<4>{});
  for (; i < n; ++i) each(i, Constant<1>{});
}

// Call `each(first, count, more)` for every thirty-two of n values: `count`, then `more` of them.
template <class Each>
inline void in_pairs(int64_t n, Each each) {
  int64_t i = 0;
  for (; i + 2 * kLanes <= n; i += 2 * kLanes) each(i, Whole{}, Whole{});
  in_lanes(n - i, [=](int64_t j, auto count) { each(i + j, count, Constant<0>{}); });
}

// One value.
inline void put(float& to, float value) { to = value; }
inline void put(bfloat16& to, float value) { store(&to, Lanes{{value}}, Constant<1>{}); }
inline float get(float value) { return value; }
inline float get(bfloat16 value) {
  float wide;
  store(&wide, load(&value, Constant<1>{}), Constant<1>{});
  return wide;
}

inline Lanes leaky(Lanes value) { return where_positive(value, value, value * kSlope); }

// How many of 2 x `count` channels are in `low` and in `high`.
template <int n>
constexpr auto low(Constant<n>) { return Constant<std::min(2 * n, kLanes)>{}; }
template <int n>
constexpr auto high(Constant<n>) { return Constant<std::max(2 * n - kLanes, 0)>{}; }

// Sixteen or fewer neighbouring channels of every voxel. If the channels, a multiple of sixteen, are in two
// halves, eight may be the last of the first half and eight the first of the second.
template <class T>
struct Window {
  T* first;
  int64_t step;  // from voxel to voxel
  T* second;     // null: all lie together

  template <class Count>
  Lanes load_at(int64_t voxel, Count count) const {
    const T* from = first + voxel * step;
    if (!second) return load(from, count);
    std::remove_const_t<T> both[kLanes];
    std::memcpy(both, from, sizeof(T) * kLanes / 2);
    std::memcpy(both + kLanes / 2, second + voxel * step, sizeof(T) * kLanes / 2);
    return load(both, Whole{});
  }

  template <class Count>
  void store_at(int64_t voxel, Lanes value, Count count) const {
    T* to = first + voxel * step;
    if (!second) return stream(to, value, count);
    T both[kLanes];
    store(both, value, Whole{});
    std::memcpy(to, both, sizeof(T) * kLanes / 2);
    std::memcpy(second + voxel * step, both + kLanes / 2, sizeof(T) * kLanes / 2);
  }
};

// Features [N, S, C], or the two halves of their channels; no part: nothing.
template <class T>
struct Features {
  T* parts[2];
  int64_t channels;

  explicit operator bool() const { return parts[0] != nullptr; }

  Window<T> window(int64_t c, int count) const {
    if (!parts[1]) return {parts[0] + c, channels, nullptr};
    const int64_t half = channels / 2;
    if (c >= half) return {parts[1] + (c - half), half, nullptr};
    return {parts[0] + c, half, c + count > half ? parts[1] : nullptr};
  }
};

// An output sample of an axis: the sum of up to four input samples, neighbours of each other, at these offsets. If
// there are fewer, the others have weight 0.
struct Taps {
  int64_t offset[4];
  float weight[4];
};

template <int taps, class T, class Count>
inline Lanes weighed(const T* from, const Taps& t, Count count) {
  if constexpr (taps == 0) return load(from + t.offset[0], count);
  Lanes sum = t.weight[0] * load(from + t.offset[0], count);
  for (int k = 1; k < taps; ++k) sum += t.weight[k] * load(from + t.offset[k], count);
  return sum;
}

// One axis of a resampling.
struct Axis {
  int64_t in, out;
  bool identity;
  bool few;  // two taps at most
  std::vector<Taps> taps;

  // index, weight: [out, 4]; zeros at the end. `stride` is from sample to sample.
  Axis(int64_t in, int64_t out, const int32_t* index, const float* weight, bool identity, int64_t stride)
      : in(in), out(out), identity(identity), few(true), taps(out) {
    for (int64_t o = 0; o < out; ++o)
      for (int k = 0; k < 4; ++k) {
        const float w = weight[4 * o + k];
        taps[o].weight[k] = w;
        taps[o].offset[k] = (w != 0.0f || k == 0) ? index[4 * o + k] * stride : taps[o].offset[0];
        few = few && (k < 2 || w == 0.0f);
      }
  }

  // Call `each` with the number of taps as a constant: 0 for an axis that does not change.
  template <class Each>
  void with_taps(Each each) const {
    if (identity) {
      each(Constant<0>{});
    } else if (few) {
      each(Constant<2>{});
    } else {
      each(Constant<4>{});
    }
  }

  // Sum of n values each.
  template <class T>
  void combine(float* to, const T* from, const Taps& sample, int64_t n) const {
    const Taps t = sample;
    with_taps([=](auto taps) {
      in_lanes(n, [=](int64_t i, auto count) { store(to + i, weighed<taps>(from + i, t, count), count); });
    });
  }
};

// The rows of a plane that its next rows need, each a sum of the same row of up to four planes: kept in the first-level
// cache, which a plane would overflow.
struct Rows {
  const Axis &depth, &height;
  const int64_t branches, length;
  Room ring;  // [4, branches, length]
  int64_t held[4];

  Rows(const Axis& depth, const Axis& height, int64_t branches, int64_t length)
      : depth(depth), height(height), branches(branches), length(length),
        ring(depth.identity ? 0 : 4 * branches * length) {}

  void begin_plane() { std::fill_n(held, 4, -1); }

  // What output row h is a sum of: offsets into the ring. `a`, `b`: the branches' samples.
  template <class T>
  Taps get(int64_t h, const T* a, const T* b, const Taps& planes) {
    Taps t = height.taps[h];
    for (int k = 0; k < (height.identity ? 1 : height.few ? 2 : 4); ++k) {
      const int64_t row = t.offset[k] / length, slot = row % 4;
      float* at = ring.data() + slot * branches * length;
      if (held[slot] != row) {
        depth.combine(at, a + row * length, planes, length);
        if (b) depth.combine(at + length, b + row * length, planes, length);
        held[slot] = row;
      }
      t.offset[k] = at - ring.data();
    }
    return t;
  }
};

// What happens to x = leaky_relu(scale value + gain noise + shift) of a voxel.
template <class T>
struct Finish {
  const float* scale;  // [N, C]; null: x is the value
  const float* shift;  // [C]
  const float* noise;  // [N, S] or null
  float gain;
  const float* style;      // [N, C] or null: what x is multiplied by for `out`
  Features<const T> addend;  // added to x
  Features<T> out;
  T* keep;           // x, or null
  const float* mix;  // [N, C] or null: weights of the channels in the image
  float* image;      // [N, S]
};

// The same for up to sixteen channels of sample n, from c on.
template <class T, class Count>
struct FinishLanes {
  const bool epilogue, adds, writes, keeps, mixes, styles;
  Lanes scale = {}, shift = {}, style = {}, mix = {};
  const Window<const T> addend;
  const Window<T> out;
  T* const keep;
  const int64_t channels;
  const Count count;

  FinishLanes(const Finish<T>& f, int64_t n, int64_t c, Count count)
      : epilogue(f.scale), adds(f.addend), writes(f.out), keeps(f.keep), mixes(f.mix), styles(f.style),
        addend(f.addend.window(c, count)), out(f.out.window(c, count)), keep(f.keep + c),
        channels(f.out.channels), count(count) {
    const int64_t at = n * channels + c;
    if (epilogue) {
      scale = load(f.scale + at, count);
      shift = load(f.shift + c, count);
    }
    if (styles) style = load(f.style + at, count);
    if (mixes) mix = load(f.mix + at, count);
  }

  void operator()(int64_t voxel, Lanes value, float extra, Lanes& products) const {
    if (epilogue) value = leaky(value * scale + (shift + extra));
    if (adds) value += addend.load_at(voxel, count);
    if (keeps) stream(keep + voxel * channels, value, count);
    if (mixes) products += value * mix;
    if (writes) out.store_at(voxel, styles ? value * style : value, count);
  }
};

// Visit all voxels in blocks: visit(n, first, last).
template <class Visit>
void over_voxels(int64_t samples, int64_t voxels, int threads, Visit visit) {
  const int64_t blocks = (voxels + kBlock - 1) / kBlock;
  // A copy for each thread: otherwise writes could be taken for changes of the shared one.
#pragma omp parallel for collapse(2) schedule(static) num_threads(threads) if (threads > 1) firstprivate(visit)
  for (int64_t n = 0; n < samples; ++n)
    for (int64_t k = 0; k < blocks; ++k) {
      visit(n, k * kBlock, std::min(voxels, (k + 1) * kBlock));
      settle();
    }
}

// The same with `visit(n, first, last, partial)` setting `width` sums. The blocks' sums are added in order, so that
// the result does not depend on the number of threads.
template <class Visit>
void sum_over_voxels(int64_t samples, int64_t voxels, int64_t width, float* sums, int threads, Visit visit) {
  const int64_t blocks = (voxels + kBlock - 1) / kBlock;
  std::vector<float> partials(samples * blocks * width);
  float* partial = partials.data();
  over_voxels(samples, voxels, threads, [=](int64_t n, int64_t first, int64_t last) {
    visit(n, first, last, partial + (n * blocks + first / kBlock) * width);
  });
  for (int64_t n = 0; n < samples; ++n)
    for (int64_t i = 0; i < width; ++i) {
      double total = 0.0;
      for (int64_t k = 0; k < blocks; ++k) total += partials[(n * blocks + k) * width + i];
      sums[n * width + i] = static_cast<float>(total);
    }
}

// Resample every axis of one tensor or of two branches, join these, and finish; or deal the channels out to branches.
template <class T>
void resample(const T* a, const T* b, T* deal_a, T* deal_b, const int64_t* sizes, const int32_t* index,
              const float* weight, const int32_t* identity, const Finish<T>& finish, int threads) {
  const int64_t samples = sizes[0], channels = sizes[1], branches = b ? 2 : 1, part = channels / branches;
  const int64_t out_d = sizes[5], out_h = sizes[6], row_in = sizes[4] * part, plane_in = sizes[3] * row_in;
  const Axis depth(sizes[2], out_d, index, weight, identity[0], plane_in);
  const Axis height(sizes[3], out_h, index + 4 * out_d, weight + 4 * out_d, identity[1], row_in);
  const int64_t before = 4 * (out_d + out_h);
  const Axis width(sizes[4], sizes[7], index + before, weight + before, identity[2], part);

#pragma omp parallel num_threads(threads) if (threads > 1)
  {
    Rows rows(depth, height, branches, row_in);
    Room lines(height.identity ? 0 : branches * row_in), noise(width.out);
    std::vector<Lanes> products(width.out);

    // One row of voxels, from the rows of the branches.
    const auto finish_row = [&](auto taps, const auto* line_a, const auto* line_b, int64_t n, int64_t first) {
      const Finish<T> f = finish;
      const Taps* t = width.taps.data();
      float* extra = noise.data();
      Lanes* product = products.data();
      const int64_t length = width.out;
      if (f.noise)
        for (int64_t x = 0; x < length; ++x) extra[x] = f.noise[first + x] * f.gain;
      if (f.mix) std::fill_n(product, length, Lanes{});
      if (line_b) {
        in_lanes(part, [=](int64_t c, auto count) {
          const FinishLanes<T, decltype(low(count))> one(f, n, 2 * c, low(count));
          const FinishLanes<T, decltype(high(count))> two(f, n, 2 * c + kLanes, high(count));
          for (int64_t x = 0; x < length; ++x) {
            const Joined joined =
                shuffled(weighed<taps>(line_a + c, t[x], count), weighed<taps>(line_b + c, t[x], count));
            one(first + x, joined.low, extra[x], product[x]);
            two(first + x, joined.high, extra[x], product[x]);
          }
        });
      } else if (deal_a) {
        const int64_t half = channels / 2;
        in_lanes(half, [=](int64_t c, auto count) {
          for (int64_t x = 0; x < length; ++x) {
            const auto* from = line_a + 2 * c;
            const Dealt split = dealt(weighed<taps>(from, t[x], low(count)),
                                      weighed<taps>(from + kLanes, t[x], high(count)));
            stream(deal_a + (first + x) * half + c, split.a, count);
            stream(deal_b + (first + x) * half + c, split.b, count);
          }
        });
      } else if (channels == 1 && !f.scale && !f.addend) {  // an image: one channel does not fill the lanes
        for (int64_t x = 0; x < length; ++x) {
          float sum = taps == 0 ? get(line_a[t[x].offset[0]]) : 0.0f;
          for (int k = 0; k < taps; ++k) sum += t[x].weight[k] * get(line_a[t[x].offset[k]]);
          put(f.out.parts[0][first + x], sum);
        }
      } else {
        in_lanes(part, [=](int64_t c, auto count) {
          const FinishLanes<T, decltype(count)> lanes(f, n, c, count);
          for (int64_t x = 0; x < length; ++x)
            lanes(first + x, weighed<taps>(line_a + c, t[x], count), extra[x], product[x]);
        });
      }
      if (f.mix)
        for (int64_t x = 0; x < length; ++x) f.image[first + x] = total(product[x]);
    };
    // One row of voxels, from those of the planes.
    const auto finish_rows = [&](const auto* line_a, const auto* line_b, const Taps& t, int64_t n, int64_t first) {
      width.with_taps([&](auto taps) {
        if (height.identity) {
          finish_row(taps, line_a + t.offset[0], line_b ? line_b + t.offset[0] : nullptr, n, first);
          return;
        }
        float *sum_a = lines.data(), *sum_b = line_b ? sum_a + row_in : nullptr;
        height.combine(sum_a, line_a, t, row_in);
        if (line_b) height.combine(sum_b, line_b, t, row_in);
        finish_row(taps, sum_a, sum_b, n, first);
      });
    };

#pragma omp for collapse(2) schedule(static)
    for (int64_t n = 0; n < samples; ++n) {
      for (int64_t d = 0; d < depth.out; ++d) {
        const int64_t sample = n * depth.in * plane_in, at = sample + d * plane_in;
        rows.begin_plane();
        for (int64_t h = 0; h < height.out; ++h) {
          const int64_t first = ((n * depth.out + d) * height.out + h) * width.out;
          if (depth.identity) {
            finish_rows(a + at, b ? b + at : nullptr, height.taps[h], n, first);
          } else {
            const Taps t = rows.get(h, a + sample, b ? b + sample : nullptr, depth.taps[d]);
            float* ring = rows.ring.data();
            finish_rows(ring, b ? ring + row_in : nullptr, t, n, first);
          }
        }
        settle();
      }
    }
  }
}

// Gradients that arrive at x, what is needed to send them on, and where they go.
template <class T>
struct FinishBack {
  Features<const T> grad;  // of `out`, or nothing
  Features<const T> x;
  const float* image_grad;  // [N, S] or null
  const float *noise, *scale, *style, *mix;
  Features<T> to;  // in front of the scale
  T *deal_a, *deal_b;  // or there, dealt out to branches
};

constexpr int kSums = 5;  // of g, g times the value before the leaky ReLU, g noise, grad x, image_grad x

template <class T, class Count>
struct FinishBackLanes {
  const bool has_grad, mixes, styles;
  Lanes scale, style = {}, mix = {};
  // Sums of kSums; named, since an array of them would live in memory.
  Lanes sum_g = {}, sum_before = {}, sum_noise = {}, sum_style = {}, sum_mix = {};
  const Window<const T> grad, x;
  const Count count;

  FinishBackLanes(const FinishBack<T>& f, int64_t n, int64_t c, Count count)
      : has_grad(f.grad), mixes(f.mix), styles(f.style), grad(f.grad.window(c, count)), x(f.x.window(c, count)),
        count(count) {
    const int64_t at = n * f.x.channels + c;
    scale = load(f.scale + at, count);
    if (styles) style = load(f.style + at, count);
    if (mixes) mix = load(f.mix + at, count);
  }

  Lanes operator()(int64_t voxel, float noise, float image_grad) {
    const Lanes value = x.load_at(voxel, count);
    Lanes dx = {};
    if (has_grad) {
      dx = grad.load_at(voxel, count);
      if (styles) {
        sum_style += dx * value;
        dx *= style;
      }
    }
    if (mixes) {
      sum_mix += image_grad * value;
      dx += image_grad * mix;
    }
    const Lanes g = where_positive(value, dx, dx * kSlope);
    sum_g += g;
    sum_before += g * where_positive(value, value, value * (1.0f / kSlope));
    sum_noise += g * noise;
    return g * scale;
  }

  void put_sums(float* to, int64_t channels) const {
    store(to, sum_g, count);
    store(to + channels, sum_before, count);
    store(to + 2 * channels, sum_noise, count);
    store(to + 3 * channels, sum_style, count);
    store(to + 4 * channels, sum_mix, count);
  }
};

template <class T>
void finish_backward(const FinishBack<T>& f, float* sums, int64_t samples, int64_t voxels, int threads) {
  const int64_t channels = f.x.channels;
  sum_over_voxels(samples, voxels, kSums * channels, sums, threads, [=](int64_t n, int64_t v, int64_t last, float* sum) {
    const int64_t begin = n * voxels + v, end = n * voxels + last;
    const auto at = [=](const float* values, int64_t voxel) { return values ? values[voxel] : 0.0f; };
    if (f.deal_a) {
      const int64_t half = channels / 2;
      in_lanes(half, [=](int64_t c, auto count) {
        FinishBackLanes<T, decltype(low(count))> one(f, n, 2 * c, low(count));
        FinishBackLanes<T, decltype(high(count))> two(f, n, 2 * c + kLanes, high(count));
        for (int64_t voxel = begin; voxel < end; ++voxel) {
          const float noise = at(f.noise, voxel), image_grad = at(f.image_grad, voxel);
          const Lanes first = one(voxel, noise, image_grad), second = two(voxel, noise, image_grad);
          const Dealt split = dealt(first, second);
          stream(f.deal_a + voxel * half + c, split.a, count);
          stream(f.deal_b + voxel * half + c, split.b, count);
        }
        one.put_sums(sum + 2 * c, channels);
        two.put_sums(sum + 2 * c + kLanes, channels);
      });
    } else {
      in_pairs(channels, [=](int64_t c, auto count, auto more) {
        FinishBackLanes<T, decltype(count)> one(f, n, c, count);
        FinishBackLanes<T, decltype(more)> two(f, n, c + kLanes, more);
        const Window<T> to_one = f.to.window(c, count), to_two = f.to.window(c + kLanes, more);
        for (int64_t voxel = begin; voxel < end; ++voxel) {
          const float noise = at(f.noise, voxel), image_grad = at(f.image_grad, voxel);
          to_one.store_at(voxel, one(voxel, noise, image_grad), count);
          if constexpr (more > 0) to_two.store_at(voxel, two(voxel, noise, image_grad), more);
        }
        one.put_sums(sum + c, channels);
        if constexpr (more > 0) two.put_sums(sum + c + kLanes, channels);
      });
    }
  });
}

template <class T>
void modulate(const T* x, const float* s, T* oa, T* ob, int64_t samples, int64_t voxels, int64_t channels, int threads) {
  const int64_t cut = ob ? channels / 2 : channels;
  over_voxels(samples, voxels, threads, [=](int64_t n, int64_t v, int64_t last) {
    for (; v < last; ++v) {
      const int64_t voxel = n * voxels + v;
      const auto scaled = [&](T* to, int64_t skipped) {
        in_lanes(cut, [&](int64_t c, auto count) {
          const Lanes value = load(x + voxel * channels + skipped + c, count);
          stream(to + voxel * cut + c, s ? value * load(s + n * channels + skipped + c, count) : value, count);
        });
      };
      scaled(oa, 0);
      if (ob) scaled(ob, cut);
    }
  });
}

template <class T>
void modulate_backward(const T* ga, const T* gb, const T* x, const float* s, T* gx, float* sums, int64_t samples,
                       int64_t voxels, int64_t channels, int threads) {
  const int64_t cut = gb ? channels / 2 : channels;
  sum_over_voxels(samples, voxels, s ? channels : 0, sums, threads, [=](int64_t n, int64_t v, int64_t last, float* sum) {
    const auto scaled = [&](const T* g, int64_t skipped) {
      in_lanes(cut, [&](int64_t c, auto count) {
        const int64_t at = skipped + c;
        Lanes scale = {}, total = {};
        if (s) scale = load(s + n * channels + at, count);
        for (int64_t voxel = n * voxels + v; voxel < n * voxels + last; ++voxel) {
          Lanes value = load(g + voxel * cut + c, count);
          if (s) {
            total += value * load(x + voxel * channels + at, count);
            value *= scale;
          }
          stream(gx + voxel * channels + at, value, count);
        }
        if (s) store(sum + at, total, count);
      });
    };
    scaled(ga, 0);
    if (gb) scaled(gb, cut);
  });
}

// The first operation of a discriminator: leaky_relu(w x + b) of an image of one channel.
template <class T>
void from_image(const float* x, const float* w, const float* b, T* out, int64_t samples, int64_t voxels,
                int64_t channels, int threads) {
  over_voxels(samples, voxels, threads, [=](int64_t n, int64_t v, int64_t last) {
    for (int64_t voxel = n * voxels + v; voxel < n * voxels + last; ++voxel) {
      in_lanes(channels, [&](int64_t c, auto count) {
        stream(out + voxel * channels + c, leaky(x[voxel] * load(w + c, count) + load(b + c, count)), count);
      });
    }
  });
}

template <class T>
void from_image_backward(const T* grad, const T* out, const float* x, const float* w, float* gx, float* sums,
                         int64_t samples, int64_t voxels, int64_t channels, int threads) {
  sum_over_voxels(samples, voxels, 2 * channels, sums, threads, [=](int64_t n, int64_t v, int64_t last, float* sum) {
    Lanes products[kBlock] = {};
    in_lanes(channels, [&](int64_t c, auto count) {
      const Lanes weight = load(w + c, count);
      Lanes sum_gx = {}, sum_g = {};
      for (int64_t i = v; i < last; ++i) {
        const int64_t voxel = n * voxels + i, at = voxel * channels + c;
        const Lanes dy = load(grad + at, count);
        const Lanes g = where_positive(load(out + at, count), dy, dy * kSlope);
        sum_gx += g * x[voxel];
        sum_g += g;
        if (gx) products[i - v] += g * weight;
      }
      store(sum + c, sum_gx, count);
      store(sum + channels + c, sum_g, count);
    });
    if (!gx) return;
    for (int64_t i = v; i < last; ++i) gx[n * voxels + i] = total(products[i - v]);
  });
}

template <class T>
void to_image(const T* x, const float* w, float* y, int64_t samples, int64_t voxels, int64_t channels, int threads) {
  over_voxels(samples, voxels, threads, [=](int64_t n, int64_t v, int64_t last) {
    for (int64_t voxel = n * voxels + v; voxel < n * voxels + last; ++voxel) {
      Lanes products = {};
      in_lanes(channels, [&](int64_t c, auto count) {
        products += load(x + voxel * channels + c, count) * load(w + n * channels + c, count);
      });
      y[voxel] = total(products);
    }
  });
}

template <class T>
void to_image_backward(const float* g, const T* x, const float* w, T* gx, float* sums, int64_t samples, int64_t voxels,
                       int64_t channels, int threads) {
  sum_over_voxels(samples, voxels, channels, sums, threads, [=](int64_t n, int64_t v, int64_t last, float* sum) {
    in_lanes(channels, [&](int64_t c, auto count) {
      const Lanes weight = load(w + n * channels + c, count);
      Lanes total = {};
      for (int64_t voxel = n * voxels + v; voxel < n * voxels + last; ++voxel) {
        total += load(x + voxel * channels + c, count) * g[voxel];
        stream(gx + voxel * channels + c, weight * g[voxel], count);
      }
      store(sum + c, total, count);
    });
  });
}

}  // namespace

// What Python calls. `void*` is features: bfloat16 if `narrow`, else float32.
#define VOXFLATE_BY_TYPE(...)   \
  if (narrow) {                 \
    using T = bfloat16;         \
    __VA_ARGS__;                \
  } else {                      \
    using T = float;            \
    __VA_ARGS__;                \
  }

extern "C" {

// Whether the sweeps use several threads.
int voxflate_has_openmp() {
#ifdef _OPENMP
  return 1;
#else
  return 0;
#endif
}

// a, b: input, b null for one branch. sizes: N, C, D, H, W in, D, H, W out. index, weight: the tables of D, H and W one
// after the other; a flag per axis says that it does not change.
//
// Either the channels are dealt out to branches, `deal_a` and `deal_b`, and nothing else is done, or `Finish` says
// what becomes of them. adda, addb and oa, ob: features, or the halves of their channels where the second is not null.
void voxflate_finish(const void* a, const void* b, void* deal_a, void* deal_b, void* oa, void* ob, void* keep,
                     const void* adda, const void* addb, const int64_t* sizes, const int32_t* index,
                     const float* weight, const int32_t* identity, const float* scale, const float* shift,
                     const float* noise, float gain, const float* style, const float* mix, float* image, int narrow,
                     int threads) {
  const int64_t channels = sizes[1];
  VOXFLATE_BY_TYPE({
    const Features<const T> addend{{static_cast<const T*>(adda), static_cast<const T*>(addb)}, channels};
    const Features<T> out{{static_cast<T*>(oa), static_cast<T*>(ob)}, channels};
    const Finish<T> finish{scale, shift, noise, gain, style, addend, out, static_cast<T*>(keep), mix, image};
    resample(static_cast<const T*>(a), static_cast<const T*>(b), static_cast<T*>(deal_a), static_cast<T*>(deal_b),
             sizes, index, weight, identity, finish, threads);
  })
}

// Gradient of `Finish`. ga, gb: of `out`, or null; xa, xb: x; both whole or in halves. Without b they are whole. To
// oa, ob, whole or in halves, or to the branches. sums: [N, kSums, C].
void voxflate_finish_backward(const void* ga, const void* gb, const void* xa, const void* xb, const float* image_grad,
                              const float* noise, const float* scale, const float* style, const float* mix,
                              void* deal_a, void* deal_b, void* oa, void* ob, float* sums, int64_t samples,
                              int64_t voxels, int64_t channels, int narrow, int threads) {
  VOXFLATE_BY_TYPE({
    const FinishBack<T> f{{{static_cast<const T*>(ga), static_cast<const T*>(gb)}, channels},
                          {{static_cast<const T*>(xa), static_cast<const T*>(xb)}, channels},
                          image_grad, noise, scale, style, mix,
                          {{static_cast<T*>(oa), static_cast<T*>(ob)}, channels},
                          static_cast<T*>(deal_a), static_cast<T*>(deal_b)};
    finish_backward(f, sums, samples, voxels, threads);
  })
}

// Scale channels and cut them into two halves: oa, ob = (x s)[.., :C/2], (x s)[.., C/2:]; s null: 1; ob null: uncut.
void voxflate_modulate(const void* x, const float* s, void* oa, void* ob, int64_t samples, int64_t voxels,
                       int64_t channels, int narrow, int threads) {
  VOXFLATE_BY_TYPE(modulate(static_cast<const T*>(x), s, static_cast<T*>(oa), static_cast<T*>(ob), samples, voxels,
                            channels, threads))
}

// Gradient of the same: gx [N, S, C], and sums [N, C] of g x unless s is null.
void voxflate_modulate_backward(const void* ga, const void* gb, const void* x, const float* s, void* gx, float* sums,
                                int64_t samples, int64_t voxels, int64_t channels, int narrow, int threads) {
  VOXFLATE_BY_TYPE(modulate_backward(static_cast<const T*>(ga), static_cast<const T*>(gb), static_cast<const T*>(x), s,
                                     static_cast<T*>(gx), sums, samples, voxels, channels, threads))
}

// out [N, S, C] = leaky_relu(w[c] x[n, v] + b[c]).
void voxflate_from_image(const float* x, const float* w, const float* b, void* out, int64_t samples, int64_t voxels,
                         int64_t channels, int narrow, int threads) {
  VOXFLATE_BY_TYPE(from_image(x, w, b, static_cast<T*>(out), samples, voxels, channels, threads))
}

// Gradient of the same: gx [N, S] unless null, and sums [N, 2, C], of g x and of g.
void voxflate_from_image_backward(const void* grad, const void* out, const float* x, const float* w, float* gx,
                                  float* sums, int64_t samples, int64_t voxels, int64_t channels, int narrow,
                                  int threads) {
  VOXFLATE_BY_TYPE(from_image_backward(static_cast<const T*>(grad), static_cast<const T*>(out), x, w, gx, sums, samples,
                                       voxels, channels, threads))
}

// Weighted sum over the channels: y[n, v] = sum_c w[n, c] x[n, v, c].
void voxflate_to_image(const void* x, const float* w, float* y, int64_t samples, int64_t voxels, int64_t channels,
                       int narrow, int threads) {
  VOXFLATE_BY_TYPE(to_image(static_cast<const T*>(x), w, y, samples, voxels, channels, threads))
}

// Gradient of the same: gx[n, v, c] = g[n, v] w[n, c], and sums [N, C] of g x.
void voxflate_to_image_backward(const float* g, const void* x, const float* w, void* gx, float* sums, int64_t samples,
                                int64_t voxels, int64_t channels, int narrow, int threads) {
  VOXFLATE_BY_TYPE(to_image_backward(g, static_cast<const T*>(x), w, static_cast<T*>(gx), sums, samples, voxels,
                                     channels, threads))
}

}  // extern "C"
