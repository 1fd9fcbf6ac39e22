// The passes over memory between two convolutions, each in one sweep. Channels innermost. Features (type T) are
// float32 or bfloat16; whatever is small (scales, noise, sums, images) and all arithmetic is float32.
//
// Plain C++17 and OpenMP behind a C interface: no PyTorch headers, so that one build serves every version of
// PyTorch. The PyTorch operations next door (nn/resample.py, nn/epilogue.py) are the definition; a test holds
// these functions to them.
//
// N samples, C channels, spatial sizes D, H, W (images: D = 1). "Two branches": tensors of C/2 channels each,
// whose channels alternate in the joined tensor (channel shuffle).

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <memory>
#include <type_traits>
#include <vector>

namespace {

constexpr float kSlope = 0.2f;  // of the leaky ReLU
constexpr int64_t kBlock = 256;  // voxels that one thread does at a time
constexpr int kLanes = 16;

// Sixteen channels at once. GCC and Clang lower these types to what the processor has.
typedef float Lanes __attribute__((vector_size(4 * kLanes)));
typedef uint32_t Words __attribute__((vector_size(4 * kLanes)));
typedef uint16_t Halfwords __attribute__((vector_size(2 * kLanes)));

struct bfloat16 {
  uint16_t bits;
};

// Rounded to the nearest, ties to even, as PyTorch does; what is no number stays none.
inline Halfwords narrowed(Lanes value) {
  const Words bits = reinterpret_cast<Words>(value);
  const Words rounded = (bits + 0x7fffu + ((bits >> 16) & 1u)) >> 16;
  const Words none = reinterpret_cast<Words>(value != value);
  return __builtin_convertvector((rounded & ~none) | (0x7fc0u & none), Halfwords);
}

inline Lanes widened(Halfwords value) {
  const Words bits = __builtin_convertvector(value, Words) << 16;
  return reinterpret_cast<Lanes>(bits);
}

// `count` is kLanes, or fewer at the end of the channels; where it can be, an integral_constant.
template <class Count>
inline Lanes load(const float* from, Count count) {
  Lanes value = {};
  std::memcpy(&value, from, 4 * count);
  return value;
}

template <class Count>
inline Lanes load(const bfloat16* from, Count count) {
  Halfwords value = {};
  std::memcpy(&value, from, 2 * count);
  return widened(value);
}

template <class Count>
inline void store(float* to, Lanes value, Count count) {
  std::memcpy(to, &value, 4 * count);
}

template <class Count>
inline void store(bfloat16* to, Lanes value, Count count) {
  const Halfwords narrow = narrowed(value);
  std::memcpy(to, &narrow, 2 * count);
}

// Call `each(first, count)` for every sixteen of n values.
template <class Each>
inline void in_lanes(int64_t n, Each each) {
  int64_t i = 0;
  for (; i + kLanes <= n; i += kLanes) each(i, std::integral_constant<int, kLanes>{});
  if (i + kLanes / 2 <= n) {  // half of 16 channels
    each(i, std::integral_constant<int, kLanes / 2>{});
    i += kLanes / 2;
  }
  if (i < n) each(i, static_cast<int>(n - i));
}

inline Lanes leaky(Lanes value) { return value > 0.0f ? value : value * kSlope; }

// Sum of `taps` rows times their weights, at i.
template <class T, class Count>
inline Lanes combined(const T* const* rows, const float* w, int taps, int64_t i, Count count) {
  switch (taps) {
    case 0:
      return Lanes{};
    case 1:
      return w[0] * load(rows[0] + i, count);
    case 2:
      return w[0] * load(rows[0] + i, count) + w[1] * load(rows[1] + i, count);
    case 3:
      return w[0] * load(rows[0] + i, count) + w[1] * load(rows[1] + i, count) + w[2] * load(rows[2] + i, count);
    default:
      return w[0] * load(rows[0] + i, count) + w[1] * load(rows[1] + i, count) + w[2] * load(rows[2] + i, count) +
             w[3] * load(rows[3] + i, count);
  }
}

template <class T>
inline void combine(float* to, const T* const* rows, const float* w, int taps, int64_t n) {
  in_lanes(n, [=](int64_t i, auto count) { store(to + i, combined(rows, w, taps, i, count), count); });
}

inline void put(float& to, float value) { to = value; }
inline void put(bfloat16& to, float value) {
  const Lanes one = {value};
  to.bits = narrowed(one)[0];
}

inline float get(float value) { return value; }
inline float get(bfloat16 value) {
  const uint32_t bits = static_cast<uint32_t>(value.bits) << 16;
  float wide;
  std::memcpy(&wide, &bits, sizeof wide);
  return wide;
}

// joined[2i], joined[2i + 1] = a[i], b[i].
template <class T>
inline void interleave(float* __restrict joined, const T* __restrict a, const T* __restrict b, int64_t half) {
  for (int64_t i = 0; i < half; ++i) {
    joined[2 * i] = get(a[i]);
    joined[2 * i + 1] = get(b[i]);
  }
}

inline void deinterleave(const float* __restrict joined, float* __restrict a, float* __restrict b, int64_t half) {
  for (int64_t i = 0; i < half; ++i) {
    a[i] = joined[2 * i];
    b[i] = joined[2 * i + 1];
  }
}

// Two neighbours are the low and the high half of a word.
inline void deinterleave(const bfloat16* __restrict joined, bfloat16* __restrict a, bfloat16* __restrict b,
                         int64_t half) {
  in_lanes(half, [=](int64_t i, auto count) {
    Words pairs = {};
    std::memcpy(&pairs, joined + 2 * i, 4 * count);
    const Halfwords low = __builtin_convertvector(pairs & 0xffffu, Halfwords);
    const Halfwords high = __builtin_convertvector(pairs >> 16, Halfwords);
    std::memcpy(a + i, &low, 2 * count);
    std::memcpy(b + i, &high, 2 * count);
  });
}

// One axis of a resampling: every output sample is a sum of up to four input samples.
struct Axis {
  int64_t in, out;
  const int32_t* index;  // [out, 4]
  const float* weight;   // [out, 4]; zeros at the end
  bool identity;

