// The losses, a row at a time: value and derivative side by side. A new one is a struct and its name in the
// list. All arithmetic is float64, of float32 rows too, rounded once on the way out.
#pragma once
#include <math.h>

#include "kernel_table.hpp"
#include "math/exp.hpp"
#include "simd/lanes.hpp"

namespace gradiometer {
namespace GM_ISA {

// -log p[t], p = softmax(y), t the target; dy = p - onehot(t). With e = exp(y - max y), `others` = sum of e
// but for e[t], and s = e[t] + others:
//   loss  log s - (y[t] - max y) is a sum of two numbers >= 0, but of a confident row it rounds to 0 below
//   1e-16:
//         there it is log1p(others / e[t]).
//   dy    e / s; of the target -others / s, where p[t] - 1 would be 0 from 1 - p[t] = 1e-16 on. The power of
//   two in
//         e comes last, so that a subnormal derivative is rounded once.
// A row with NaN or +inf is NaN throughout, one with -inf has p = 0 there.
struct CrossEntropy {
  static constexpr const char* name = "cross_entropy";
  static constexpr Target target = Target::classes;
  static constexpr bool mean_over_features = false, mean_over_rows = true;

  template <class T>
  static double largest_of(const T* y, int64_t C) {
    const V<double> lowest = V<double>::set1(-__builtin_inf());
    V<double> top = lowest;
    for_lanes<V<double>::lanes>(
        C, [&](int64_t c, auto lanes) { top = max(top, within(widen(y + c, lanes), lowest, lanes)); });
    return largest(top);
  }
  template <class T>
  static double sum_of_exp(const T* y, int64_t C, double top) {
    return sum_over(C, [=](int64_t c, auto lanes) {
      V<double> zero = V<double>::set1(0);
      return within(exp(widen(y + c, lanes) - V<double>::set1(top)), zero, lanes);
    });
  }
  template <class T>
  static void run(const LossArgs<T>& a) {
    for (int64_t r = 0; r < a.N; r++) {
      const T* y = a.y + r * a.C;
      const int64_t t = static_cast<const int64_t*>(a.target)[r];
      const double top = largest_of(y, a.C), below = static_cast<double>(y[t]) - top;
      const double own = ::exp(below),
                   others = sum_of_exp(y, t, top) + sum_of_exp(y + t + 1, a.C - t - 1, top);
      a.row_loss[r] = own >= others ? ::log1p(others / own) : ::log(own + others) - below;
      if (!a.dy) continue;
      T* dy = a.dy + r * a.C;
      const double k = a.scale / (own + others);
      for_lanes<V<double>::lanes>(a.C, [=](int64_t c, auto lanes) {
        Scaled<double> e = exp_scaled(widen(y + c, lanes) - V<double>::set1(top));
        narrow(product(V<double>::set1(k), e), dy + c, lanes);
      });
      dy[t] = static_cast<T>(0 - others * k);
    }
  }
};

// mean over C of (y - t)²; dy = 2 (y - t) / C.
struct Mse {
  static constexpr const char* name = "mse";
  static constexpr Target target = Target::values;
  static constexpr bool mean_over_features = true, mean_over_rows = true;
  template <class T>
  static void run(const LossArgs<T>& a) {
    const double C = static_cast<double>(a.C);
    const V<double> k = V<double>::set1(2 * a.scale / C);
    for (int64_t r = 0; r < a.N; r++) {
      const T *y = a.y + r * a.C, *t = static_cast<const T*>(a.target) + r * a.C;
      T* dy = a.dy ? a.dy + r * a.C : nullptr;
      a.row_loss[r] = sum_over(a.C,
                               [=](int64_t c, auto lanes) {
                                 V<double> d = widen(y + c, lanes) - widen(t + c, lanes);
                                 if (dy) narrow(d * k, dy + c, lanes);
                                 return d * d;
                               }) /
                      C;
    }
  }
};

// sum of y t, neither averaged: its derivative by y is t, so it carries any derivative from outside backward.
struct Dot {
  static constexpr const char* name = "dot";
  static constexpr Target target = Target::values;
  static constexpr bool mean_over_features = false, mean_over_rows = false;
  template <class T>
  static void run(const LossArgs<T>& a) {
    const V<double> k = V<double>::set1(a.scale);
    for (int64_t r = 0; r < a.N; r++) {
      const T *y = a.y + r * a.C, *t = static_cast<const T*>(a.target) + r * a.C;
      T* dy = a.dy ? a.dy + r * a.C : nullptr;
      a.row_loss[r] = sum_over(a.C, [=](int64_t c, auto lanes) {
        V<double> u = widen(y + c, lanes), v = widen(t + c, lanes);
        if (dy) narrow(v * k, dy + c, lanes);
        return u * v;
      });
    }
  }
};

template <class... Ops>
struct LossList {};
using Losses = LossList<CrossEntropy, Mse, Dot>;

}  // namespace GM_ISA
}  // namespace gradiometer
