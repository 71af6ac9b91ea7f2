// Batch norm from its kernels: over a range of channels, or over samples by a team.
//
// Channels are summed in blocks of samples, each from zero, added in order: whoever takes a block, the sums
// have the same bits.
#pragma once
#include <math.h>
#include <stdint.h>

#include "dispatch.hpp"
#include "loops/parallel.hpp"

namespace gradiometer {

// b's samples and channels of these ranges.
template <class T>
BatchNorm<T> part(const BatchNorm<T>& b, Range samples, Range channels) {
  const int64_t c = channels.begin;
  return {samples.size(),
          channels.size(),
          b.L,
          b.ld,
          b.x + samples.begin * b.ld + c * b.L,
          b.mean + c,
          b.var + c,
          b.eps,
          b.gamma ? b.gamma + c : nullptr,
          b.beta ? b.beta + c : nullptr};
}
// y, dy or dx at the start of these ranges; null stays null.
template <class T>
T* part(const BatchNorm<T>& b, Range samples, Range channels, T* p) {
  return p ? p + samples.begin * b.ld + channels.begin * b.L : nullptr;
}
template <class T>
const T* part(const BatchNorm<T>& b, Range samples, Range channels, const T* p) {
  return p ? p + samples.begin * b.ld + channels.begin * b.L : nullptr;
}
template <class T>
T* shifted(T* p, int64_t c) {
  return p ? p + c : nullptr;
}

// f(channels) for every block of them that the kernels take.
template <class F>
void for_channel_blocks(Range channels, F f) {
  for (int64_t c = channels.begin; c < channels.end; c += kBatchNormChannels)
    f(Range{c, channels.end - c < kBatchNormChannels ? channels.end : c + kBatchNormChannels});
}

// Samples of a block: 1024 values of a channel or more; of a matrix a 16th of the rows, 32 to 1024. L may be
// 0.
inline int64_t samples_a_block(int64_t N, int64_t L) {
  if (L > 1) return L < 1024 ? 1024 / L : 1;
  const int64_t rows = (N + 511) / 512 * 32;
  return rows < 32 ? 32 : rows < 1024 ? rows : 1024;
}

template <class T>
void sums_of_block(const Kernels<T>& k, const BatchNorm<T>& b, Range samples, Range channels,
                   const double* middle, const T* dy, bool far, double* sum, double* dot) {
  const BatchNorm<T> p = part(b, samples, channels);
  k.batch_norm_sums(p.N, p.C, p.L, p.ld, p.x, middle, part(b, samples, channels, dy), far, sum, dot);
}

inline void add_to(int64_t n, const double* a, double* to) {
  for (int64_t i = 0; i < n; i++) to[i] += a[i];
}

template <class T>
void sums_of_all(const Kernels<T>& k, const BatchNorm<T>& b, Range channels, const double* middle,
                 const T* dy, bool far, double* sum, double* dot) {
  const int64_t each = samples_a_block(b.N, b.L), C = channels.size();
  double block_sum[kBatchNormChannels], block_dot[kBatchNormChannels];
  for (int64_t n = 0; n == 0 || n < b.N; n += each) {
    const Range samples = {n, b.N - n < each ? b.N : n + each};
    if (n == 0) {
      sums_of_block(k, b, samples, channels, middle, dy, far, sum, dot);
      continue;
    }
    sums_of_block(k, b, samples, channels, middle, dy, far, block_sum, block_dot);
    add_to(C, block_sum, sum);
    add_to(C, block_dot, dot);
  }
}

// The first value of each channel; one that is not finite would turn a mean of inf into NaN.
template <class T>
void pivots(const BatchNorm<T>& b, Range channels, double* pivot) {
  for (int64_t c = channels.begin; c < channels.end; c++) {
    const double first = b.N > 0 ? static_cast<double>(b.x[c * b.L]) : 0;
    pivot[c - channels.begin] = isfinite(first) ? first : 0;
  }
}

template <class T>
double values_a_channel(const BatchNorm<T>& b) {
  return b.N > 0 ? static_cast<double>(b.N * b.L) : 1;
}

// Mean and biased variance over all samples of a block of channels, written to mean and var of that block.
template <class T>
void channel_statistics(const Kernels<T>& k, const BatchNorm<T>& b, Range block, bool far, double* mean,
                        double* var) {
  double sum[kBatchNormChannels], dot[kBatchNormChannels];
  pivots(b, block, mean);
  sums_of_all<T>(k, b, block, mean, nullptr, far, sum, dot);
  k.batch_norm_statistics(values_a_channel(b), block.size(), sum, dot, mean, var);
}

// Where the gradients of a batch norm go: dx, and dgamma and dbeta (C), each may be null.
template <class T>
struct BatchNormGradients {
  T *dx, *dgamma, *dbeta;
  bool accumulate;
};

// dx of `samples` and the parameters' gradients over all, of a range of channels; `constant`: mean and var
// are.
template <class T>
void batch_norm_backward(const Kernels<T>& k, const BatchNorm<T>& b, Range channels, bool constant,
                         const T* dy, const BatchNormGradients<T>& to, bool far) {
  for_channel_blocks(channels, [&](Range block) {
    const Range all = {0, b.N};
    double sum[kBatchNormChannels], dot[kBatchNormChannels];
    if ((to.dx && !constant) || to.dgamma || to.dbeta) {
      sums_of_all(k, b, block, b.mean + block.begin, dy, far, sum, dot);
      k.batch_norm_gradients(block.size(), b.var + block.begin, b.eps, sum, dot,
                             shifted(to.dgamma, block.begin), shifted(to.dbeta, block.begin), to.accumulate);
    }
    if (to.dx)
      k.batch_norm_backward(part(b, all, block), values_a_channel(b), part(b, all, block, dy),
                            constant ? nullptr : sum, constant ? nullptr : dot, part(b, all, block, to.dx),
                            far);
  });
}

// Few channels and many samples: the members of a team take blocks of samples.
struct SampleBlocks {
  int64_t N, each, C;
  int64_t count() const { return (N + each - 1) / each; }
  Range samples(Range blocks) const {
    return {blocks.begin * each < N ? blocks.begin * each : N, blocks.end * each < N ? blocks.end * each : N};
  }
  int64_t doubles() const { return 2 * C * (count() + 1); }  // of what sums_by_team writes
};

// Sums of all samples into sums[0..C) and dots sums[C..2 C), behind them those of each block. The team waits
// for its members.
template <class T>
void sums_by_team(const Kernels<T>& k, const BatchNorm<T>& b, const SampleBlocks& blocks, Team team,
                  const double* middle, const T* dy, bool far, double* sums) {
  const Range mine = team.share(blocks.count());
  for (int64_t i = mine.begin; i < mine.end; i++) {
    double* to = sums + 2 * b.C * (i + 1);
    for_channel_blocks({0, b.C}, [&](Range c) {
      sums_of_block(k, b, blocks.samples({i, i + 1}), c, middle + c.begin, dy, far, to + c.begin,
                    to + b.C + c.begin);
    });
  }
  team.barrier();
  const Range c = team.share(2 * b.C, 8);
  for (int64_t j = c.begin; j < c.end; j++) sums[j] = sums[2 * b.C + j];
  for (int64_t i = 1; i < blocks.count(); i++)
    add_to(c.size(), sums + 2 * b.C * (i + 1) + c.begin, sums + c.begin);
  team.barrier();
}

// new = (1 - momentum) old + momentum batch; the unbiased variance is stored.
template <class T>
void update_running(int64_t C, int64_t count, double momentum, const double* mean, const double* var,
                    T* running_mean, T* running_var) {
  double unbias = count > 1 ? static_cast<double>(count) / static_cast<double>(count - 1) : 1;
  for (int64_t c = 0; c < C; c++) {
    running_mean[c] =
        static_cast<T>((1 - momentum) * static_cast<double>(running_mean[c]) + momentum * mean[c]);
    running_var[c] =
        static_cast<T>((1 - momentum) * static_cast<double>(running_var[c]) + momentum * var[c] * unbias);
  }
}

}  // namespace gradiometer
