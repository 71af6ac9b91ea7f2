// Reductions in a fixed order: same input, same bits, whatever the team. Contracts: kernel_table.hpp.
#pragma once
#include <math.h>

#include "kernel_table.hpp"
#include "simd/lanes.hpp"

namespace gradiometer {
namespace GM_ISA {

constexpr int64_t kRowBlock = 512;

// Strips of eight vectors, whose sums stay in registers while rows go by: f(c, Count<vectors>{}, lanes).
template <int W, class F>
inline void for_strips(int64_t C, F f) {
  constexpr int S = 8;
  int64_t c = 0;
  for (; c + S * W <= C; c += S * W) f(c, Count<S>{}, Whole{});
  for_lanes<W>(C - c, [&](int64_t i, auto lanes) { f(c + i, Count<1>{}, lanes); });
}

template <class T>
void column_sum(int64_t rows, int64_t C, const T* x, int64_t ld, T* out, bool accumulate) {
  constexpr int W = V<T>::lanes;
  for_strips<W>(C, [=](int64_t c, auto vectors, auto lanes) {
    constexpr int K = decltype(vectors)::value;
    V<T> total[K], block[K];
    for (int k = 0; k < K; k++) total[k] = V<T>::set1(T(0));
    for (int64_t r0 = 0; r0 < rows; r0 += kRowBlock) {
      int64_t r1 = r0 + kRowBlock < rows ? r0 + kRowBlock : rows;
      for (int k = 0; k < K; k++) block[k] = V<T>::set1(T(0));
      for (int64_t r = r0; r < r1; r++)
        for (int k = 0; k < K; k++) block[k] = block[k] + load(x + r * ld + c + k * W, lanes);
      for (int k = 0; k < K; k++) total[k] = total[k] + block[k];
    }
    for (int k = 0; k < K; k++) {
      T* p = out + c + k * W;
      if (accumulate) total[k] = load(static_cast<const T*>(p), lanes) + total[k];
      store(total[k], p, lanes);
    }
  });
}

// Sum of f(x 2^power) over the finite elements.
template <class T, class F>
double scaled_sum(int64_t n, const T* x, int power, F f) {
  const V<double> zero = V<double>::set1(0), p = V<double>::set1(power);
  return sum_over(n, [=](int64_t i, auto lanes) {
    const V<double> v = widen(x + i, lanes);
    return within(select(unordered(v - v, zero), zero, f(scale2(v, p))), zero, lanes);
  });
}

// The norm and deviation of a Moments whose sums are there. A sum of squares in float64 has lost digits, or
// all, where a norm is below 1e-140, and is inf above 1e154: such elements are scaled by a power of 2 and
// summed again. sum x² / n - mean² cancels where the mean is large against the deviation: the sum is then
// taken around the mean.
template <class T>
void finish_moments(int64_t n, const T* x, Moments* m) {
  const int64_t finite = m->count - m->nans - m->infs;
  const double count = finite > 0 ? static_cast<double>(finite) : 1;
  const bool in_range = m->max_abs == 0 || (m->sum_squares > 0x1p-900 && m->sum_squares < 0x1p1000);
  const int power = in_range ? 0 : -ilogb(m->max_abs);
  double squares = m->sum_squares, mean = m->sum / count;
  if (!in_range) {
    squares = scaled_sum(n, x, power, [](V<double> v) { return v * v; });
    mean = scaled_sum(n, x, power, [](V<double> v) { return v; }) / count;
  }
  double variance = squares / count - mean * mean;
  if (!(variance > 0.5 * (squares / count))) {
    const V<double> centre = V<double>::set1(mean);
    variance = scaled_sum(n, x, power, [=](V<double> v) { return (v - centre) * (v - centre); }) / count;
  }
  m->norm = ldexp(::sqrt(squares), -power);
  m->deviation = ldexp(::sqrt(variance), -power);
}

// float32 elements are widened, which keeps every comparison and makes the squares exact.
template <class T>
void moments(int64_t n, const T* x, Moments* out) {
  constexpr int W = V<double>::lanes, K = 4;
  const V<double> zero = V<double>::set1(0), inf = V<double>::set1(__builtin_inf());
  const V<double> smallest = V<double>::set1(sizeof(T) == 4 ? 0x1p-126 : 0x1p-1022);
  Moments m = {n, 0, 0, 0, 0, 0.0, 0.0, 0.0, 0.0, 0.0};
  V<double> s[K], s2[K], top = zero;
  for (int k = 0; k < K; k++) s[k] = s2[k] = zero;
  auto add = [&](V<double> v, int k) {
    V<double> a = abs(v);
    M<double> finite = lt(a, inf), small = lt(a, smallest);
    if (any(small)) {
      int zeros = count(eq(a, zero));
      m.zeros += zeros;
      m.subnormals += count(small) - zeros;
    }
    if (any(!finite)) {
      m.nans += count(unordered(a, a));
      m.infs += count(eq(a, inf));
      v = select(finite, v, zero);
      a = select(finite, a, zero);
    }
    top = max(top, a);
    s[k] = s[k] + v;
    s2[k] = fma(v, v, s2[k]);
  };
  int64_t i = 0;
  for (; i + K * W <= n; i += K * W)
    for (int k = 0; k < K; k++) add(widen(x + i + k * W), k);
  for_lanes<W>(n - i, [&](int64_t j, auto lanes) { add(widen(x + i + j, lanes), 0); });
  m.zeros -= (W - n % W) % W;  // the lanes beyond the end
  m.sum = sum((s[0] + s[1]) + (s[2] + s[3]));
  m.sum_squares = sum((s2[0] + s2[1]) + (s2[2] + s2[3]));
  m.max_abs = largest(top);
  finish_moments(n, x, &m);
  *out = m;
}

template <class T>
void row_squares(int64_t rows, int64_t C, const T* x, int64_t ld, double* out) {
  for (int64_t r = 0; r < rows; r++)
    out[r] = sum_over(C, [row = x + r * ld](int64_t c, auto lanes) {
      V<double> v = widen(row + c, lanes);
      return v * v;
    });
}

template <class T>
void above(int64_t rows, int64_t C, const T* x, int64_t ld, double threshold, unsigned char* active,
           int64_t* total) {
  constexpr int W = V<double>::lanes;
  const V<double> t = V<double>::set1(threshold), none = V<double>::set1(__builtin_nan("")),
                  zero = V<double>::set1(0);
  int64_t found = 0;
  for_strips<W>(C, [&](int64_t c, auto vectors, auto lanes) {
    constexpr int K = decltype(vectors)::value;
    M<double> seen[K];
    for (int k = 0; k < K; k++) seen[k] = lt(zero, zero);
    for (int64_t r = 0; r < rows; r++)
      for (int k = 0; k < K; k++) {
        M<double> m = lt(t, within(abs(widen(x + r * ld + c + k * W, lanes)), none, lanes));
        seen[k] = seen[k] | m;
        found += count(m);
      }
    for (int k = 0; k < K; k++) {
      double mark[W];
      select(seen[k], V<double>::set1(1), zero).store(mark);
      for (int w = 0; w < W; w++)
        if (mark[w] != 0) active[c + k * W + w] = 1;
    }
  });
  *total += found;
}

}  // namespace GM_ISA
}  // namespace gradiometer
