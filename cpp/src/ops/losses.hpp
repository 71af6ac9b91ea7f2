// The losses, a row at a time: value and derivative side by side. A new one is a struct and its name in the
// list. All arithmetic is float64, of float32 rows too, rounded once on the way out.
#pragma once
#include <math.h>

#include "kernel_table.hpp"
#include "math/exp.hpp"
#include "math/log.hpp"
#include "ops/softmax.hpp"
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

// -log p[t], p = softmax(y), t the target; dy = p - onehot(t). With d = y - max y, e = exp(d), s = sum of e
// and `extra` that sum without one e = 1, so that nothing is lost of a confident row, whose s rounds to 1:
//   loss  log1p(extra) - d[t], both terms >= 0.
//   dy    e / s; of the target -(s - e[t]) / s, where p[t] - 1 would be 0 from 1 - p[t] = 1e-16 on; s - e[t]
//   is
//         `extra` or, of two numbers as far apart, s - e[t] itself.
// One exponential a logit: e lies in dy, times kExpUnit, until s is known. Rows go a vector of them at a time
// through what is done once a row. A row with NaN or +inf is NaN throughout, one with -inf has p = 0 there.
// Class weights w multiply: w[t] (-log p[t]). Label smoothing g takes the target's place by (1 - g) onehot(t)
// + g / C, each class with its own weight (torch's definition): with W = sum of w,
//   loss  (1 - g) w[t] (-log p[t]) + g / C (W log s - sum_c w[c] d[c])
//   dy    ((1 - g) w[t] + g W / C) p - g w / C, less (1 - g) w[t] at the target. It has roots: at p = g / C,
//         and at the target's p.
struct CrossEntropy {
  static constexpr const char* name = "cross_entropy";
  static constexpr Target target = Target::classes;
  static constexpr bool mean_over_features = false, mean_over_rows = true;
  static constexpr int parameter_count = 1;
  static constexpr Parameter parameters[] = {{"label_smoothing", 0, 0, 1}};

  static constexpr int kRows = V<double>::lanes;

  static V<double> weights(const double* w, int64_t c, Whole lanes) {
    return w ? load(w + c, lanes) : V<double>::set1(1);
  }
  static V<double> weights(const double* w, int64_t c, Part lanes) {
    return w ? load(w + c, lanes) : within(V<double>::set1(1), V<double>::set1(0), lanes);
  }
  // `extra` of a row; writes its e to dy. The next row is asked for meanwhile: 4096 x 1024 floats, one
  // thread, AVX-512, 2.4 ms with the derivative, without 2.65.
  template <class T>
  static double exponentials(int64_t C, const T* y, double top, T* dy) {
    const V<double> from = V<double>::set1(top), zero = V<double>::set1(0),
                    lowest = V<double>::set1(-__builtin_inf());
    int64_t tops = 0;
    const double others = sum_over(C, [=, &tops](int64_t c, auto lanes) {
      __builtin_prefetch(y + c + C);
      if (dy) __builtin_prefetch(dy + c + C, 1);
      V<double> d = within(widen(y + c, lanes) - from, lowest, lanes);
      V<double> e = times_unit(exp_scaled(d));
      if (dy) narrow(e, dy + c, lanes);
      M<double> largest = eq(d, zero);
      tops += count(largest);
      return select(largest, zero, e);
    });
    return others / kExpUnit + static_cast<double>(tops - 1);
  }
  // dy of a row from its e, where `at_target` is what the target gets.
  template <class T>
  static void derivative(const LossArgs<T>& a, T* dy, int64_t t, double of_e, double smoothed,
                         double at_target) {
    const V<double> k = V<double>::set1(of_e / kExpUnit), less = V<double>::set1(smoothed);
    for_lanes<V<double>::lanes>(a.C, [=, w = a.class_weights](int64_t c, auto lanes) {
      V<double> p = widen(static_cast<const T*>(dy) + c, lanes) * k;
      narrow(smoothed != 0 ? fnma(less, weights(w, c, lanes), p) : p, dy + c, lanes);
    });
    dy[t] = static_cast<T>(at_target);
  }
  template <class T>
  static void run(const LossArgs<T>& a) {
    const double* w = a.class_weights;
    const double smoothing = a.params[0], each = smoothing / static_cast<double>(a.C);
    const double all =
        smoothing != 0 ? sum_over(a.C, [=](int64_t c, auto lanes) { return weights(w, c, lanes); }) : 0;
    for (int64_t r0 = 0; r0 < a.N; r0 += kRows) {
      const int rows = static_cast<int>(a.N - r0 < kRows ? a.N - r0 : kRows);
      const int64_t* classes = static_cast<const int64_t*>(a.target) + r0;
      double extra[kRows] = {}, below[kRows] = {}, apart[kRows] = {}, own[kRows], log_total[kRows];
      for (int i = 0; i < rows; i++) {
        const T* y = a.y + (r0 + i) * a.C;
        const double top = static_cast<double>(largest_of(a.C, y));
        below[i] = static_cast<double>(y[classes[i]]) - top;
        extra[i] = exponentials(a.C, y, top, a.dy ? a.dy + (r0 + i) * a.C : nullptr);
        if (smoothing != 0)
          apart[i] = sum_over(a.C, [=, from = V<double>::set1(top)](int64_t c, auto lanes) {
            return weights(w, c, lanes) * (from - widen(y + c, lanes));
          });
      }
      exp(V<double>::load(below)).store(own);
      log1p(V<double>::load(extra)).store(log_total);
      for (int i = 0; i < rows; i++) {
        const int64_t t = classes[i];
        const double own_weight = w ? w[t] : 1, known = (1 - smoothing) * own_weight, total = 1 + extra[i];
        a.row_loss[r0 + i] = known * (log_total[i] - below[i]);
        if (smoothing != 0) a.row_loss[r0 + i] += each * (all * log_total[i] + apart[i]);
        if (!a.dy) continue;
        const double others = below[i] == 0 ? extra[i] : total - own[i];
        derivative(a, a.dy + (r0 + i) * a.C, t, a.scale * (known + each * all) / total, a.scale * each,
                   a.scale * (each * (all * (own[i] / total) - own_weight) - known * (others / total)));
      }
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
