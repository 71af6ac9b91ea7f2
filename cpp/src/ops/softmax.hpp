// Softmax and log-softmax of the rows of an (N, C) matrix. Contract: kernel_table.hpp.
//
// With d = x - max x and s = sum of exp(d): softmax exp(d) / s, log-softmax d - log s. Exponentials are of
// the type of x, sums float64. A row with NaN or +inf, or of -inf alone, is NaN throughout (inf - inf). A
// row's bits depend on nothing but its own values.
#pragma once
#include "kernel_table.hpp"
#include "math/exp.hpp"
#include "math/log.hpp"
#include "simd/lanes.hpp"

namespace gradiometer {
namespace GM_ISA {

// NaN may be passed over: its exponential is not.
template <class T>
inline T largest_of(int64_t n, const T* x) {
  constexpr int W = V<T>::lanes, K = 4;
  const V<T> lowest = V<T>::set1(-static_cast<T>(__builtin_inf()));
  V<T> top[K] = {lowest, lowest, lowest, lowest};
  int64_t i = 0;
  for (; i + K * W <= n; i += K * W)
    for (int k = 0; k < K; k++) top[k] = max(top[k], V<T>::load(x + i + k * W));
  for_lanes<W>(n - i, [&](int64_t j, auto lanes) {
    top[0] = max(top[0], within(load(x + i + j, lanes), lowest, lanes));
  });
  return largest(max(max(top[0], top[1]), max(top[2], top[3])));
}

// What exponentials are kept multiplied by: none that matters is then subnormal, so that a subnormal quotient
// is rounded once, and that of -inf is still 0.
constexpr double kExpUnit = 0x1p30;
template <class T>
inline V<T> times_unit(Scaled<T> e) {
  return value(Scaled<T>{e.excess, e.exponent + V<T>::set1(T(30))});
}

// kExpUnit exp(x - top), and the rounding of the difference (Knuth's two-sum), which exp would magnify by up
// to 100, goes into it too.
template <class T>
inline V<T> exp_below(V<T> x, V<T> top) {
  V<T> d = x - top, b = d - x;
  V<T> low = (x - (d - b)) - (top + b);
  low = select(lt(d, V<T>::set1(ExpConstants<T>::low)), V<T>::set1(T(0)), low);  // and where d is -inf
  return times_unit(exp_scaled(d, low));
}

// Sum of f(i, lanes) over n elements, f a vector of T that is 0 beyond the range. Two vectors are added as
// they are, what follows is float64: 32 additions in a row, then these blocks and what adding them up loses.
template <class T>
inline V<double> widened(V<T> v) {
  if constexpr (V<T>::lanes == V<double>::lanes)
    return widen_low(v);
  else
    return widen_low(v) + widen_high(v);
}
template <>
inline V<double> widened(V<double> v) {
  return v;
}
template <class T, class F>
inline double sum_over_blocks(int64_t n, F f) {
  constexpr int W = V<T>::lanes, K = 4;
  constexpr int64_t block = 32 * K * W;
  double total = 0, lost = 0;
  for (int64_t b = 0; b < n; b += block) {
    const int64_t end = b + block < n ? b + block : n;
    V<double> s[2] = {V<double>::set1(0), V<double>::set1(0)};
    int64_t i = b;
    for (; i + K * W <= end; i += K * W) {
      V<T> v[K];
      for (int k = 0; k < K; k++) v[k] = f(i + k * W, Whole{});
      s[0] = s[0] + widened(v[0] + v[1]);
      s[1] = s[1] + widened(v[2] + v[3]);
    }
    for_lanes<W>(end - i, [&](int64_t j, auto lanes) { s[0] = s[0] + widened(f(i + j, lanes)); });
    const double add = sum(s[0] + s[1]), old = total;
    total = old + add;
    const double back = total - old;
    lost += (old - (total - back)) + (add - back);
  }
  return total + lost;
}

template <class T>
void softmax_forward(int64_t N, int64_t C, const T* x, T* y) {
  constexpr int W = V<T>::lanes;
  const V<T> lowest = V<T>::set1(-static_cast<T>(__builtin_inf()));
  for (int64_t r = 0; r < N; r++) {
    const T* row = x + r * C;
    T* out = y + r * C;
    const V<T> top = V<T>::set1(largest_of(C, row));
    const double total = sum_over_blocks<T>(C, [=](int64_t c, auto lanes) {
      V<T> e = exp_below(within(load(row + c, lanes), lowest, lanes), top);
      store(e, out + c, lanes);
      return within(e, V<T>::set1(T(0)), lanes);
    });
    const V<T> share = V<T>::set1(static_cast<T>(1 / total));
    for_lanes<W>(C, [=](int64_t c, auto lanes) {
      store(load(static_cast<const T*>(out) + c, lanes) * share, out + c, lanes);
    });
  }
}

// dx = y (dy - sum of y dy).
template <class T>
void softmax_backward(int64_t N, int64_t C, const T* y, const T* dy, T* dx) {
  constexpr int W = V<T>::lanes;
  for (int64_t r = 0; r < N; r++) {
    const T *row = y + r * C, *drow = dy + r * C;
    T* out = dx + r * C;
    const V<T> dot = V<T>::set1(static_cast<T>(
        sum_over(C, [=](int64_t c, auto lanes) { return widen(row + c, lanes) * widen(drow + c, lanes); })));
    for_lanes<W>(C, [=](int64_t c, auto lanes) {
      store(load(row + c, lanes) * (load(drow + c, lanes) - dot), out + c, lanes);
    });
  }
}

// log s = log1p(extra), extra the sum without one element that is the largest: of a confident row s rounds
// to 1. The logarithms are taken of a vector of rows at once.
template <class T>
void log_softmax_forward(int64_t N, int64_t C, const T* x, T* y) {
  constexpr int W = V<T>::lanes, R = V<double>::lanes;
  const V<T> lowest = V<T>::set1(-static_cast<T>(__builtin_inf())), zero = V<T>::set1(T(0));
  for (int64_t r0 = 0; r0 < N; r0 += R) {
    const int rows = static_cast<int>(N - r0 < R ? N - r0 : R);
    T top[R];
    double extra[R] = {};
    for (int i = 0; i < rows; i++) {
      const T* row = x + (r0 + i) * C;
      top[i] = largest_of(C, row);
      const V<T> from = V<T>::set1(top[i]);
      int64_t tops = 0;
      const double others = sum_over_blocks<T>(C, [=, &tops](int64_t c, auto lanes) {
        V<T> v = within(load(row + c, lanes), lowest, lanes);
        M<T> largest = eq(v - from, zero);  // not of infinities
        tops += count(largest);
        return select(largest, zero, within(exp_below(v, from), zero, lanes));
      });
      extra[i] = others / kExpUnit + static_cast<double>(tops - 1);
    }
    double log_total[R];
    log1p(V<double>::load(extra)).store(log_total);
    for (int i = 0; i < rows; i++) {
      const T* row = x + (r0 + i) * C;
      T* out = y + (r0 + i) * C;
      const V<T> from = V<T>::set1(top[i]), less = V<T>::set1(static_cast<T>(log_total[i]));
      for_lanes<W>(
          C, [=](int64_t c, auto lanes) { store((load(row + c, lanes) - from) - less, out + c, lanes); });
    }
  }
}

// dx = dy - exp(y) sum of dy.
template <class T>
void log_softmax_backward(int64_t N, int64_t C, const T* y, const T* dy, T* dx) {
  constexpr int W = V<T>::lanes;
  for (int64_t r = 0; r < N; r++) {
    const T *row = y + r * C, *drow = dy + r * C;
    T* out = dx + r * C;
    const V<T> total = V<T>::set1(
        static_cast<T>(sum_over(C, [=](int64_t c, auto lanes) { return widen(drow + c, lanes); })));
    for_lanes<W>(C, [=](int64_t c, auto lanes) {
      store(fnma(exp(load(row + c, lanes)), total, load(drow + c, lanes)), out + c, lanes);
    });
  }
}

}  // namespace GM_ISA
}  // namespace gradiometer
