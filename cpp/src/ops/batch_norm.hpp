// Batch norm over the channels of (N, C, L), matrices (L = 1) included (Ioffe & Szegedy 2015,
// arXiv:1502.03167). Contract: kernel_table.hpp.
//
// All arithmetic is float64, of float32 arrays too, rounded once on the way out. (x - mean) s keeps its
// digits at any mean, where x s + b with b = -mean s is wrong by 3e-3 at mean 1e4, std 1, and misses beta on
// a constant column; squares of 3e38 do not overflow, and s = 3e-39 is no subnormal.
//
// Four passes, each bound by its bytes once they come from beyond L2: sums of x reads x (4 instructions a
// vector of doubles), y reads x and writes y (5), sums of dy reads x and dy (5), dx reads both and writes
// (8).
#pragma once
#include <math.h>

#include "kernel_table.hpp"
#include "loops/far.hpp"
#include "simd/lanes.hpp"

namespace gradiometer {
namespace GM_ISA {

// f(n, Count<rows>{}) for `rows` rows from n: R at once, then one by one.
template <int R, class F>
inline void for_rows(int64_t N, F f) {
  int64_t n = 0;
  for (; n + R <= N; n += R) f(n, Count<R>{});
  for (; n < N; n++) f(n, Count<1>{});
}

// With v = x - middle and u = dy, or v where there is none: sum = sum of u, dot = sum of u v.
//
// Rows of a matrix stream past accumulators that stay in L1, several rows a time: a channel is summed in the
// order of its rows. What comes from memory is asked for in the order of its addresses, whatever the rows in
// step (8192 x 1024 floats, one Zen 4 thread, AVX-512, ms, the rows in step asked for ahead, and so: of
// x 1.42 and 1.03, of x and dy 3.1 and 2.1).
template <bool slope, class T>
void batch_norm_column_sums(int64_t N, int64_t C, int64_t ld, const T* x, const double* middle, const T* dy,
                            bool far, double* sum, double* dot) {
  constexpr int W = V<double>::lanes;
  const bool ask = far && ld == C;
  for (int64_t c = 0; c < C; c++) sum[c] = dot[c] = 0;
  for_rows<slope ? 4 : 8>(N, [=](int64_t n, auto some) {
    constexpr int64_t R = decltype(some)::value, line = 64 / sizeof(T);
    for_lanes<W>(C, [=](int64_t c, auto lanes) {
      const V<double> m = load(middle + c, lanes);
      V<double> s = load(static_cast<const double*>(sum) + c, lanes);
      V<double> p = load(static_cast<const double*>(dot) + c, lanes);
      if (ask && R > 1)
        for (int64_t i = 0; i < R * W; i += line) {
          ask_ahead(x + n * ld + R * c + i);
          if (slope) ask_ahead(dy + n * ld + R * c + i);
        }
      for (int r = 0; r < R; r++) {
        const int64_t i = (n + r) * ld + c;
        const V<double> v = widen(x + i, lanes) - m, u = slope ? widen(dy + i, lanes) : v;
        s = s + u;
        p = fma(u, v, p);
      }
      store(s, sum + c, lanes);
      store(p, dot + c, lanes);
    });
  });
}

// A channel's line of L values goes through K vectors of sums, sample after sample; a few channels at a time,
// whose lines are neighbours.
template <bool slope, int K, class T>
void batch_norm_line_sums(int64_t N, int64_t C, int64_t L, int64_t ld, const T* x, const double* middle,
                          const T* dy, double* sum, double* dot) {
  constexpr int W = V<double>::lanes, G = 8;
  const V<double> zero = V<double>::set1(0);
  for (int64_t c0 = 0; c0 < C; c0 += G) {
    const int64_t some = C - c0 < G ? C - c0 : G;
    V<double> all_s[G][K], all_p[G][K];
    for (int g = 0; g < G; g++)
      for (int k = 0; k < K; k++) all_s[g][k] = all_p[g][k] = zero;
    for (int64_t n = 0; n < N; n++)
      for (int64_t g = 0; g < some; g++) {
        const T* line = x + n * ld + (c0 + g) * L;
        const T* slopes = slope ? dy + n * ld + (c0 + g) * L : nullptr;
        const V<double> m = V<double>::set1(middle[c0 + g]);
        V<double> s[K], p[K];
        for (int k = 0; k < K; k++) s[k] = all_s[g][k], p[k] = all_p[g][k];
        auto add = [&](int64_t i, int k, auto lanes) {
          const V<double> v = within(widen(line + i, lanes) - m, zero, lanes);
          const V<double> u = slope ? widen(slopes + i, lanes) : v;
          s[k] = s[k] + u;
          p[k] = fma(u, v, p[k]);
        };
        int64_t i = 0;
        for (; i + K * W <= L; i += K * W)
          for (int k = 0; k < K; k++) add(i + k * W, k, Whole{});
        for_lanes<W>(L - i, [&](int64_t j, auto lanes) { add(i + j, 0, lanes); });
        for (int k = 0; k < K; k++) all_s[g][k] = s[k], all_p[g][k] = p[k];
      }
    for (int64_t g = 0; g < some; g++) {
      V<double> s = all_s[g][0], p = all_p[g][0];
      for (int k = 1; k < K; k++) s = s + all_s[g][k], p = p + all_p[g][k];
      sum[c0 + g] = gradiometer::GM_ISA::sum(s);
      dot[c0 + g] = gradiometer::GM_ISA::sum(p);
    }
  }
}

template <bool slope, class T>
void batch_norm_sums_of(int64_t N, int64_t C, int64_t L, int64_t ld, const T* x, const double* middle,
                        const T* dy, bool far, double* sum, double* dot) {
  if (L == 1)
    batch_norm_column_sums<slope>(N, C, ld, x, middle, dy, far, sum, dot);
  else if (L < 4 * V<double>::lanes)
    batch_norm_line_sums<slope, 1>(N, C, L, ld, x, middle, dy, sum, dot);
  else
    batch_norm_line_sums<slope, 4>(N, C, L, ld, x, middle, dy, sum, dot);
}
template <class T>
void batch_norm_sums(int64_t N, int64_t C, int64_t L, int64_t ld, const T* x, const double* middle,
                     const T* dy, bool far, double* sum, double* dot) {
  auto sums = dy ? batch_norm_sums_of<true, T> : batch_norm_sums_of<false, T>;
  sums(N, C, L, ld, x, middle, dy, far, sum, dot);
}

// With d = x - pivot: mean = pivot + sum d / n, n var = sum d² - (sum d)² / n. The pivot is the channel's
// first value, so (mean - pivot)² <= n var, and the difference loses at most a factor n of float64's digits,
// and none where the first value is not an outlier.
inline void batch_norm_statistics(double n, int64_t C, const double* sum, const double* dot, double* mean,
                                  double* var) {
  const V<double> count = V<double>::set1(n), zero = V<double>::set1(0);
  for_lanes<V<double>::lanes>(C, [=](int64_t c, auto lanes) {
    const V<double> s = load(sum + c, lanes), offset = s / count;
    store(load(static_cast<const double*>(mean) + c, lanes) + offset, mean + c, lanes);
    store(max(zero, (load(dot + c, lanes) - s * s / count) / count), var + c, lanes);
  });
}

// With h = (x - mean) rstd, rstd = 1 / sqrt(var + eps): dbeta = sum dy, dgamma = sum dy h.
template <class T>
void batch_norm_gradients(int64_t C, const double* var, double eps, const double* sum, const double* dot,
                          T* dgamma, T* dbeta, bool accumulate) {
  const V<double> e = V<double>::set1(eps), zero = V<double>::set1(0), one = V<double>::set1(1);
  const auto put = [=](V<double> value, T* p, auto lanes) {
    narrow((accumulate ? widen(static_cast<const T*>(p), lanes) : zero) + value, p, lanes);
  };
  for_lanes<V<double>::lanes>(C, [=](int64_t c, auto lanes) {
    if (dgamma) put(load(dot + c, lanes) * (one / sqrt(load(var + c, lanes) + e)), dgamma + c, lanes);
    if (dbeta) put(load(sum + c, lanes), dbeta + c, lanes);
  });
}

// K constants of up to kBatchNormChannels channels; those of the first ones once more at the end, so that a
// vector can begin at any channel and go on with the first. On a cache line: 128 x 256 y 6.5 us, then 3.5.
template <int K>
struct ChannelConstants {
  alignas(64) double of[K][kBatchNormChannels + V<double>::lanes];
};
template <class T, class Lanes>
inline V<double> root_of(const BatchNorm<T>& b, int64_t c, Lanes lanes) {
  return sqrt(load(b.var + c, lanes) + V<double>::set1(b.eps));
}
template <class T, class Lanes>
inline V<double> gamma_of(const BatchNorm<T>& b, int64_t c, Lanes lanes) {
  return b.gamma ? widen(b.gamma + c, lanes) : V<double>::set1(1);
}

// out = f(i, lanes, constants of the element's channel), i the offset in x and out. From memory and where
// rows are short in the order of the elements; else R rows share what is loaded of the constants: 128 x 256 y
// 3.5 us, then 2.3, 1024 x 1024 120 and 101 (Zen 5), 2 or 8 rows for 4 97 and 113; Zen 4 225, and 199, 185
// and 455 with 2, 4 and 8.
constexpr int64_t kNarrow = 64;
template <int K, int R, class T, class F>
inline void for_channels(const BatchNorm<T>& b, bool far, ChannelConstants<K>& k, T* out, F f) {
  constexpr int W = V<double>::lanes;
  const int64_t C = b.C, L = b.L;
  if (L > 1) {
    for (int64_t n = 0; n < b.N; n++)
      for (int64_t c = 0; c < C; c++) {
        V<double> constants[K];
        for (int j = 0; j < K; j++) constants[j] = V<double>::set1(k.of[j][c]);
        const int64_t start = n * b.ld + c * L;
        narrow_line(L, far, out + start,
                    [&](int64_t i, auto lanes) { return f(start + i, lanes, constants); });
      }
  } else if (b.ld == C && (far || C < kNarrow)) {
    for (int64_t c = C; c < C + W; c++)
      for (int j = 0; j < K; j++) k.of[j][c] = k.of[j][c % C];
    int64_t at = 0;  // the channel of element i
    narrow_line(b.N * C, far, out, [&](int64_t i, auto lanes) {
      V<double> constants[K];
      for (int j = 0; j < K; j++) constants[j] = V<double>::load(k.of[j] + at);
      at += lanes_of<W>(lanes);
      if (at >= C) at = at < 2 * C ? at - C : at % C;
      return f(i, lanes, constants);
    });
  } else if (far) {
    for (int64_t n = 0; n < b.N; n++)
      narrow_line(C, true, out + n * b.ld, [&](int64_t c, auto lanes) {
        V<double> constants[K];
        for (int j = 0; j < K; j++) constants[j] = V<double>::load(k.of[j] + c);
        return f(n * b.ld + c, lanes, constants);
      });
  } else {
    for_rows<R>(b.N, [&](int64_t n, auto some) {
      for_lanes<W>(C, [&](int64_t c, auto lanes) {
        V<double> constants[K];
        for (int j = 0; j < K; j++) constants[j] = V<double>::load(k.of[j] + c);
        for (int r = 0; r < some.value; r++) {
          const int64_t i = (n + r) * b.ld + c;
          narrow(f(i, lanes, constants), out + i, lanes);
        }
      });
    });
  }
  if (far) fence();
}

// y = (x - mean) s + beta, s = gamma rstd.
template <class T>
void batch_norm_forward(const BatchNorm<T>& b, T* y, bool far) {
  ChannelConstants<3> k;
  for_lanes<V<double>::lanes>(b.C, [&](int64_t c, auto lanes) {
    store(load(b.mean + c, lanes), k.of[0] + c, lanes);
    store(gamma_of(b, c, lanes) / root_of(b, c, lanes), k.of[1] + c, lanes);
    store(b.beta ? widen(b.beta + c, lanes) : V<double>::set1(0), k.of[2] + c, lanes);
  });
  for_channels<3, 4>(b, far, k, y, [x = b.x, far](int64_t i, auto lanes, const V<double>(&of)[3]) {
    if (far) ask_ahead(x + i);
    return fma(widen(x + i, lanes) - of[0], of[1], of[2]);
  });
}

// dx = gamma rstd (dy - sum / n - (x - mean) rstd² dot / n), without the last two terms where mean and var
// are constants (sum and dot null). Of float32 as (dy - (x b + c)) a: x b + c loses of a mean far from zero
// no more than the mean's own rounding does, which float64 would show. Two rows share constants: of four that
// are 4 KiB apart x, dy and dx do not fit a set of an L1 of 8 ways (1024 x 1024 floats, one Zen 4 thread, in
// a form with one operation less, us: 256 and 348, in the order of the elements 284; with the mean taken out
// first, four rows, 373).
template <class T>
void batch_norm_backward(const BatchNorm<T>& b, double n, const T* dy, const double* sum, const double* dot,
                         T* dx, bool far) {
  if (!sum) {
    ChannelConstants<1> k;
    for_lanes<V<double>::lanes>(b.C, [&](int64_t c, auto lanes) {
      store(gamma_of(b, c, lanes) / root_of(b, c, lanes), k.of[0] + c, lanes);
    });
    return for_channels<1, 4>(b, far, k, dx, [dy, far](int64_t i, auto lanes, const V<double>(&of)[1]) {
      if (far) ask_ahead(dy + i);
      return widen(dy + i, lanes) * of[0];
    });
  }
  constexpr bool wide = sizeof(T) == 8;
  ChannelConstants<4> k;
  const V<double> one = V<double>::set1(1), count = V<double>::set1(n);
  for_lanes<V<double>::lanes>(b.C, [&](int64_t c, auto lanes) {
    const V<double> rstd = one / root_of(b, c, lanes);
    const V<double> slope = load(dot + c, lanes) * rstd * (rstd / count);
    const V<double> mean = load(b.mean + c, lanes), least = -(load(sum + c, lanes) / count);
    store(gamma_of(b, c, lanes) * rstd, k.of[0] + c, lanes);
    store(slope, k.of[1] + c, lanes);
    store(wide ? least : fma(mean, slope, least), k.of[2] + c, lanes);
    store(mean, k.of[3] + c, lanes);
  });
  for_channels<4, 2>(b, far, k, dx, [x = b.x, dy, far](int64_t i, auto lanes, const V<double>(&of)[4]) {
    if (far) {
      ask_ahead(x + i);
      ask_ahead(dy + i);
    }
    V<double> v = widen(x + i, lanes);
    if (wide) v = v - of[3];
    return (widen(dy + i, lanes) + fnma(v, of[1], of[2])) * of[0];
  });
}

}  // namespace GM_ISA
}  // namespace gradiometer
