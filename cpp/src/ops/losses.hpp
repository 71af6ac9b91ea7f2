// The losses, a row at a time: value and derivative side by side. A new one is a struct and its name in the
// list. All arithmetic is float64, of float32 rows too, rounded once on the way out.
#pragma once
#include <math.h>

#include "kernel_table.hpp"
#include "math/exp.hpp"
#include "math/log.hpp"
#include "simd/lanes.hpp"

namespace gradiometer {
namespace GM_ISA {

struct PlainLoss {
  static constexpr int parameter_count = 0;
  static constexpr const Parameter* parameters = nullptr;
};

// The loss of every row as the mean of f's terms over C: f(y, t) gives {term, its derivative by y}, which is
// multiplied by scale / C.
struct Term {
  V<double> value, derivative;
};
template <class T, class F>
inline void mean_of_terms(const LossArgs<T>& a, F f) {
  const double C = static_cast<double>(a.C);
  const V<double> k = V<double>::set1(a.scale / C);
  for (int64_t r = 0; r < a.N; r++) {
    const T *y = a.y + r * a.C, *t = static_cast<const T*>(a.target) + r * a.C;
    T* dy = a.dy ? a.dy + r * a.C : nullptr;
    a.row_loss[r] = sum_over(a.C,
                             [=](int64_t c, auto lanes) {
                               Term term = f(widen(y + c, lanes), widen(t + c, lanes));
                               if (dy) narrow(term.derivative * k, dy + c, lanes);
                               return within(term.value, V<double>::set1(0), lanes);
                             }) /
                    C;
  }
}

// -log p[t], p = softmax(y), t the target; dy = p - onehot(t). With e = exp(y - max y), `others` = sum of e
// but for e[t], and s = e[t] + others:
//   loss  log s - (y[t] - max y) is a sum of two numbers >= 0, but of a confident row it rounds to 0 below
//   1e-16:
//         there it is log1p(others / e[t]).
//   dy    e / s; of the target -others / s, where p[t] - 1 would be 0 from 1 - p[t] = 1e-16 on. The power of
//   two in
//         e comes last, so that a subnormal derivative is rounded once.
// A row with NaN or +inf is NaN throughout, one with -inf has p = 0 there.
// Class weights w multiply: w[t] (-log p[t]). Label smoothing s takes the target's place by (1 - s) onehot(t)
// + s / C, each class with its own weight (torch's definition): with W = sum of w,
//   loss  (1 - s) w[t] (-log p[t]) + s / C sum_c w[c] (-log p[c])
//   dy    ((1 - s) w[t] + s W / C) p - s w / C, less (1 - s) w[t] at the target. It has roots: at p = s / C,
//         and at the target's p.
struct CrossEntropy {
  static constexpr const char* name = "cross_entropy";
  static constexpr Target target = Target::classes;
  static constexpr bool mean_over_features = false, mean_over_rows = true;
  static constexpr int parameter_count = 1;
  static constexpr Parameter parameters[] = {{"label_smoothing", 0, 0, 1}};

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
  static V<double> weights(const double* w, int64_t c, Whole lanes) {
    return w ? load(w + c, lanes) : V<double>::set1(1);
  }
  static V<double> weights(const double* w, int64_t c, Part lanes) {
    return w ? load(w + c, lanes) : within(V<double>::set1(1), V<double>::set1(0), lanes);
  }
  // Adds the share that does not know the target to the row's loss, -log p[c] = log total - (y[c] - top), and
  // writes dy; `known` is (1 - s) w[t].
  template <class T>
  static void smooth(const LossArgs<T>& a, int64_t r, int64_t t, double top, double own, double others,
                     double known) {
    const T* y = a.y + r * a.C;
    const double* w = a.class_weights;
    const double each = a.params[0] / static_cast<double>(a.C), total = own + others;
    const double all = sum_over(a.C, [=](int64_t c, auto lanes) { return weights(w, c, lanes); });
    const V<double> from = V<double>::set1(top), log_total = V<double>::set1(::log(total));
    a.row_loss[r] += each * sum_over(a.C, [=](int64_t c, auto lanes) {
                       return weights(w, c, lanes) * (log_total - (widen(y + c, lanes) - from));
                     });
    if (!a.dy) return;
    T* dy = a.dy + r * a.C;
    const V<double> k = V<double>::set1(a.scale * (known + each * all) / total);
    const V<double> less = V<double>::set1(a.scale * each);
    for_lanes<V<double>::lanes>(a.C, [=](int64_t c, auto lanes) {
      V<double> e = exp(widen(y + c, lanes) - from);
      narrow(fnma(less, weights(w, c, lanes), k * e), dy + c, lanes);
    });
    const double own_weight = w ? w[t] : 1;
    dy[t] = static_cast<T>(a.scale * (each * (all * (own / total) - own_weight) - known * (others / total)));
  }
  template <class T>
  static void run(const LossArgs<T>& a) {
    for (int64_t r = 0; r < a.N; r++) {
      const T* y = a.y + r * a.C;
      const int64_t t = static_cast<const int64_t*>(a.target)[r];
      const double known = (1 - a.params[0]) * (a.class_weights ? a.class_weights[t] : 1);
      const double top = largest_of(y, a.C), below = static_cast<double>(y[t]) - top;
      const double own = ::exp(below),
                   others = sum_of_exp(y, t, top) + sum_of_exp(y + t + 1, a.C - t - 1, top);
      a.row_loss[r] = known * (own >= others ? ::log1p(others / own) : ::log(own + others) - below);
      if (a.params[0] != 0) smooth(a, r, t, top, own, others, known);
      if (!a.dy || a.params[0] != 0) continue;
      T* dy = a.dy + r * a.C;
      const double k = a.scale * known / (own + others);
      for_lanes<V<double>::lanes>(a.C, [=](int64_t c, auto lanes) {
        Scaled<double> e = exp_scaled(widen(y + c, lanes) - V<double>::set1(top));
        narrow(product(V<double>::set1(k), e), dy + c, lanes);
      });
      dy[t] = static_cast<T>(0 - others * k);
    }
  }
};

// mean over C of (y - t)²; dy = 2 (y - t) / C.
struct Mse : PlainLoss {
  static constexpr const char* name = "mse";
  static constexpr Target target = Target::values;
  static constexpr bool mean_over_features = true, mean_over_rows = true;
  template <class T>
  static void run(const LossArgs<T>& a) {
    mean_of_terms(a, [](V<double> y, V<double> t) {
      V<double> d = y - t;
      return Term{d * d, d + d};
    });
  }
};

// With d = y - t: d²/2 up to |d| = delta, delta (|d| - delta/2) beyond; dy = d cut off at delta. Huber 1964.
struct Huber {
  static constexpr const char* name = "huber";
  static constexpr Target target = Target::values;
  static constexpr bool mean_over_features = true, mean_over_rows = true;
  static constexpr int parameter_count = 1;
  static constexpr Parameter parameters[] = {{"delta", 1, 1e-30, 1e30}};
  template <class T>
  static void run(const LossArgs<T>& a) {
    const V<double> delta = V<double>::set1(a.params[0]), half = V<double>::set1(0.5);
    mean_of_terms(a, [=](V<double> y, V<double> t) {
      V<double> d = y - t, size = abs(d);
      M<double> outside = lt(delta, size);
      return Term{select(outside, delta * (size - half * delta), half * d * d),
                  select(outside, copysign(delta, d), d)};
    });
  }
};

// -t log s(y) - (1 - t) log(1 - s(y)), s the logistic function, t from 0 to 1. With e = exp(-|y|):
//   loss  (1 - t) y + log1p(e) for y >= 0, -t y + log1p(e) below: what a target of 0 or 1 multiplies by 0 is
//         left out, be y infinite.
//   dy    (1 - t) s(y) - t s(-y), s of the two 1 / (1 + e) and e / (1 + e): s(y) - t would be 0 for t = 1
//   from
//         y = 37 on.
struct BceWithLogits : PlainLoss {
  static constexpr const char* name = "bce_with_logits";
  static constexpr Target target = Target::values;
  static constexpr bool mean_over_features = true, mean_over_rows = true;
  template <class T>
  static void run(const LossArgs<T>& a) {
    const V<double> zero = V<double>::set1(0), one = V<double>::set1(1);
    mean_of_terms(a, [=](V<double> y, V<double> t) {
      V<double> size = abs(y), e = exp(-size), large = one / (one + e), small = e / (one + e);
      M<double> below = lt(y, zero);
      V<double> wrong = select(below, t, one - t);  // the weight of |y|
      V<double> up = select(below, small, large), down = select(below, large, small);
      return Term{select(eq(wrong, zero), zero, wrong * size) + log1p(e), (one - t) * up - t * down};
    });
  }
};

// sum of y t, neither averaged: its derivative by y is t, so it carries any derivative from outside backward.
struct Dot : PlainLoss {
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
using Losses = LossList<CrossEntropy, Mse, Huber, BceWithLogits, Dot>;

}  // namespace GM_ISA
}  // namespace gradiometer
