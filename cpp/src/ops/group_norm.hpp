// Norm over groups of features within a row of an (N, C) matrix: group norm (Wu & He 2018, arXiv:1803.08494);
// with one group layer norm (Ba et al. 2016, arXiv:1607.06450), and without the mean RMS norm (Zhang &
// Sennrich 2019, arXiv:1910.07467). Contract: kernel_table.hpp.
//
// As in batch_norm.hpp all arithmetic is float64, rounded once on the way out: a row is in L1 while it is
// walked over two or three times. A row's bits depend on nothing but its own values.
#pragma once
#include <math.h>

#include "kernel_table.hpp"
#include "loops/far.hpp"
#include "ops/batch_norm.hpp"
#include "simd/lanes.hpp"

namespace gradiometer {
namespace GM_ISA {

// Sums of two terms, f(i, lanes, s, t) adding both, in four vectors each, as sum_over has them.
template <class F>
inline void two_sums_over(int64_t n, F f, double* first, double* second) {
  constexpr int W = V<double>::lanes, K = 4;
  V<double> s[K], t[K];
  for (int k = 0; k < K; k++) s[k] = t[k] = V<double>::set1(0);
  int64_t i = 0;
  for (; i + K * W <= n; i += K * W)
    for (int k = 0; k < K; k++) f(i + k * W, Whole{}, s[k], t[k]);
  for_lanes<W>(n - i, [&](int64_t j, auto lanes) { f(i + j, lanes, s[0], t[0]); });
  *first = sum((s[0] + s[1]) + (s[2] + s[3]));
  *second = sum((t[0] + t[1]) + (t[2] + t[3]));
}

// f(scale, shift), which give those of feature i: widened once for all rows where they fit into L1.
template <class T, class F>
inline void with_affine(const T* gamma, const T* beta, int64_t C, F f) {
  const V<double> one = V<double>::set1(1), zero = V<double>::set1(0);
  const auto scale = [=](int64_t i, auto lanes) { return gamma ? widen(gamma + i, lanes) : one; };
  const auto shift = [=](int64_t i, auto lanes) { return beta ? widen(beta + i, lanes) : zero; };
  if (C > kBatchNormChannels) return f(scale, shift);
  alignas(64) double scales[kBatchNormChannels], shifts[kBatchNormChannels];
  for_lanes<V<double>::lanes>(C, [&](int64_t i, auto lanes) {
    store(scale(i, lanes), scales + i, lanes);
    store(shift(i, lanes), shifts + i, lanes);
  });
  f([&](int64_t i, auto lanes) { return load(static_cast<const double*>(scales) + i, lanes); },
    [&](int64_t i, auto lanes) { return load(static_cast<const double*>(shifts) + i, lanes); });
}

// With d = x - pivot, the pivot the first value, so that a constant group is its own mean exactly: mean =
// pivot + sum d / n, n var = sum d² - (sum d)² / n, which loses at most a factor n of float64's digits, where
// the first value is an outlier. float64 has none to lose: the squares of x - mean, in a second pass.
template <class T>
void group_norm_statistics(int64_t n, bool centred, double eps, const T* x, double* mean, double* rstd,
                           bool far = false) {
  const double first = static_cast<double>(x[0]), pivot = centred && isfinite(first) ? first : 0;
  const double count = static_cast<double>(n);
  const V<double> p = V<double>::set1(pivot), zero = V<double>::set1(0);
  double off, squares;
  two_sums_over(
      n,
      [=](int64_t i, auto lanes, V<double>& s, V<double>& t) {
        if (far) ask_ahead(x + i);
        const V<double> d = within(widen(x + i, lanes) - p, zero, lanes);
        s = s + d;
        t = fma(d, d, t);
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

// y = (x - mean) rstd gamma + beta. Near memory four rows share what is loaded of gamma and beta.
template <class T>
void group_norm_forward(int64_t N, int64_t C, int64_t groups, bool centred, double eps, const T* x,
                        const T* gamma, const T* beta, T* y, double* cache) {
  constexpr int W = V<double>::lanes, R = 4;
  const int64_t n = C / groups;
  const bool far = far_rows<T>(N, C);
  with_affine(gamma, beta, C, [=](auto scale, auto shift) {
    for_rows<R>(N, [=](int64_t r, auto some) {
      for (int64_t g = 0; g < groups; g++) {
        const int64_t c0 = g * n, start = r * C + c0;
        V<double> m[R], s[R];
        for (int k = 0; k < some.value; k++) {
          double* saved = cache + 2 * ((r + k) * groups + g);
          group_norm_statistics(n, centred, eps, x + start + k * C, saved, saved + 1, far);
          m[k] = V<double>::set1(saved[0]), s[k] = V<double>::set1(saved[1]);
        }
        if (far)
          for (int k = 0; k < some.value; k++)
            narrow_line(n, true, y + start + k * C, [=, m = m[k], s = s[k]](int64_t i, auto lanes) {
              return fma((widen(x + start + k * C + i, lanes) - m) * s, scale(c0 + i, lanes),
                         shift(c0 + i, lanes));
            });
        else
          for_lanes<W>(n, [&](int64_t i, auto lanes) {
            const V<double> by = scale(c0 + i, lanes), add = shift(c0 + i, lanes);
            for (int k = 0; k < some.value; k++) {
              const int64_t at = start + k * C + i;
              narrow(fma((widen(x + at, lanes) - m[k]) * s[k], by, add), y + at, lanes);
            }
          });
      }
    });
  });
  if (far) fence();
}

// With s = rstd and d = dy gamma: dx = s (d - sum d / n - (x - mean) s² sum(d (x - mean)) / n), without the
// second term where the mean was not taken out; of float32 as s (d - x k + c), as in batch_norm.hpp. A row at
// a time: two or four at once were slower (Zen 5, 4096 x 1024 floats, 1.1 ms and 1.9).
template <class T>
void group_norm_backward(int64_t N, int64_t C, int64_t groups, bool centred, const T* x, const double* cache,
                         const T* gamma, const T* dy, T* dx, bool far) {
  const int64_t n = C / groups;
  const double count = static_cast<double>(n);
  with_affine<T>(gamma, nullptr, C, [=](auto scale, auto) {
    for (int64_t r = 0; r < N; r++)
      for (int64_t g = 0; g < groups; g++) {
        const int64_t c0 = g * n;
        const T *row = x + r * C + c0, *drow = dy + r * C + c0;
        const double mean = cache[2 * (r * groups + g)], rstd = cache[2 * (r * groups + g) + 1];
        const V<double> m = V<double>::set1(mean), s = V<double>::set1(rstd);
        const auto slope = [=](int64_t i, auto lanes) {
          return widen(drow + i, lanes) * scale(c0 + i, lanes);
        };
        double sum_d, dot;
        two_sums_over(
            n,
            [=](int64_t i, auto lanes, V<double>& sums, V<double>& dots) {
              if (far) {
                ask_ahead(row + i);
                ask_ahead(drow + i);
              }
              const V<double> d = slope(i, lanes);
              sums = sums + d;
              dots = fma(d, widen(row + i, lanes) - m, dots);
            },
            &sum_d, &dot);
        const double by = dot * rstd * (rstd / count);
        const V<double> k = V<double>::set1(by);
        constexpr bool wide = sizeof(T) == 8;
        const V<double> c = V<double>::set1((wide ? 0 : mean * by) - (centred ? sum_d / count : 0));
        narrow_line(n, far, dx + r * C + c0, [=](int64_t i, auto lanes) {
          V<double> v = widen(row + i, lanes);
          if (wide) v = v - m;
          return (slope(i, lanes) + fnma(v, k, c)) * s;
        });
      }
  });
  if (far) fence();
}

// sum[c - c0] = sum over rows of dy, dot[c - c0] of dy (x - mean) rstd, for the columns from c0 to c1, in the
// order of the rows; several of them pass by the sums, which stay in L1.
template <class T>
void group_norm_sums(int64_t N, int64_t C, int64_t groups, const T* x, const double* cache, const T* dy,
                     int64_t c0, int64_t c1, bool add, double* sum, double* dot) {
  constexpr int R = 4;
  const int64_t n = C / groups;
  for (int64_t c = 0; !add && c < c1 - c0; c++) sum[c] = dot[c] = 0;
  for_rows<R>(N, [=](int64_t r, auto some) {
    for (int64_t c = c0, end; c < c1; c = end) {
      end = (c / n + 1) * n;
      if (end > c1) end = c1;
      V<double> m[R], s[R];
      for (int k = 0; k < some.value; k++) {
        const double* saved = cache + 2 * ((r + k) * groups + c / n);
        m[k] = V<double>::set1(saved[0]), s[k] = V<double>::set1(saved[1]);
      }
      const T *row = x + r * C + c, *drow = dy + r * C + c;
      double *sums = sum + (c - c0), *dots = dot + (c - c0);
      for_lanes<V<double>::lanes>(end - c, [&](int64_t i, auto lanes) {
        V<double> total = load(static_cast<const double*>(sums) + i, lanes);
        V<double> product = load(static_cast<const double*>(dots) + i, lanes);
        for (int k = 0; k < some.value; k++) {
          const V<double> d = widen(drow + k * C + i, lanes);
          total = total + d;
          product = fma(d, (widen(row + k * C + i, lanes) - m[k]) * s[k], product);
        }
        store(total, sums + i, lanes);
        store(product, dots + i, lanes);
      });
    }
  });
}

}  // namespace GM_ISA
}  // namespace gradiometer
