// The passes over memory between two convolutions, each in one sweep. float32, channels innermost.
//
// Plain C++17 and OpenMP behind a C interface: no PyTorch headers, so that one build serves every version of
// PyTorch. The PyTorch operations next door (nn/resample.py, nn/epilogue.py) are the definition; a test holds
// these functions to them.
//
// N samples, C channels, spatial sizes D, H, W (images: D = 1). "Two branches": tensors of C/2 channels each,
// whose channels alternate in the joined tensor (channel shuffle).

#include <algorithm>
#include <cstdint>
#include <vector>

namespace {

constexpr float kSlope = 0.2f;  // of the leaky ReLU

// dst = sum of `count` rows times their weights.
inline void combine(float* __restrict dst, const float* const* rows, const float* w, int count, int64_t n) {
  const float *a = rows[0], *b = rows[1], *c = rows[2], *d = rows[3];
  switch (count) {
    case 0:
      std::fill(dst, dst + n, 0.0f);
      return;
    case 1:
      for (int64_t i = 0; i < n; ++i) dst[i] = w[0] * a[i];
      return;
    case 2:
      for (int64_t i = 0; i < n; ++i) dst[i] = w[0] * a[i] + w[1] * b[i];
      return;
    case 3:
      for (int64_t i = 0; i < n; ++i) dst[i] = w[0] * a[i] + w[1] * b[i] + w[2] * c[i];
      return;
    default:
      for (int64_t i = 0; i < n; ++i) dst[i] = w[0] * a[i] + w[1] * b[i] + w[2] * c[i] + w[3] * d[i];
  }
}

// joined[2i], joined[2i + 1] = a[i], b[i].
inline void interleave(float* __restrict joined, const float* __restrict a, const float* __restrict b, int64_t half) {
  for (int64_t i = 0; i < half; ++i) {
    joined[2 * i] = a[i];
    joined[2 * i + 1] = b[i];
  }
}

inline void deinterleave(const float* __restrict joined, float* __restrict a, float* __restrict b, int64_t half) {
  for (int64_t i = 0; i < half; ++i) {
    a[i] = joined[2 * i];
    b[i] = joined[2 * i + 1];
  }
}

// One axis of a resampling: every output sample is a sum of up to four input samples.
struct Axis {
  int64_t in, out;
  const int32_t* index;  // [out, 4]
  const float* weight;   // [out, 4]; zeros at the end
  bool identity;