  template <class T>
  int taps(int64_t o, const T* base, int64_t stride, const T** rows) const {
    int count = 0;
    for (int k = 0; k < 4; ++k) {
      rows[k] = base;
      if (weight[4 * o + k] != 0.0f) rows[count++] = base + index[4 * o + k] * stride;
    }
    return count;
  }
};

struct Epilogue {
  const float* scale;  // [N, C]; null: no epilogue
  const float* shift;  // [C]
  const float* noise;  // [N, D, H, W] or null
  float noise_gain;
};

// Added to what a resampling gives: [N, D', H', W', C], or the two halves of its channels. Null: nothing.
template <class T>
struct Addend {
  const T* parts[2];

  // Of one voxel, from channel c of part k on.
  template <class Count>
  Lanes at(int k, int64_t voxel, int64_t width, int64_t c, Count count) const {
    return load(parts[k] + voxel * width + c, count);
  }
};

// Visit all voxels in blocks: visit(n, first, last).
template <class Visit>
void over_voxels(int64_t samples, int64_t voxels, int threads, Visit visit) {
  const int64_t blocks = (voxels + kBlock - 1) / kBlock;
#pragma omp parallel for collapse(2) schedule(static) num_threads(threads) if (threads > 1)
  for (int64_t n = 0; n < samples; ++n)
    for (int64_t k = 0; k < blocks; ++k) visit(n, k * kBlock, std::min(voxels, (k + 1) * kBlock));
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

// Join branches, resample every axis, apply the epilogue leaky_relu(scale x + noise + shift), add, split branches.
template <class T>
void resample(const T* a, const T* b, T* oa, T* ob, const int64_t* sizes, const int32_t* index, const float* weight,
              const int32_t* identity, const Epilogue& epilogue, const Addend<T>& addend, int threads) {
  const int64_t samples = sizes[0], channels = sizes[1];
  const int64_t part = addend.parts[1] ? channels / 2 : channels;
  const Axis depth{sizes[2], sizes[5], index, weight, identity[0] != 0};
  const Axis height{sizes[3], sizes[6], depth.index + 4 * depth.out, depth.weight + 4 * depth.out, identity[1] != 0};
  const Axis width{sizes[4], sizes[7], height.index + 4 * height.out, height.weight + 4 * height.out, identity[2] != 0};
  const int64_t row_in = width.in * channels, row_out = width.out * channels, plane_in = height.in * row_in;
  const bool joins = b != nullptr, splits = ob != nullptr, still = depth.identity && height.identity;
  const int64_t half_row_in = row_in / 2, half_plane_in = plane_in / 2;

#pragma omp parallel num_threads(threads) if (threads > 1)
  {
    std::vector<float> plane(still ? 0 : plane_in), row(row_in);
    std::vector<T> joined(splits ? row_out : 0);

    // Width filter, epilogue and store of one row.
    const auto finish_row = [&](const auto* line, int64_t n, int64_t first_voxel) {
      T* target = splits ? joined.data() : oa + first_voxel * channels;
      std::decay_t<decltype(line)> rows[4];
      const float* scale = epilogue.scale ? epilogue.scale + n * channels : nullptr;
      for (int64_t x = 0; x < width.out; ++x) {
        const float extra = epilogue.noise ? epilogue.noise[first_voxel + x] * epilogue.noise_gain : 0.0f;
        const int taps = width.identity ? 0 : width.taps(x, line, channels, rows);
        const float* w = width.weight + 4 * x;
        for (int k = 0; k * part < channels; ++k) {
          in_lanes(part, [&](int64_t i, auto count) {
            const int64_t c = k * part + i;
            Lanes value = width.identity ? load(line + x * channels + c, count) : combined(rows, w, taps, c, count);
            if (epilogue.scale) value = leaky(value * load(scale + c, count) + (load(epilogue.shift + c, count) + extra));
            if (addend.parts[0]) value += addend.at(k, first_voxel + x, part, i, count);
            store(target + x * channels + c, value, count);
          });
        }
      }
      if (splits) {
        const int64_t at = first_voxel * channels / 2;
        deinterleave(target, oa + at, ob + at, row_out / 2);
      }
    };
    // All rows of a plane [height.in, width.in, channels].
    const auto finish_plane = [&](const auto* current, int64_t n, int64_t d) {
      std::decay_t<decltype(current)> rows[4];
      for (int64_t h = 0; h < height.out; ++h) {
        const int64_t first_voxel = ((n * depth.out + d) * height.out + h) * width.out;
        if (height.identity) {
          finish_row(current + h * row_in, n, first_voxel);
        } else {
          const int taps = height.taps(h, current, row_in, rows);
          combine(row.data(), rows, height.weight + 4 * h, taps, row_in);
          finish_row(static_cast<const float*>(row.data()), n, first_voxel);
        }
      }
    };

#pragma omp for collapse(2) schedule(static)
    for (int64_t n = 0; n < samples; ++n) {
      for (int64_t d = 0; d < depth.out; ++d) {
        const T* source = joins ? nullptr : a + n * depth.in * plane_in;
        const float* w = depth.weight + 4 * d;
        const T* rows[4];
        if (still && joins) {
          for (int64_t h = 0; h < height.out; ++h) {
            const int64_t line = (n * depth.in + d) * height.in + h, at = line * half_row_in;
            interleave(row.data(), a + at, b + at, half_row_in);
            finish_row(static_cast<const float*>(row.data()), n, line * width.out);
          }
        } else if (joins) {
          const T *rows_b[4], *base_a = a + n * depth.in * half_plane_in, *base_b = b + n * depth.in * half_plane_in;
          const int taps = depth.taps(d, base_a, half_plane_in, rows);
          depth.taps(d, base_b, half_plane_in, rows_b);
          // Row by row, so that the branches' sums are still in the cache when they are joined.
          float* sums = row.data();  // two halves of one row
          for (int64_t h = 0; h < height.in; ++h) {
            const T *at_a[4], *at_b[4];
            for (int k = 0; k < 4; ++k) {
              at_a[k] = rows[k] + h * half_row_in;
              at_b[k] = rows_b[k] + h * half_row_in;
            }
            combine(sums, at_a, w, taps, half_row_in);
            combine(sums + half_row_in, at_b, w, taps, half_row_in);
            interleave(plane.data() + h * row_in, sums, sums + half_row_in, half_row_in);
          }
          finish_plane(static_cast<const float*>(plane.data()), n, d);
        } else if (depth.identity) {
          finish_plane(source + d * plane_in, n, d);
        } else {
          const int taps = depth.taps(d, source, plane_in, rows);
          combine(plane.data(), rows, w, taps, plane_in);
          finish_plane(static_cast<const float*>(plane.data()), n, d);
        }
      }
    }
  }
}

template <class T>
void epilogue_backward(const T* grad, const T* out, const float* noise, const float* scale, T* ga, T* gb, float* sums,
                       int64_t samples, int64_t voxels, int64_t channels, int threads) {
  sum_over_voxels(samples, voxels, 3 * channels, sums, threads, [=](int64_t n, int64_t v, int64_t last, float* sum) {
    const std::unique_ptr<T[]> joined(gb ? new T[kBlock * channels] : nullptr);
    T* target = gb ? joined.get() : ga + (n * voxels + v) * channels;
    in_lanes(channels, [&](int64_t c, auto count) {
      const Lanes s = load(scale + n * channels + c, count);
      Lanes sum_g = {}, sum_gp = {}, sum_gn = {};
      for (int64_t i = v; i < last; ++i) {
        const int64_t at = (n * voxels + i) * channels + c;
        const Lanes value = load(out + at, count), dy = load(grad + at, count);
        const Lanes g = value > 0.0f ? dy : dy * kSlope;
        sum_g += g;
        sum_gp += g * (value > 0.0f ? value : value * (1.0f / kSlope));
        if (noise) sum_gn += g * noise[n * voxels + i];
        store(target + (i - v) * channels + c, g * s, count);
      }
      store(sum + c, sum_g, count);
      store(sum + channels + c, sum_gp, count);
      store(sum + 2 * channels + c, sum_gn, count);
    });
    const int64_t half = (n * voxels + v) * channels / 2;
    if (gb) deinterleave(target, ga + half, gb + half, (last - v) * channels / 2);
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
          store(to + voxel * cut + c, s ? value * load(s + n * channels + skipped + c, count) : value, count);
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
          store(gx + voxel * channels + at, value, count);
        }
        if (s) store(sum + at, total, count);
      });
    };
    scaled(ga, 0);
    if (gb) scaled(gb, cut);
  });
}

