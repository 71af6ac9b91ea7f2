// Norm over groups of features within a row of an (N, C) matrix: group norm (Wu & He 2018, arXiv:1803.08494);
// with one group layer norm (Ba et al. 2016, arXiv:1607.06450), and without the mean RMS norm (Zhang &
// Sennrich 2019, arXiv:1910.07467). Contract: kernel_table.hpp.
//
// As in batch_norm.hpp all arithmetic is float64, rounded once on the way out: a row is in L1 while it is
// walked over two or three times. A row's bits depend on nothing but its own values.
#pragma once
#include <math.h>

#include "kernel_table.hpp"
#include "loops/map.hpp"
#include "ops/batch_norm.hpp"
#include "simd/lanes.hpp"

namespace gradiometer {
namespace GM_ISA {

// Sums of two terms, f(i, lanes, a, b) giving both, as sum_over has them.
template <class F>
inline void two_sums_over(int64_t n, F f, double* first, double* second) {
  constexpr int W = V<double>::lanes, K = 4;
  V<double> s[K], t[K];
  for (int k = 0; k < K; k++) s[k] = t[k] = V<double>::set1(0);
  const auto add = [&](int64_t i, int k, auto lanes) {
    V<double> a, b;
    f(i, lanes, a, b);
    s[k] = s[k] + a;
    t[k] = t[k] + b;
  };
  int64_t i = 0;
  for (; i + K * W <= n; i += K * W)
    for (int k = 0; k < K; k++) add(i + k * W, k, Whole{});
  for_lanes<W>(n - i, [&](int64_t j, auto lanes) { add(i + j, 0, lanes); });
  *first = sum((s[0] + s[1]) + (s[2] + s[3]));
  *second = sum((t[0] + t[1]) + (t[2] + t[3]));
}

// With d = x - pivot, the pivot the first value, so that a constant group is its own mean exactly: mean =
// pivot + sum d / n, n var = sum d² - (sum d)² / n, which loses at most a factor n of float64's digits, where
// the first value is an outlier. float64 has none to lose: the squares of x - mean, in a second pass.
template <class T>
void group_norm_statistics(int64_t n, bool centred, double eps, const T* x, double* mean, double* rstd) {
  const double first = static_cast<double>(x[0]), pivot = centred && isfinite(first) ? first : 0;
  const double count = static_cast<double>(n);
  const V<double> p = V<double>::set1(pivot), zero = V<double>::set1(0);
  double off, squares;
  two_sums_over(
      n,
      [=](int64_t i, auto lanes, V<double>& a, V<double>& b) {
        a = within(widen(x + i, lanes) - p, zero, lanes);
        b = a * a;
      },
      &off, &squares);
  *mean = centred ? pivot + off / count : 0;
  if (centred && sizeof(T) == 8) {
    const V<double> middle = V<double>::set1(*mean);
    squares = sum_over(n, [=](int64_t i, auto lanes) {
      V<double> d = within(widen(x + i, lanes) - middle, zero, lanes);
      return d * d;
    });
  } else if (centred) {
    squares -= off * off / count;
    if (squares < 0) squares = 0;
  }
  *rstd = 1 / ::sqrt(squares / count + eps);
}

// Whether so many rows are written past the caches, as element-wise work is. 4096 x 1024 floats, one thread,
// AVX-512: y 1.34 ms, with the next rows asked for ahead 1.06, and past the caches 0.69.
template <class T>
inline bool past_caches(int64_t N, int64_t C) {
  return N * C * static_cast<int64_t>(sizeof(T)) >= kPastCaches;
}

// y = (x - mean) rstd gamma + beta. The statistics of four rows are taken together, as none waits for
// another's, and near memory the rows share what is widened of gamma and beta: 128 x 256 8.0 us, then 5.8.
template <class T>
void group_norm_forward(int64_t N, int64_t C, int64_t groups, bool centred, double eps, const T* x,
                        const T* gamma, const T* beta, T* y, double* cache) {
  constexpr int W = V<double>::lanes, R = 4;
  const int64_t n = C / groups;
  const bool far = past_caches<T>(N, C);
  const V<double> one = V<double>::set1(1), zero = V<double>::set1(0);
  for_rows<R>(N, [=](int64_t r, auto some) {
    for (int64_t g = 0; g < groups; g++) {
      const int64_t c0 = g * n, start = r * C + c0;
      const auto scale = [=](int64_t i, auto lanes) { return gamma ? widen(gamma + c0 + i, lanes) : one; };
      const auto shift = [=](int64_t i, auto lanes) { return beta ? widen(beta + c0 + i, lanes) : zero; };
      V<double> m[R], s[R];
      for (int k = 0; k < some.value; k++) {
        double* saved = cache + 2 * ((r + k) * groups + g);
        group_norm_statistics(n, centred, eps, x + start + k * C, saved, saved + 1);
        m[k] = V<double>::set1(saved[0]), s[k] = V<double>::set1(saved[1]);
      }
      if (far)
        for (int k = 0; k < some.value; k++)
          narrow_line(n, true, y + start + k * C, [=, m = m[k], s = s[k]](int64_t i, auto lanes) {
            const T* p = x + start + k * C + i;
            __builtin_prefetch(p + R * C);
            return fma((widen(p, lanes) - m) * s, scale(i, lanes), shift(i, lanes));
          });
      else
        for_lanes<W>(n, [&](int64_t i, auto lanes) {
          const V<double> by = scale(i, lanes), add = shift(i, lanes);
          for (int k = 0; k < some.value; k++) {
            const int64_t at = start + k * C + i;
            narrow(fma((widen(x + at, lanes) - m[k]) * s[k], by, add), y + at, lanes);
          }
        });
    }
  });
  if (far) fence();
}

// With h = (x - mean) rstd and d = dy gamma: dx = rstd (d - sum d / n - h sum(d h) / n), without the second
// term where the mean was not taken out. A row at a time: 4096 x 1024 floats, one thread, AVX-512, 1.1 ms,
// two or four at once 1.9.
template <class T>
void group_norm_backward(int64_t N, int64_t C, int64_t groups, bool centred, const T* x, const double* cache,
                         const T* gamma, const T* dy, T* dx) {
  const int64_t n = C / groups;
  const bool far = past_caches<T>(N, C);
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
      double sum_d, sum_dh;
      two_sums_over(
          n,
          [=](int64_t i, auto lanes, V<double>& a, V<double>& b) {
            a = d(i, lanes);
            b = a * h(i, lanes);
          },
          &sum_d, &sum_dh);
      const V<double> dot = V<double>::set1(sum_dh / count);
      const V<double> middle = V<double>::set1(centred ? sum_d / count : 0);
      narrow_line(n, far, out,
                  [=](int64_t i, auto lanes) { return fnma(h(i, lanes), dot, d(i, lanes) - middle) * s; });
    }
  if (far) fence();
}

// dgamma = sum over rows of dy h, dbeta = sum of dy, for the columns from c0 to c1, in the order of the rows.
template <class T>
void group_norm_parameters(int64_t N, int64_t C, int64_t groups, const T* x, const double* cache, const T* dy,
                           int64_t c0, int64_t c1, T* dgamma, T* dbeta, bool accumulate) {
  constexpr int W = V<double>::lanes;
  const int64_t n = C / groups;
  const bool far = past_caches<T>(N, C);
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
        if (far) {
          __builtin_prefetch(row + 2 * C + i);
          __builtin_prefetch(drow + 2 * C + i);
        }
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
