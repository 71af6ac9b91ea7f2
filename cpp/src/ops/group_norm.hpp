// Norm over groups of features within a row of an (N, C) matrix: group norm (Wu & He 2018, arXiv:1803.08494);
// with one group layer norm (Ba et al. 2016, arXiv:1607.06450), and without the mean RMS norm (Zhang &
// Sennrich 2019, arXiv:1910.07467). Contract: kernel_table.hpp.
//
// As in batch_norm.hpp all arithmetic is float64, rounded once on the way out: a row is in L1 while it is
// walked over two or three times. A row's bits depend on nothing but its own values.
#pragma once
#include <math.h>

#include "kernel_table.hpp"
#include "ops/batch_norm.hpp"
#include "simd/lanes.hpp"

namespace gradiometer {
namespace GM_ISA {

// mean = pivot + sum (x - pivot) / n with the first value for a pivot, so that a constant group is its own
// mean exactly; then the squares of x - mean, which lose nothing at any mean.
template <class T>
void group_norm_statistics(int64_t n, bool centred, double eps, const T* x, double* mean, double* rstd) {
  double m = 0;
  if (centred) {
    const double first = static_cast<double>(x[0]), pivot = isfinite(first) ? first : 0;
    const V<double> p = V<double>::set1(pivot);
    m = pivot + sum_over(n, [=](int64_t i, auto lanes) {
                  return within(widen(x + i, lanes) - p, V<double>::set1(0), lanes);
                }) / static_cast<double>(n);
  }
  const V<double> middle = V<double>::set1(m);
  const double squares = sum_over(n, [=](int64_t i, auto lanes) {
    V<double> d = within(widen(x + i, lanes) - middle, V<double>::set1(0), lanes);
    return d * d;
  });
  *mean = m;
  *rstd = 1 / ::sqrt(squares / static_cast<double>(n) + eps);
}

// y = (x - mean) rstd gamma + beta.
template <class T>
void group_norm_forward(int64_t N, int64_t C, int64_t groups, bool centred, double eps, const T* x,
                        const T* gamma, const T* beta, T* y, double* cache) {
  constexpr int W = V<double>::lanes;
  const int64_t n = C / groups;
  const V<double> one = V<double>::set1(1), zero = V<double>::set1(0);
  for (int64_t r = 0; r < N; r++)
    for (int64_t g = 0; g < groups; g++) {
      const int64_t c0 = g * n;
      const T* row = x + r * C + c0;
      T* out = y + r * C + c0;
      double* saved = cache + 2 * (r * groups + g);
      group_norm_statistics(n, centred, eps, row, saved, saved + 1);
      const V<double> m = V<double>::set1(saved[0]), s = V<double>::set1(saved[1]);
      for_lanes<W>(n, [=](int64_t i, auto lanes) {
        V<double> scale = gamma ? widen(gamma + c0 + i, lanes) : one;
        V<double> shift = beta ? widen(beta + c0 + i, lanes) : zero;
        narrow(fma((widen(row + i, lanes) - m) * s, scale, shift), out + i, lanes);
      });
    }
}

// With h = (x - mean) rstd and d = dy gamma: dx = rstd (d - sum d / n - h sum(d h) / n), without the second
// term where the mean was not taken out.
template <class T>
void group_norm_backward(int64_t N, int64_t C, int64_t groups, bool centred, const T* x, const double* cache,
                         const T* gamma, const T* dy, T* dx) {
  constexpr int W = V<double>::lanes;
  const int64_t n = C / groups;
  const double count = static_cast<double>(n);
  const V<double> one = V<double>::set1(1);
  for (int64_t r = 0; r < N; r++)
    for (int64_t g = 0; g < groups; g++) {
      const int64_t c0 = g * n;
      const T *row = x + r * C + c0, *drow = dy + r * C + c0;
      T* out = dx + r * C + c0;
      const double* saved = cache + 2 * (r * groups + g);
      const V<double> m = V<double>::set1(saved[0]), s = V<double>::set1(saved[1]);
      auto d = [=](int64_t i, auto lanes) {
        return widen(drow + i, lanes) * (gamma ? widen(gamma + c0 + i, lanes) : one);
      };
      auto h = [=](int64_t i, auto lanes) { return (widen(row + i, lanes) - m) * s; };
      const V<double> dot = V<double>::set1(
          sum_over(n, [=](int64_t i, auto lanes) { return d(i, lanes) * h(i, lanes); }) / count);
      const V<double> middle = V<double>::set1(centred ? sum_over(n, d) / count : 0);
      for_lanes<W>(n, [=](int64_t i, auto lanes) {
        narrow(fnma(h(i, lanes), dot, d(i, lanes) - middle) * s, out + i, lanes);
      });
    }
}

// dgamma = sum over rows of dy h, dbeta = sum of dy, for the columns from c0 to c1, in the order of the rows.
template <class T>
void group_norm_parameters(int64_t N, int64_t C, int64_t groups, const T* x, const double* cache, const T* dy,
                           int64_t c0, int64_t c1, T* dgamma, T* dbeta, bool accumulate) {
  constexpr int W = V<double>::lanes;
  const int64_t n = C / groups;
  // The columns of one group and one block, whose sums stay in L1.
  for (int64_t c = c0, end; c < c1; c = end) {
    end = (c / n + 1) * n;
    if (end > c1) end = c1;
    if (end - c > kBatchNormChannels) end = c + kBatchNormChannels;
    const int64_t B = end - c;
    double sum[kBatchNormChannels], dot[kBatchNormChannels];
    for (int64_t i = 0; i < B; i++) sum[i] = dot[i] = 0;
    for (int64_t r = 0; r < N; r++) {
      const double* saved = cache + 2 * (r * groups + c / n);
      const V<double> m = V<double>::set1(saved[0]), s = V<double>::set1(saved[1]);
      const T *row = x + r * C + c, *drow = dy + r * C + c;
      for_lanes<W>(B, [&](int64_t i, auto lanes) {
        V<double> d = widen(drow + i, lanes);
        store(load(static_cast<const double*>(sum) + i, lanes) + d, sum + i, lanes);
        store(fma(d, (widen(row + i, lanes) - m) * s, load(static_cast<const double*>(dot) + i, lanes)),
              dot + i, lanes);
      });
    }
    for (int64_t i = 0; i < B; i++) {
      if (dgamma)
        dgamma[c + i] = static_cast<T>((accumulate ? static_cast<double>(dgamma[c + i]) : 0) + dot[i]);
      if (dbeta) dbeta[c + i] = static_cast<T>((accumulate ? static_cast<double>(dbeta[c + i]) : 0) + sum[i]);
    }
  }
}

}  // namespace GM_ISA
}  // namespace gradiometer