// What a discriminator starts with: leaky_relu(w x + b) of an image of one channel.
template <class T>
void from_image(const float* x, const float* w, const float* b, T* out, int64_t samples, int64_t voxels,
                int64_t channels, int threads) {
  over_voxels(samples, voxels, threads, [=](int64_t n, int64_t v, int64_t last) {
    for (int64_t voxel = n * voxels + v; voxel < n * voxels + last; ++voxel) {
      in_lanes(channels, [&](int64_t c, auto count) {
        store(out + voxel * channels + c, leaky(x[voxel] * load(w + c, count) + load(b + c, count)), count);
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
        const Lanes g = load(out + at, count) > 0.0f ? dy : dy * kSlope;
        sum_gx += g * x[voxel];
        sum_g += g;
        if (gx) products[i - v] += g * weight;
      }
      store(sum + c, sum_gx, count);
      store(sum + channels + c, sum_g, count);
    });
    if (!gx) return;
    for (int64_t i = v; i < last; ++i) {
      float total = 0.0f;
      for (int k = 0; k < kLanes; ++k) total += products[i - v][k];
      gx[n * voxels + i] = total;
    }
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
      float sum = 0.0f;
      for (int i = 0; i < kLanes; ++i) sum += products[i];
      y[voxel] = sum;
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
        store(gx + voxel * channels + c, weight * g[voxel], count);
      }
      store(sum + c, total, count);
    });
  });
}

}  // namespace