  int taps(int64_t o, const float* base, int64_t stride, const float** rows) const {
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

  // In place on the W voxels of one row.
  void apply(float* row, int64_t n, int64_t first_voxel, int64_t width, int64_t channels) const {
    if (!scale) return;
    const float* s = scale + n * channels;
    for (int64_t w = 0; w < width; ++w) {
      const float extra = noise ? noise[first_voxel + w] * noise_gain : 0.0f;
      float* __restrict voxel = row + w * channels;
      for (int64_t c = 0; c < channels; ++c) {
        const float value = voxel[c] * s[c] + (shift[c] + extra);
        voxel[c] = value > 0.0f ? value : value * kSlope;
      }
    }
  }
};

// Visit all voxels in blocks; `visit(n, first, last, partial)` adds to `width` sums. The blocks' sums are added in
// order, so that the result does not depend on the number of threads.
template <class Visit>
void sum_over_voxels(int64_t samples, int64_t voxels, int64_t width, float* sums, int threads, Visit visit) {
  const int64_t block = 256, blocks = (voxels + block - 1) / block;
  std::vector<float> partials(samples * blocks * width, 0.0f);
#pragma omp parallel for collapse(2) schedule(static) num_threads(threads) if (threads > 1)
  for (int64_t n = 0; n < samples; ++n)
    for (int64_t k = 0; k < blocks; ++k)
      visit(n, k * block, std::min(voxels, (k + 1) * block), partials.data() + (n * blocks + k) * width);
  for (int64_t n = 0; n < samples; ++n)
    for (int64_t i = 0; i < width; ++i) {
      double total = 0.0;
      for (int64_t k = 0; k < blocks; ++k) total += partials[(n * blocks + k) * width + i];
      sums[n * width + i] = static_cast<float>(total);
    }
}

}  // namespace

extern "C" {

// Join branches, resample every axis, apply the epilogue leaky_relu(scale x + noise + shift), split branches.
// a, b: input, b null for one branch. oa, ob: output, likewise. sizes: N, C, D, H, W in, D, H, W out.
// index, weight: the tables of D, H and W one after the other; a flag per axis says that it stays as it is.
void voxflate_resample(const float* a, const float* b, float* oa, float* ob, const int64_t* sizes,
                       const int32_t* index, const float* weight, const int32_t* identity, const float* scale,
                       const float* shift, const float* noise, float noise_gain, int threads) {
  const int64_t samples = sizes[0], channels = sizes[1];
  const Axis depth{sizes[2], sizes[5], index, weight, identity[0] != 0};
  const Axis height{sizes[3], sizes[6], depth.index + 4 * depth.out, depth.weight + 4 * depth.out, identity[1] != 0};
  const Axis width{sizes[4], sizes[7], height.index + 4 * height.out, height.weight + 4 * height.out, identity[2] != 0};
  const Epilogue epilogue{scale, shift, noise, noise_gain};
  const int64_t row_in = width.in * channels, row_out = width.out * channels, plane_in = height.in * row_in;
  const bool joins = b != nullptr, splits = ob != nullptr, still = depth.identity && height.identity;
  const int64_t half_row_in = row_in / 2, half_plane_in = plane_in / 2;

#pragma omp parallel num_threads(threads) if (threads > 1)
  {
    std::vector<float> plane(still ? 0 : plane_in), row(row_in), done(row_out);
    const float* rows[4];
#pragma omp for collapse(2) schedule(static)
    for (int64_t n = 0; n < samples; ++n) {
      for (int64_t d = 0; d < depth.out; ++d) {
        const float* source = joins ? nullptr : a + n * depth.in * plane_in;
        const float* current = nullptr;  // the plane that the height filter reads
        if (!still) {
          const float* w = depth.weight + 4 * d;
          if (joins) {
            const float *rows_b[4], *base_a = a + n * depth.in * half_plane_in, *base_b = b + n * depth.in * half_plane_in;
            const int count = depth.taps(d, base_a, half_plane_in, rows);
            depth.taps(d, base_b, half_plane_in, rows_b);
            // Row by row, so that the branches' sums are still in the cache when they are joined.
            std::vector<float>& sums = row;  // two halves of one row
            for (int64_t h = 0; h < height.in; ++h) {
              const float *at_a[4], *at_b[4];
              for (int k = 0; k < 4; ++k) {
                at_a[k] = rows[k] + h * half_row_in;
                at_b[k] = rows_b[k] + h * half_row_in;
              }
              combine(sums.data(), at_a, w, count, half_row_in);
              combine(sums.data() + half_row_in, at_b, w, count, half_row_in);
              interleave(plane.data() + h * row_in, sums.data(), sums.data() + half_row_in, half_row_in);
            }
            current = plane.data();
          } else if (depth.identity) {
            current = source + d * plane_in;
          } else {
            const int count = depth.taps(d, source, plane_in, rows);
            combine(plane.data(), rows, w, count, plane_in);
            current = plane.data();
          }
        }
        for (int64_t h = 0; h < height.out; ++h) {
          const float* line;
          if (!still && !height.identity) {
            const int count = height.taps(h, current, row_in, rows);
            combine(row.data(), rows, height.weight + 4 * h, count, row_in);
            line = row.data();
          } else if (!still) {
            line = current + h * row_in;
          } else if (joins) {
            const int64_t at = ((n * depth.in + d) * height.in + h) * half_row_in;
            interleave(row.data(), a + at, b + at, half_row_in);
            line = row.data();
          } else {
            line = source + (d * height.in + h) * row_in;
          }
          const int64_t first_voxel = ((n * depth.out + d) * height.out + h) * width.out;
          float* target = splits ? done.data() : oa + first_voxel * channels;
          if (width.identity) {
            std::copy(line, line + row_out, target);
          } else {
            for (int64_t x = 0; x < width.out; ++x) {
              const int count = width.taps(x, line, channels, rows);
              combine(target + x * channels, rows, width.weight + 4 * x, count, channels);
            }
          }
          epilogue.apply(target, n, first_voxel, width.out, channels);
          if (splits) {
            const int64_t at = first_voxel * channels / 2;
            deinterleave(target, oa + at, ob + at, row_out / 2);
          }
        }
      }
    }
  }
}

// Gradient of the epilogue. grad, out: [N, S, C]; noise: [N, S] or null. ga, gb: gradient in front of the scale,
// gb null for one branch. sums: [N, 3, C], of g, of g times the value before the leaky ReLU, of g times noise.
void voxflate_epilogue_backward(const float* grad, const float* out, const float* noise, const float* scale, float* ga,
                                float* gb, float* sums, int64_t samples, int64_t voxels, int64_t channels,
                                int threads) {
  sum_over_voxels(samples, voxels, 3 * channels, sums, threads, [=](int64_t n, int64_t v, int64_t last, float* sum) {
    std::vector<float> joined(gb ? channels : 0);
    const float* __restrict s = scale + n * channels;
    float *__restrict sum_g = sum, *__restrict sum_gp = sum + channels, *__restrict sum_gn = sum + 2 * channels;
    for (; v < last; ++v) {
      const int64_t at = (n * voxels + v) * channels;
      const float *__restrict dy = grad + at, *__restrict y = out + at;
      const float z = noise ? noise[n * voxels + v] : 0.0f;
      float* __restrict target = gb ? joined.data() : ga + at;
      for (int64_t c = 0; c < channels; ++c) {
        const float slope = y[c] > 0.0f ? 1.0f : kSlope, undo = y[c] > 0.0f ? 1.0f : 1.0f / kSlope;
        const float g = dy[c] * slope;
        sum_g[c] += g;
        sum_gp[c] += g * (y[c] * undo);
        sum_gn[c] += g * z;
        target[c] = g * s[c];
      }
      if (gb) deinterleave(target, ga + at / 2, gb + at / 2, channels / 2);
    }
  });
}

// Scale channels and cut them into two halves: oa, ob = (x s)[.., :C/2], (x s)[.., C/2:]; s null: 1; ob null: uncut.
void voxflate_modulate(const float* x, const float* s, float* oa, float* ob, int64_t samples, int64_t voxels,
                       int64_t channels, int threads) {
  const int64_t cut = ob ? channels / 2 : channels, rest = channels - cut;
  const std::vector<float> ones(s ? 0 : channels, 1.0f);
#pragma omp parallel for collapse(2) schedule(static) num_threads(threads) if (threads > 1)
  for (int64_t n = 0; n < samples; ++n) {
    for (int64_t v = 0; v < voxels; ++v) {
      const float* __restrict scale = s ? s + n * channels : ones.data();
      const int64_t voxel = n * voxels + v;
      const float* __restrict from = x + voxel * channels;
      float* __restrict to = oa + voxel * cut;
      for (int64_t c = 0; c < cut; ++c) to[c] = from[c] * scale[c];
      if (!ob) continue;
      float* __restrict second = ob + voxel * rest;
      for (int64_t c = 0; c < rest; ++c) second[c] = from[cut + c] * scale[cut + c];
    }
  }
}

// Gradient of the same: gx [N, S, C], and sums [N, C] of g x unless s is null.
void voxflate_modulate_backward(const float* ga, const float* gb, const float* x, const float* s, float* gx,
                                float* sums, int64_t samples, int64_t voxels, int64_t channels, int threads) {
  const int64_t cut = gb ? channels / 2 : channels, rest = channels - cut;
  const std::vector<float> ones(s ? 0 : channels, 1.0f);
  const float* unscaled = ones.data();
  sum_over_voxels(samples, voxels, s ? channels : 0, sums, threads, [=](int64_t n, int64_t v, int64_t last, float* sum) {
    const float* __restrict scale = s ? s + n * channels : unscaled;
    for (; v < last; ++v) {
      const int64_t voxel = n * voxels + v;
      const float *__restrict first = ga + voxel * cut, *__restrict second = gb ? gb + voxel * rest : nullptr;
      float* __restrict to = gx + voxel * channels;
      if (s) {
        const float* __restrict from = x + voxel * channels;
        for (int64_t c = 0; c < cut; ++c) sum[c] += first[c] * from[c];
        for (int64_t c = 0; c < rest; ++c) sum[cut + c] += second[c] * from[cut + c];
      }
      for (int64_t c = 0; c < cut; ++c) to[c] = first[c] * scale[c];
      for (int64_t c = 0; c < rest; ++c) to[cut + c] = second[c] * scale[cut + c];
    }
  });
}

// Weighted sum over the channels: y[n, v] = sum_c w[n, c] x[n, v, c].
void voxflate_to_image(const float* x, const float* w, float* y, int64_t samples, int64_t voxels, int64_t channels,
                       int threads) {
#pragma omp parallel for collapse(2) schedule(static) num_threads(threads) if (threads > 1)
  for (int64_t n = 0; n < samples; ++n) {
    for (int64_t v = 0; v < voxels; ++v) {
      const float *from = x + (n * voxels + v) * channels, *weight = w + n * channels;
      float sum = 0.0f;
#pragma omp simd reduction(+ : sum)
      for (int64_t c = 0; c < channels; ++c) sum += from[c] * weight[c];
      y[n * voxels + v] = sum;
    }
  }
}

// Gradient of the same: gx[n, v, c] = g[n, v] w[n, c], and sums [N, C] of g x.
void voxflate_to_image_backward(const float* g, const float* x, const float* w, float* gx, float* sums,
                                int64_t samples, int64_t voxels, int64_t channels, int threads) {
  sum_over_voxels(samples, voxels, channels, sums, threads, [=](int64_t n, int64_t v, int64_t last, float* sum) {
    const float* __restrict weight = w + n * channels;
    for (; v < last; ++v) {
      const int64_t voxel = n * voxels + v;
      const float* __restrict from = x + voxel * channels;
      float* __restrict to = gx + voxel * channels;
      const float value = g[voxel];
      for (int64_t c = 0; c < channels; ++c) {
        sum[c] += value * from[c];
        to[c] = value * weight[c];
      }
    }
  });
}

}  // extern "C"
