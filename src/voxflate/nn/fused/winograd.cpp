// Convolutions with 3x3x3 kernels and half of the multiplications, and the gradient of their kernels, in float32.
//
// Four neighbours along W are computed at a time from six inputs by six products instead of twelve (Lavin and Gray 2016,
// "Fast algorithms for convolutional neural networks", F(4, 3), along one axis). Rows of features are transformed once
// in the caches. Zero padding keeps the size. Plain C++17 and OpenMP behind a C interface, like kernels.cpp.
//
// Features are [N, D, H, W, C], C a multiple of 8. A tile is four output voxels; T tiles make a row, and the last may
// reach beyond it. Transformed rows are [6, T, C], transformed kernels [6, 3, 3, C, O].

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <type_traits>
#include <vector>

namespace {

constexpr int kWide = 8;   // channels in a register
constexpr int kSums = 8;   // registers with sums
constexpr int kTaps = 3;
constexpr int kTile = 4;   // outputs
constexpr int kPoints = 6; // inputs, and products, of a tile
constexpr int kParts = 32; // of a gradient's sum: a constant, so that the result does not depend on the threads
constexpr int64_t kSmall = 4096;  // values of a kernel that stay in the first-level cache next to the features

typedef float Wide __attribute__((vector_size(4 * kWide)));
typedef float UnalignedWide __attribute__((vector_size(4 * kWide), aligned(4), may_alias));

inline Wide load(const float* from) { return *reinterpret_cast<const UnalignedWide*>(from); }
inline void store(float* to, Wide value) { *reinterpret_cast<UnalignedWide*>(to) = value; }

template <int n>
using Constant = std::integral_constant<int, n>;

struct Sizes {
  int64_t n, depth, height, width, in_channels, out_channels;

  int64_t tiles() const { return (width + kTile - 1) / kTile; }
  // Values of a kernel: per tap along D and along H, and per point.
  int64_t of_taps() const { return in_channels * out_channels; }
  int64_t of_point() const { return kTaps * kTaps * of_taps(); }
};

// The six numbers whose products with the kernel's make four outputs.
inline void transform_inputs(const Wide* d, float* to, int64_t apart) {
  const Wide odd = d[3] - 4.0f * d[1], even = d[4] - 4.0f * d[2];
  const Wide odd2 = 2.0f * (d[3] - d[1]), even2 = d[4] - d[2];
  store(to, 4.0f * d[0] - 5.0f * d[2] + d[4]);
  store(to + apart, even + odd);
  store(to + 2 * apart, even - odd);
  store(to + 3 * apart, even2 + odd2);
  store(to + 4 * apart, even2 - odd2);
  store(to + 5 * apart, 4.0f * d[1] - 5.0f * d[3] + d[5]);
}

// Four outputs from six products.
inline void transform_products(const Wide* m, Wide* y) {
  const Wide sum = m[1] + m[2], difference = m[1] - m[2], sum2 = m[3] + m[4], difference2 = m[3] - m[4];
  y[0] = m[0] + sum + sum2;
  y[1] = difference + 2.0f * difference2;
  y[2] = sum + 4.0f * sum2;
  y[3] = difference + 8.0f * difference2 + m[5];
}

// The transpose of `transform_products`, for gradients.
inline void transform_gradients(const Wide* g, float* to, int64_t apart) {
  const Wide even = g[0] + g[2], odd = g[1] + g[3], even2 = g[0] + 4.0f * g[2], odd2 = 2.0f * g[1] + 8.0f * g[3];
  store(to, g[0]);
  store(to + apart, even + odd);
  store(to + 2 * apart, even - odd);
  store(to + 3 * apart, even2 + odd2);
  store(to + 4 * apart, even2 - odd2);
  store(to + 5 * apart, g[3]);
}

// A row [length, channels] in tiles that begin four voxels apart, the first `before` the row; 0 outside.
template <int inputs, class Transform>
void transform_row(const float* row, int64_t length, int64_t channels, int64_t tiles, int64_t before, float* to,
                   Transform transform) {
  for (int64_t t = 0; t < tiles; ++t)
    for (int64_t c = 0; c < channels; c += kWide) {
      Wide values[inputs];
      for (int i = 0; i < inputs; ++i) {
        const int64_t at = kTile * t - before + i;
        values[i] = at >= 0 && at < length ? load(row + at * channels + c) : Wide{};
      }
      transform(values, to + t * channels + c, tiles * channels);
    }
}

// Transformed input rows, each made once for all output rows of a plane that need it.
class InputRows {
 public:
  InputRows(const Sizes& s, const float* x)
      : s_(s), x_(x), length_(kPoints * s.tiles() * s.in_channels), rows_(kTaps * kSlots * length_) {}

  void begin_plane() { std::fill_n(held_, kTaps * kSlots, -1); }