// What Python calls. `void*` is features: bfloat16 if `narrow`, else float32.
#define VOXFLATE_BY_TYPE(call)  \
  if (narrow) {                 \
    using T = bfloat16;         \
    call;                       \
  } else {                      \
    using T = float;            \
    call;                       \
  }

extern "C" {

// a, b: input, b null for one branch. oa, ob: output, likewise. adda, addb: added to it before it is split, both
// halves of the channels, or addb null, or both. sizes: N, C, D, H, W in, D, H, W out.
// index, weight: the tables of D, H and W one after the other; a flag per axis says that it stays as it is.
void voxflate_resample(const void* a, const void* b, void* oa, void* ob, const void* adda, const void* addb,
                       const int64_t* sizes, const int32_t* index, const float* weight, const int32_t* identity,
                       const float* scale, const float* shift, const float* noise, float noise_gain, int narrow,
                       int threads) {
  const Epilogue epilogue{scale, shift, noise, noise_gain};
  VOXFLATE_BY_TYPE(resample(static_cast<const T*>(a), static_cast<const T*>(b), static_cast<T*>(oa), static_cast<T*>(ob),
                            sizes, index, weight, identity, epilogue,
                            Addend<T>{{static_cast<const T*>(adda), static_cast<const T*>(addb)}}, threads))
}

// Gradient of the epilogue. grad, out: [N, S, C]; noise: [N, S] or null. ga, gb: gradient in front of the scale,
// gb null for one branch. sums: [N, 3, C], of g, of g times the value before the leaky ReLU, of g times noise.
void voxflate_epilogue_backward(const void* grad, const void* out, const float* noise, const float* scale, void* ga,
                                void* gb, float* sums, int64_t samples, int64_t voxels, int64_t channels, int narrow,
                                int threads) {
  VOXFLATE_BY_TYPE(epilogue_backward(static_cast<const T*>(grad), static_cast<const T*>(out), noise, scale,
                                     static_cast<T*>(ga), static_cast<T*>(gb), sums, samples, voxels, channels, threads))
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
