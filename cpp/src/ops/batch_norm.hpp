// Batch norm over the columns of an (N, C) matrix (Ioffe & Szegedy 2015, arXiv:1502.03167). Contract:
// kernel_table.hpp.
//
// All arithmetic is float64, of float32 matrices too, rounded once on the way out. (x - mean) s keeps its
// digits at any mean, where x s + b with b = -mean s is wrong by 3e-3 at mean 1e4, std 1, and misses beta on
// a constant column; squares of 3e38 do not overflow, and s = 3e-39 is no subnormal. A pass is four to seven
// instructions a vector, less than its way from memory.
//
// Columns go in blocks whose accumulators stay in L1 while rows stream past, several rows a time. Each column
// is summed in the order of its rows, so its bits depend on nothing but its own values.
#pragma once
#include <math.h>

#include "kernel_table.hpp"
#include "simd/lanes.hpp"

namespace gradiometer {
namespace GM_ISA {

constexpr int64_t kBatchNormColumns = 512;

// f(c, B) for each block of B columns from c.
template <class F>
inline void for_column_blocks(int64_t C, F f) {
  for (int64_t c = 0; c < C; c += kBatchNormColumns)
    f(c, C - c < kBatchNormColumns ? C - c : kBatchNormColumns);
}

// f(n, Count<rows>{}) for `rows` rows from n: R at once, then one by one.
template <int R, class F>
inline void for_rows(int64_t N, F f) {
  int64_t n = 0;
  for (; n + R <= N; n += R) f(n, Count<R>{});
  for (; n < N; n++) f(n, Count<1>{});
}

// With d = x - pivot: mean = pivot + sum d / N, N var = sum d² - (sum d)² / N. The pivot is the column's
// first value, so (mean - pivot)² <= N var, and the difference loses at most a factor N of float64's digits,
// and none where the first value is not an outlier. A pivot that is not finite would turn a mean of inf into
// NaN.
template <class T>
void batch_norm_statistics(int64_t N, int64_t C, const T* x, int64_t ld, double* mean, double* var) {
  constexpr int W = V<double>::lanes;
  const double rows = N > 0 ? static_cast<double>(N) : 1;
  for_column_blocks(C, [=](int64_t c0, int64_t B) {
    double pivot[kBatchNormColumns], sum[kBatchNormColumns], squares[kBatchNormColumns];
    const V<double> zero = V<double>::set1(0);
    for_lanes<W>(B, [&](int64_t c, auto lanes) {
      V<double> first = N > 0 ? widen(x + c0 + c, lanes) : zero;
      select(unordered(first - first, zero), zero, first).store(pivot + c);
      zero.store(sum + c);
      zero.store(squares + c);
    });
    for_rows<8>(N, [&](int64_t n, auto some) {
      const T* row = x + n * ld + c0;
      for_lanes<W>(B, [&](int64_t c, auto lanes) {
        V<double> p = V<double>::load(pivot + c), s = V<double>::load(sum + c),
                  s2 = V<double>::load(squares + c);
        for (int r = 0; r < some.value; r++) {
          V<double> d = widen(row + r * ld + c, lanes) - p;
          s = s + d;
          s2 = fma(d, d, s2);
        }
        s.store(sum + c);
        s2.store(squares + c);
      });
    });
    for (int64_t c = 0; c < B; c++) {
      double v = (squares[c] - sum[c] * sum[c] / rows) / rows;
      mean[c0 + c] = pivot[c] + sum[c] / rows;
      var[c0 + c] = v < 0 ? 0 : v;
    }
  });
}

// y = (x - mean) s + beta, s = gamma / sqrt(var + eps).
template <class T>
void batch_norm_forward(int64_t N, int64_t C, const T* x, int64_t ldx, const double* mean, const double* var,
                        double eps, const T* gamma, const T* beta, T* y, int64_t ldy) {
  constexpr int W = V<double>::lanes;
  for_column_blocks(C, [=](int64_t c0, int64_t B) {
    double scale[kBatchNormColumns], shift[kBatchNormColumns];
    for (int64_t c = 0; c < B; c++) {
      scale[c] = (gamma ? static_cast<double>(gamma[c0 + c]) : 1) / ::sqrt(var[c0 + c] + eps);
      shift[c] = beta ? static_cast<double>(beta[c0 + c]) : 0;
    }
    for_rows<4>(N, [&](int64_t n, auto some) {
      const T* row = x + n * ldx + c0;
      T* out = y + n * ldy + c0;
      for_lanes<W>(B, [&](int64_t c, auto lanes) {
        V<double> m = load(mean + c0 + c, lanes), s = load(scale + c, lanes), b = load(shift + c, lanes);
        for (int r = 0; r < some.value; r++)
          narrow(fma(widen(row + r * ldx + c, lanes) - m, s, b), out + r * ldy + c, lanes);
      });
    });
  });
}

// With h = (x - mean) / sqrt(var + eps): dbeta = sum dy, dgamma = sum dy h, and
// dx = gamma / sqrt(var + eps) (dy - dbeta / N - h dgamma / N), without the last two terms where mean and var
// are constants. The loops work on x - mean: both factors 1 / sqrt(var + eps) go into `dot` between them.
template <bool constant, class T>
void batch_norm_backward_of(int64_t N, int64_t C, const T* x, int64_t ldx, const double* mean,
                            const double* var, double eps, const T* gamma, const T* dy, int64_t lddy, T* dx,
                            int64_t lddx, T* dgamma, T* dbeta, bool accumulate) {
  constexpr int W = V<double>::lanes;
  const double rows = N > 0 ? static_cast<double>(N) : 1;
  for_column_blocks(C, [=](int64_t c0, int64_t B) {
    double rstd[kBatchNormColumns], sum[kBatchNormColumns], dot[kBatchNormColumns], scale[kBatchNormColumns];
    for (int64_t c = 0; c < B; c++) {
      rstd[c] = 1 / ::sqrt(var[c0 + c] + eps);
      scale[c] = (gamma ? static_cast<double>(gamma[c0 + c]) : 1) * rstd[c];
      sum[c] = dot[c] = 0;
    }
    if (!constant || dgamma || dbeta)
      for_rows<4>(N, [&](int64_t n, auto some) {
        const T *row = x + n * ldx + c0, *drow = dy + n * lddy + c0;
        for_lanes<W>(B, [&](int64_t c, auto lanes) {
          V<double> m = load(mean + c0 + c, lanes);
          V<double> s = load(sum + c, lanes), p = load(dot + c, lanes);
          for (int r = 0; r < some.value; r++) {
            V<double> d = widen(drow + r * lddy + c, lanes);
            s = s + d;
            p = fma(d, widen(row + r * ldx + c, lanes) - m, p);
          }
          store(s, sum + c, lanes);
          store(p, dot + c, lanes);
        });
      });
    for (int64_t c = 0; c < B; c++) {
      dot[c] *= rstd[c];
      if (dgamma)
        dgamma[c0 + c] = static_cast<T>((accumulate ? static_cast<double>(dgamma[c0 + c]) : 0) + dot[c]);
      if (dbeta)
        dbeta[c0 + c] = static_cast<T>((accumulate ? static_cast<double>(dbeta[c0 + c]) : 0) + sum[c]);
      sum[c] /= rows;
      dot[c] *= rstd[c] / rows;
    }
    if (!dx) return;
    for_rows<4>(N, [&](int64_t n, auto some) {
      const T *row = x + n * ldx + c0, *drow = dy + n * lddy + c0;
      T* out = dx + n * lddx + c0;
      for_lanes<W>(B, [&](int64_t c, auto lanes) {
        V<double> a = load(scale + c, lanes), m = load(mean + c0 + c, lanes);
        V<double> d0 = load(sum + c, lanes), d1 = load(dot + c, lanes);
        for (int r = 0; r < some.value; r++) {
          V<double> d = widen(drow + r * lddy + c, lanes);
          if (!constant) d = fnma(widen(row + r * ldx + c, lanes) - m, d1, d - d0);
          narrow(d * a, out + r * lddx + c, lanes);
        }
      });
    });
  });
}

template <class T>
void batch_norm_backward(int64_t N, int64_t C, const T* x, int64_t ldx, const double* mean, const double* var,
                         double eps, const T* gamma, const T* dy, int64_t lddy, T* dx, int64_t lddx,
                         T* dgamma, T* dbeta, bool accumulate) {
  batch_norm_backward_of<false>(N, C, x, ldx, mean, var, eps, gamma, dy, lddy, dx, lddx, dgamma, dbeta,
                                accumulate);
}

template <class T>
void batch_norm_backward_evaluated(int64_t N, int64_t C, const T* x, int64_t ldx, const double* mean,
                                   const double* var, double eps, const T* gamma, const T* dy, int64_t lddy,
                                   T* dx, int64_t lddx, T* dgamma, T* dbeta, bool accumulate) {
  batch_norm_backward_of<true>(N, C, x, ldx, mean, var, eps, gamma, dy, lddy, dx, lddx, dgamma, dbeta,
                               accumulate);
}

}  // namespace GM_ISA
}  // namespace gradiometer