  // Row h of plane d for tap `kd`, or null outside.
  const float* get(int64_t n, int kd, int64_t d, int64_t h) {
    if (d < 0 || d >= s_.depth || h < 0 || h >= s_.height) return nullptr;
    const int64_t slot = kd * kSlots + h % kSlots;
    float* row = rows_.data() + slot * length_;
    if (held_[slot] != h) {
      const float* from = x_ + ((n * s_.depth + d) * s_.height + h) * s_.width * s_.in_channels;
      transform_row<kPoints>(from, s_.width, s_.in_channels, s_.tiles(), 1, row, transform_inputs);
      held_[slot] = h;
    }
    return row;
  }

 private:
  static constexpr int kSlots = 4;  // at least as many rows as taps
  const Sizes& s_;
  const float* x_;
  int64_t length_;
  std::vector<float> rows_;
  int64_t held_[kTaps * kSlots];
};

// The input rows of an output row, and where each one's part of the kernel begins.
struct Meeting {
  const float* row[kTaps * kTaps];
  int64_t kernel[kTaps * kTaps];
  int count = 0;

  Meeting(const Sizes& s, InputRows& rows, int64_t n, int64_t d, int64_t h) {
    for (int kd = 0; kd < kTaps; ++kd)
      for (int kh = 0; kh < kTaps; ++kh) {
        const float* found = rows.get(n, kd, d + kd - 1, h + kh - 1);
        if (!found) continue;
        row[count] = found;
        kernel[count++] = (kd * kTaps + kh) * s.of_taps();
      }
  }
};

// Add the products of one point for some tiles: kWide * wides of their channels.
template <int tiles, int wides, class Inputs>
inline void add_tiles(float* y, const float* const* rows, const float* kernel, const int64_t* at, int count,
                      Inputs inputs, int64_t outputs) {
  Wide sums[tiles][wides];
  for (int t = 0; t < tiles; ++t)
    for (int k = 0; k < wides; ++k) sums[t][k] = load(y + t * outputs + k * kWide);
  for (int r = 0; r < count; ++r) {
    const float *x = rows[r], *w = kernel + at[r];
    for (int64_t i = 0; i < inputs; ++i, w += outputs) {
      Wide weights[wides];
      for (int k = 0; k < wides; ++k) weights[k] = load(w + k * kWide);
#pragma GCC unroll 8
      for (int t = 0; t < tiles; ++t) {
        const float value = x[t * inputs + i];
        for (int k = 0; k < wides; ++k) sums[t][k] += value * weights[k];
      }
    }
  }
  for (int t = 0; t < tiles; ++t)
    for (int k = 0; k < wides; ++k) store(y + t * outputs + k * kWide, sums[t][k]);
}

template <int wides, class Inputs>
void add_row(float* y, int64_t tiles, const float* const* rows, const float* kernel, const int64_t* at, int count,
             Inputs inputs, int64_t outputs) {
  constexpr int most = kSums / wides;
  const float* shifted[kTaps * kTaps];
  int64_t t = 0;
  const auto add = [&](auto some) {
    for (int r = 0; r < count; ++r) shifted[r] = rows[r] + t * inputs;
    add_tiles<some, wides>(y + t * outputs, shifted, kernel, at, count, inputs, outputs);
    t += some;
  };
  while (t + most <= tiles) add(Constant<most>{});
  while (t + 2 <= tiles) add(Constant<2>{});
  while (t < tiles) add(Constant<1>{});
}

// Call `each` with the number of channels, where possible as a constant.
template <class Each>
inline void as_constant(int64_t channels, Each each) {
  if (channels == 8) each(Constant<8>{});
  else if (channels == 16) each(Constant<16>{});
  else if (channels == 32) each(Constant<32>{});
  else each(channels);
}

// Call `each(first, wides)` for all channels.
template <class Each>
inline void in_wides(int64_t channels, Each each) {
  int64_t c = 0;
  for (; c + 2 * kWide <= channels; c += 2 * kWide) each(c, Constant<2>{});
  if (c < channels) each(c, Constant<1>{});
}

void convolve(const Sizes& s, const float* x, const float* kernel, float* y, int threads) {
  const int64_t tiles = s.tiles(), outputs = s.out_channels, apart = tiles * outputs;
  // A larger kernel is read once per input row, not once per few tiles.
  const int at_once = s.of_point() <= kSmall ? kTaps * kTaps : 1;
#pragma omp parallel num_threads(threads) if (threads > 1)
  {
    InputRows rows(s, x);
    std::vector<float> products(kPoints * apart);
#pragma omp for collapse(2) schedule(static)
    for (int64_t n = 0; n < s.n; ++n)
      for (int64_t d = 0; d < s.depth; ++d) {
        rows.begin_plane();
        for (int64_t h = 0; h < s.height; ++h) {
          std::fill(products.begin(), products.end(), 0.0f);
          const Meeting met(s, rows, n, d, h);
          for (int point = 0; point < kPoints; ++point) {
            const float* row[kTaps * kTaps];
            for (int r = 0; r < met.count; ++r) row[r] = met.row[r] + point * tiles * s.in_channels;
            for (int r = 0; r < met.count; r += at_once) {
              const int count = std::min(at_once, met.count - r);
              in_wides(outputs, [&](int64_t c, auto wides) {
                as_constant(s.in_channels, [&](auto inputs) {
                  add_row<wides>(products.data() + point * apart + c, tiles, row + r,
                                 kernel + point * s.of_point() + c, met.kernel + r, count, inputs, outputs);
                });
              });
            }
          }
          float* to = y + ((n * s.depth + d) * s.height + h) * s.width * outputs;
          for (int64_t t = 0; t < tiles; ++t)
            for (int64_t c = 0; c < outputs; c += kWide) {
              Wide m[kPoints], out[kTile];
              for (int point = 0; point < kPoints; ++point)
                m[point] = load(products.data() + point * apart + t * outputs + c);
              transform_products(m, out);
              for (int64_t i = 0; i < std::min<int64_t>(kTile, s.width - kTile * t); ++i)
                store(to + (kTile * t + i) * outputs + c, out[i]);
            }
        }
      }
  }
}

// Add the products of a row of some input channels and kWide * wides output channels.
template <int inputs, int wides>
inline void add_products(float* to, const float* x, const float* g, int64_t tiles, int64_t step, int64_t outputs) {
  Wide sums[inputs][wides];
  for (int i = 0; i < inputs; ++i)
    for (int k = 0; k < wides; ++k) sums[i][k] = load(to + i * outputs + k * kWide);
  for (int64_t t = 0; t < tiles; ++t, x += step, g += outputs) {
    Wide grads[wides];
    for (int k = 0; k < wides; ++k) grads[k] = load(g + k * kWide);
#pragma GCC unroll 8
    for (int i = 0; i < inputs; ++i)
      for (int k = 0; k < wides; ++k) sums[i][k] += x[i] * grads[k];
  }
  for (int i = 0; i < inputs; ++i)
    for (int k = 0; k < wides; ++k) store(to + i * outputs + k * kWide, sums[i][k]);
}

void kernel_gradient(const Sizes& s, const float* x, const float* g, float* to, int threads) {
  const int64_t planes = s.n * s.depth, parts = std::min<int64_t>(kParts, planes);
  const int64_t tiles = s.tiles(), outputs = s.out_channels, size = kPoints * s.of_point();
  std::vector<float> partials(parts * size);
#pragma omp parallel for schedule(static) num_threads(threads) if (threads > 1)
  for (int64_t part = 0; part < parts; ++part) {
    InputRows rows(s, x);
    std::vector<float> gradients(kPoints * tiles * outputs);
    float* sums = partials.data() + part * size;
    for (int64_t plane = part * planes / parts; plane < (part + 1) * planes / parts; ++plane) {
      rows.begin_plane();
      for (int64_t h = 0; h < s.height; ++h) {
        transform_row<kTile>(g + (plane * s.height + h) * s.width * outputs, s.width, outputs, tiles, 0,
                             gradients.data(), transform_gradients);
        const Meeting met(s, rows, plane / s.depth, plane % s.depth, h);
        for (int point = 0; point < kPoints; ++point)
          for (int r = 0; r < met.count; ++r) {
            const float* row = met.row[r] + point * tiles * s.in_channels;
            float* sum = sums + point * s.of_point() + met.kernel[r];
            in_wides(outputs, [&](int64_t c, auto wides) {
              constexpr int most = kSums / wides;
              for (int64_t i = 0; i < s.in_channels; i += most)
                add_products<most, wides>(sum + i * outputs + c, row + i,
                                          gradients.data() + point * tiles * outputs + c, tiles, s.in_channels,
                                          outputs);
            });
          }
      }
    }
  }
  for (int64_t i = 0; i < size; ++i) {
    double total = 0.0;
    for (int64_t part = 0; part < parts; ++part) total += partials[part * size + i];
    to[i] = static_cast<float>(total);
  }
}

Sizes sizes_of(const int64_t* v) {
  return {v[0], v[1], v[2], v[3], v[4], v[5]};
}

}  // namespace

extern "C" {

// Whether these convolutions are faster than PyTorch's on this processor: measured on one with AVX2 alone.
int voxflate_winograd_pays() {
#if defined(__AVX2__) && defined(__FMA__) && !defined(__AVX512F__)
  return 1;
#else
  return 0;
#endif
}

// y [N, D, H, W, O] from x [N, D, H, W, C] and a transformed kernel. sizes: as in `Sizes`.
void voxflate_winograd(const float* x, const float* kernel, float* y, const int64_t* sizes, int /*narrow*/, int threads) {
  convolve(sizes_of(sizes), x, kernel, y, threads);
}

// Gradient of the same: of the transformed kernel, from g [N, D, H, W, O].
void voxflate_winograd_kernel(const float* x, const float* g, float* to, const int64_t* sizes, int /*narrow*/,
                              int threads) {
  kernel_gradient(sizes_of(sizes), x, g, to, threads);
}

}  // extern "C"
