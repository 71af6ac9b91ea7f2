// The losses, a row at a time: value and derivative side by side. A new one is a struct and its name in the list.
#pragma once
#include <math.h>

#include "kernel_table.hpp"

namespace gradiometer {
namespace GM_ISA {

// -log softmax(y)[target], by logsumexp; dy = softmax(y) - onehot.
struct CrossEntropy {
  static constexpr const char* name = "cross_entropy";
  static constexpr Target target = Target::classes;
  static constexpr bool mean_over_features = false, mean_over_rows = true;
  template <class T>
  static void run(const LossArgs<T>& a) {
    const int64_t* t = static_cast<const int64_t*>(a.target);
    for (int64_t r = 0; r < a.N; r++) {
      const T* y = a.y + r * a.C;
      double top = static_cast<double>(y[0]), s = 0;
      for (int64_t c = 1; c < a.C; c++) top = static_cast<double>(y[c]) > top ? static_cast<double>(y[c]) : top;
      for (int64_t c = 0; c < a.C; c++) s += ::exp(static_cast<double>(y[c]) - top);
      a.row_loss[r] = ::log(s) - (static_cast<double>(y[t[r]]) - top);
      if (a.dy)
        for (int64_t c = 0; c < a.C; c++)
          a.dy[r * a.C + c] = static_cast<T>(a.scale * (::exp(static_cast<double>(y[c]) - top) / s - (c == t[r])));
    }
  }
};

// mean over C of (y - t)².
struct Mse {
  static constexpr const char* name = "mse";
  static constexpr Target target = Target::values;
  static constexpr bool mean_over_features = true, mean_over_rows = true;
  template <class T>
  static void run(const LossArgs<T>& a) {
    const T* t = static_cast<const T*>(a.target);
    for (int64_t r = 0; r < a.N; r++) {
      double s = 0;
      for (int64_t c = 0; c < a.C; c++) {
        double d = static_cast<double>(a.y[r * a.C + c]) - static_cast<double>(t[r * a.C + c]);
        s += d * d;
        if (a.dy) a.dy[r * a.C + c] = static_cast<T>(a.scale * 2 * d / static_cast<double>(a.C));
      }
      a.row_loss[r] = s / static_cast<double>(a.C);
    }
  }
};

// sum of y * t, neither averaged: its derivative by y is t, so it carries any derivative from outside backward.
struct Dot {
  static constexpr const char* name = "dot";
  static constexpr Target target = Target::values;
  static constexpr bool mean_over_features = false, mean_over_rows = false;
  template <class T>
  static void run(const LossArgs<T>& a) {
    const T* t = static_cast<const T*>(a.target);
    for (int64_t r = 0; r < a.N; r++) {
      double s = 0;
      for (int64_t c = 0; c < a.C; c++) {
        s += static_cast<double>(a.y[r * a.C + c]) * static_cast<double>(t[r * a.C + c]);
        if (a.dy) a.dy[r * a.C + c] = static_cast<T>(a.scale * static_cast<double>(t[r * a.C + c]));
      }
      a.row_loss[r] = s;
    }
  }
};

template <class... Ops>
struct LossList {};
using Losses = LossList<CrossEntropy, Mse, Dot>;

}  // namespace GM_ISA
}  // namespace gradiometer
