// Layer norm's gradients from its kernels: sums of columns over all rows, in blocks of rows, each from zero,
// added in order. Whoever takes a block, they have the same bits.
#pragma once
#include "batch_norm.hpp"

namespace gradiometer {

template <class T>
struct GroupNorm {
  int64_t N, C, groups;
  bool centred;
  const T* x;
  const double* cache;
  const T *gamma, *dy;
};

inline int64_t rows_a_block(int64_t N) { return samples_a_block(N, 1); }

// dgamma and dbeta of some columns, null where not wanted, from their sums.
template <class T>
void write_parameters(int64_t n, const double* sum, const double* dot, T* dgamma, T* dbeta, bool accumulate) {
  for (int64_t i = 0; i < n; i++) {
    if (dgamma) dgamma[i] = static_cast<T>((accumulate ? static_cast<double>(dgamma[i]) : 0) + dot[i]);
    if (dbeta) dbeta[i] = static_cast<T>((accumulate ? static_cast<double>(dbeta[i]) : 0) + sum[i]);
  }
}

// Of a range of columns over all rows.
template <class T>
void group_norm_parameters(const Kernels<T>& k, const GroupNorm<T>& g, Range columns, T* dgamma, T* dbeta,
                           bool accumulate) {
  const int64_t each = rows_a_block(g.N);
  for_channel_blocks(columns, [&](Range c) {
    double sum[kBatchNormChannels] = {}, dot[kBatchNormChannels] = {};
    double block_sum[kBatchNormChannels], block_dot[kBatchNormChannels];
    for (int64_t r = 0; r < g.N; r += each) {
      k.group_norm_sums(r + each < g.N ? each : g.N - r, g.C, g.groups, g.x + r * g.C,
                        g.cache + 2 * g.groups * r, g.dy + r * g.C, c.begin, c.end, false, block_sum,
                        block_dot);
      add_to(c.size(), block_sum, sum);
      add_to(c.size(), block_dot, dot);
    }
    write_parameters(c.size(), sum, dot, shifted(dgamma, c.begin), shifted(dbeta, c.begin), accumulate);
  });
}

// dx and, read again from L2, the sums of a block of rows, sum[0..C) and behind it dot[0..C); each may be
// null.
template <class T>
void group_norm_block(const Kernels<T>& k, const GroupNorm<T>& g, Range rows, T* dx, bool far, double* sums) {
  constexpr int64_t kBytes = 64 << 10;  // of x, which then is in L2, with dy
  const int64_t most = kBytes / static_cast<int64_t>(sizeof(T)) / g.C, each = most < 4 ? 4 : most / 4 * 4;
  for (int64_t r = rows.begin; r < rows.end; r += each) {
    const int64_t n = r + each < rows.end ? each : rows.end - r, at = r * g.C;
    const double* cache = g.cache + 2 * g.groups * r;
    if (dx)
      k.group_norm_backward(n, g.C, g.groups, g.centred, g.x + at, cache, g.gamma, g.dy + at, dx + at, far);
    if (sums)
      k.group_norm_sums(n, g.C, g.groups, g.x + at, cache, g.dy + at, 0, g.C, r > rows.begin, sums,
                        sums + g.C);
  }
}

}  // namespace gradiometer
