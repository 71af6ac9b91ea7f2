// Reductions in a fixed order: same input, same bits, whatever the team. Contracts: kernel_table.hpp.
#pragma once
#include <math.h>

#include "kernel_table.hpp"
#include "simd/lanes.hpp"

namespace gradiometer {
namespace GM_ISA {

constexpr int64_t kRowBlock = 512;

// Strips of S vectors, whose sums stay in registers while rows go by: f(c, Count<vectors>{}, lanes).
template <int W, int S = 8, class F>
inline void for_strips(int64_t C, F f) {
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

// The sums of a part that depend on the size of its numbers. A sum of squares in float64 has lost digits, or
// all, where a norm is below 1e-140, and is inf above 1e154: such elements are scaled by a power of 2 and
// summed again. sum x² - n mean² cancels where the mean is large against the deviation: the sum is then taken
// around the mean.
template <bool sums, class T>
void finish_part(int64_t n, const T* x, MomentsPart* m) {
  const double count = m->finite > 0 ? static_cast<double>(m->finite) : 1;
  const bool in_range = m->max_abs == 0 || (m->sum_squares > 0x1p-900 && m->sum_squares < 0x1p1000);
  double sum = m->sum;
  m->squares = m->sum_squares;
  m->power = 0;
  if (!in_range) {
    m->power = -ilogb(m->max_abs);
    m->squares = scaled_sum(n, x, m->power, [](V<double> v) { return v * v; });
    if (sums) sum = scaled_sum(n, x, m->power, [](V<double> v) { return v; });
  }
  if (!sums) {
    m->sum = m->mean = m->scatter = __builtin_nan("");
    return;
  }
  m->mean = sum / count;
  m->scatter = m->squares - sum * m->mean;
  if (!(m->scatter > 0.5 * m->squares)) {
    const V<double> centre = V<double>::set1(m->mean);
    m->scatter = scaled_sum(n, x, m->power, [=](V<double> v) { return (v - centre) * (v - centre); });
  }
}

template <class T>
constexpr T smallest_normal() {
  return static_cast<T>(sizeof(T) == 4 ? 0x1p-126 : 0x1p-1022);
}

template <class T>
void count_small(int64_t n, const T* x, MomentsPart* m) {
  const V<T> zero = V<T>::set1(T(0)), one = V<T>::set1(T(1));
  const V<T> smallest = V<T>::set1(smallest_normal<T>());
  for_lanes<V<T>::lanes>(n, [&](int64_t i, auto lanes) {
    const V<T> a = within(abs(load(x + i, lanes)), one, lanes);
    const int zeros = count(eq(a, zero));
    m->zeros += zeros;
    m->subnormals += count(lt(a, smallest)) - zeros;
  });
}

// The sums over the finite elements, where there are others.
template <class T>
void sum_finite(int64_t n, const T* x, MomentsPart* m) {
  const V<double> zero = V<double>::set1(0), inf = V<double>::set1(__builtin_inf());
  V<double> s = zero, s2 = zero, top = zero;
  for_lanes<V<double>::lanes>(n, [&](int64_t i, auto lanes) {
    V<double> v = widen(x + i, lanes), a = abs(v);
    const M<double> finite = lt(a, inf);
    m->nans += count(unordered(a, a));
    m->infs += count(eq(a, inf));
    v = select(finite, v, zero);
    top = max(top, abs(v));
    s = s + v;
    s2 = fma(v, v, s2);
  });
  m->finite = n - m->nans - m->infs;
  m->sum = sum(s);
  m->sum_squares = sum(s2);
  m->max_abs = largest(top);
}

// float32 elements are widened, which makes the squares exact; their size is compared before, twice as many
// at a time. What is rare is looked at only where the smallest or the sum says that there is some.
template <bool sums, class T>
void moments_part(int64_t rows, int64_t C, const T* x, MomentsPart* out, double* row_norms) {
  constexpr int W = V<double>::lanes, K = 4, each = V<T>::lanes;
  const V<double> zero = V<double>::set1(0);
  const V<T> inf = V<T>::set1(static_cast<T>(__builtin_inf()));
  const int64_t n = rows * C, run = row_norms ? C : n;
  MomentsPart m = {};
  V<double> s[K] = {zero, zero, zero, zero};
  V<T> top = V<T>::set1(T(0)), low = inf;
  double* norm = row_norms;
  for (int64_t begin = 0; begin < n; begin += run) {
    const T* p = x + begin;
    V<double> s2[K] = {zero, zero, zero, zero};
    int64_t i = 0;
    for (; i + K * W <= run; i += K * W) {
      for (int k = 0; k < K * W; k += each) {
        const V<T> a = abs(V<T>::load(p + i + k));
        top = larger(a, top);
        low = smaller(a, low);
      }
      for (int k = 0; k < K; k++) {
        const V<double> v = widen(p + i + k * W);
        if (sums) s[k] = s[k] + v;
        s2[k] = fma(v, v, s2[k]);
      }
    }
    for_lanes<each>(run - i, [&](int64_t j, auto lanes) {
      const V<T> a = abs(load(p + i + j, lanes));
      top = larger(a, top);
      low = smaller(within(a, inf, lanes), low);
    });
    for_lanes<W>(run - i, [&](int64_t j, auto lanes) {
      const V<double> v = widen(p + i + j, lanes);
      if (sums) s[0] = s[0] + v;
      s2[0] = fma(v, v, s2[0]);
    });
    const double squares = sum((s2[0] + s2[1]) + (s2[2] + s2[3]));
    if (row_norms) *norm++ = squares;
    m.sum_squares += squares;
  }
  if (row_norms)
    for_lanes<W>(rows, [=](int64_t r, auto lanes) {
      store(sqrt(load(static_cast<const double*>(row_norms) + r, lanes)), row_norms + r, lanes);
    });
  m.finite = n;
  m.sum = sum((s[0] + s[1]) + (s[2] + s[3]));
  m.max_abs = static_cast<double>(largest(top));
  if (any(lt(low, V<T>::set1(smallest_normal<T>())))) count_small(n, x, &m);
  if (!(m.sum_squares - m.sum_squares == 0)) sum_finite(n, x, &m);
  finish_part<sums>(n, x, &m);
  *out = m;
}
template <class T>
void moments_part(int64_t rows, int64_t C, const T* x, bool sums, MomentsPart* out, double* row_norms) {
  (sums ? moments_part<true, T> : moments_part<false, T>)(rows, C, x, out, row_norms);
}

template <class T>
void merge_moments(int64_t parts, const MomentsPart* part, int64_t count, Moments* out) {
  Moments m = {count, 0, 0, 0, 0, 0.0, 0.0, 0.0, 0.0, 0.0};
  int64_t finite = 0;
  bool scaled = false;
  for (int64_t b = 0; b < parts; b++) {
    const MomentsPart& p = part[b];
    finite += p.finite;
    m.zeros += p.zeros;
    m.subnormals += p.subnormals;
    m.nans += p.nans;
    m.infs += p.infs;
    m.sum += p.sum;
    m.sum_squares += p.sum_squares;
    if (p.max_abs > m.max_abs) m.max_abs = p.max_abs;
    scaled |= p.power != 0;
  }
  const int power = scaled ? -ilogb(m.max_abs) : 0;
  const auto at = [power](double v, const MomentsPart& p, int degree) {
    return p.power == power ? v : ldexp(v, degree * (power - p.power));
  };
  const double n = finite > 0 ? static_cast<double>(finite) : 1;
  double squares = 0, mean = 0, scatter = 0;
  for (int64_t b = 0; b < parts; b++) {
    squares += at(part[b].squares, part[b], 2);
    mean += static_cast<double>(part[b].finite) * at(part[b].mean, part[b], 1);
  }
  mean /= n;
  for (int64_t b = 0; b < parts; b++) {
    const double off = parts > 1 ? at(part[b].mean, part[b], 1) - mean : 0;
    scatter += at(part[b].scatter, part[b], 2) + static_cast<double>(part[b].finite) * (off * off);
  }
  m.norm = ::sqrt(squares);
  m.deviation = ::sqrt(scatter / n);
  if (power != 0) {
    m.norm = ldexp(m.norm, -power);
    m.deviation = ldexp(m.deviation, -power);
  }
  *out = m;
}

template <class T>
void moments(int64_t n, const T* x, Moments* out) {
  MomentsPart all;
  moments_part<true, T>(1, n, x, &all, nullptr);
  merge_moments<T>(1, &all, n, out);
}

// Of a vector of T the part d that a vector of doubles holds.
template <class T>
inline V<double> widen_part(const T* p, int d, Whole) {
  return widen(p + d * V<double>::lanes);
}
template <class T>
inline V<double> widen_part(const T* p, int d, Part part) {
  constexpr int W = V<double>::lanes;
  const int n = part.n - d * W;
  return n <= 0 ? V<double>::set1(0) : widen(p + d * W, n < W ? n : W);
}
inline void store_part(V<double> a, double* p, int d, Whole) { a.store(p + d * V<double>::lanes); }
inline void store_part(V<double> a, double* p, int d, Part part) {
  constexpr int W = V<double>::lanes;
  const int n = part.n - d * W;
  if (n > 0) a.store(p + d * W, n < W ? n : W);
}

// About the first row, so that nothing cancels where the rows are alike: sum (x - pivot)² - n (mean - pivot)²
// is at least its first term's part by the first row, (1 - 1/n) (mean - pivot)² n. With the columns' means m
// sum x² is the sum of that and n sum m², and sum (x - mean)² likewise: sums of what is not negative.
template <class T>
double columns_part(int64_t rows, int64_t C, const T* x, MomentsPart* out, double* mean) {
  constexpr int L = V<T>::lanes, W = V<double>::lanes, each = L / W;
  const double n = static_cast<double>(rows);
  const V<double> zero = V<double>::set1(0), share = V<double>::set1(1 / n);
  const V<T> inf = V<T>::set1(static_cast<T>(__builtin_inf()));
  V<double> scatter = zero, means = zero, squares_of_means = zero;
  V<T> top = V<T>::set1(T(0)), low = inf;
  for_strips<L, 8 / each>(C, [&](int64_t c, auto vectors, auto lanes) {
    constexpr int K = decltype(vectors)::value, D = K * each;
    V<double> pivot[D], s[D], squares[D];
    for (int d = 0; d < D; d++) {
      s[d] = squares[d] = zero;
      pivot[d] = widen_part(x + c, d, lanes);
      pivot[d] = select(unordered(pivot[d] - pivot[d], zero), zero, pivot[d]);
    }
    for (int64_t r = 0; r < rows; r++) {
      const T* p = x + r * C + c;
      for (int k = 0; k < K; k++) {
        const V<T> a = abs(load(p + k * L, lanes));
        top = larger(a, top);
        low = smaller(within(a, inf, lanes), low);
      }
      for (int d = 0; d < D; d++) {
        const V<double> v = widen_part(p, d, lanes) - pivot[d];
        s[d] = s[d] + v;
        squares[d] = fma(v, v, squares[d]);
      }
    }
    for (int d = 0; d < D; d++) {
      const V<double> off = s[d] * share, m = pivot[d] + off;
      scatter = scatter + fnma(s[d], off, squares[d]);
      means = means + m;
      squares_of_means = fma(m, m, squares_of_means);
      store_part(m, mean + c, d, lanes);
    }
  });
  const double within_columns = sum(scatter);
  MomentsPart m = {};
  m.finite = rows * C;
  m.max_abs = static_cast<double>(largest(top));
  m.sum = n * sum(means);
  m.sum_squares = m.squares = within_columns + n * sum(squares_of_means);
  if (!(m.max_abs == 0 && m.squares == 0) && !(m.squares > 0x1p-900 && m.squares < 0x1p1000)) {
    moments_part<true>(rows, C, x, out, nullptr);
    return within_columns;
  }
  if (any(lt(low, V<T>::set1(smallest_normal<T>())))) count_small(rows * C, x, &m);
  m.mean = m.sum / (n * static_cast<double>(C));
  const V<double> centre = V<double>::set1(m.mean);
  m.scatter = within_columns + n * sum_over(C, [=](int64_t c, auto lanes) {
                                 const V<double> off =
                                     load(static_cast<const double*>(mean) + c, lanes) - centre;
                                 return within(off * off, V<double>::set1(0), lanes);
                               });
  *out = m;
  return within_columns;
}

template <class T>
double merge_columns(int64_t parts, int64_t C, const double* means, int64_t rows, int64_t last,
                     double* mean) {
  constexpr int W = V<double>::lanes;
  const double n = static_cast<double>((parts - 1) * rows + last);
  const V<double> full = V<double>::set1(static_cast<double>(rows)),
                  rest = V<double>::set1(static_cast<double>(last)), each = V<double>::set1(1 / n);
  V<double> scatter = V<double>::set1(0);
  for_lanes<W>(C, [&](int64_t c, auto lanes) {
    // About the first part's, as above.
    const V<double> pivot = load(means + c, lanes);
    V<double> s = V<double>::set1(0);
    for (int64_t b = 1; b < parts; b++) {
      const V<double> off = load(means + b * C + c, lanes) - pivot, weight = b + 1 < parts ? full : rest;
      s = fma(weight, off, s);
      scatter = fma(weight * off, off, scatter);
    }
    const V<double> m = s * each;
    scatter = fnma(s, m, scatter);
    store(pivot + m, mean + c, lanes);
  });
  return sum(scatter);
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
void inside(int64_t rows, int64_t C, const T* x, int64_t ld, double low, double high, unsigned char* seen,
            int64_t* total) {
  constexpr int W = V<T>::lanes;
  const V<T> from = V<T>::set1(static_cast<T>(low)), to = V<T>::set1(static_cast<T>(high)),
             zero = V<T>::set1(T(0)), one = V<T>::set1(T(1));
  for_strips<W>(C, [&](int64_t c, auto vectors, auto lanes) {
    constexpr int K = decltype(vectors)::value;
    const V<T> none = V<T>::set1(static_cast<T>(__builtin_nan("")));
    M<T> any_row[K];
    for (int k = 0; k < K; k++) any_row[k] = lt(zero, zero);
    for (int64_t r = 0; r < rows; r++) {
      int found = 0, seen_by_now = 0;
      for (int k = 0; k < K; k++) {
        const V<T> v = within(load(x + r * ld + c + k * W, lanes), none, lanes);
        const M<T> m = le(from, v) & le(v, to);
        any_row[k] = any_row[k] | m;
        if (total)
          found += count(m);
        else
          seen_by_now += count(any_row[k]);
      }
      if (total)
        *total += found;
      else if (seen_by_now == K * lanes_of<W>(lanes))
        break;
    }
    if (!seen) return;
    for (int k = 0; k < K; k++) {
      const int in = count(any_row[k]);
      if (in == 0) continue;
      T mark[W];
      if (in < W) select(any_row[k], one, zero).store(mark);
      for (int w = 0; w < W; w++)
        if (in == W || mark[w] != 0) seen[c + k * W + w] = 1;
    }
  });
}

}  // namespace GM_ISA
}  // namespace gradiometer
