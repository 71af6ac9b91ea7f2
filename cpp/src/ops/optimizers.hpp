// The optimisers: one fused pass over the flat parameter vector, in its own type. A new one is a struct and
// its name in the list. Semantics and defaults are torch.optim's; slots are zero before the first step.
#pragma once
#include <math.h>

#include "kernel_table.hpp"
#include "simd/lanes.hpp"

namespace gradiometer {
namespace GM_ISA {

// b = momentum b + g (g itself at the first step); w -= lr b, or with nesterov lr (g + momentum b).
// Without momentum the slot is not touched.
struct Sgd {
  static constexpr const char* name = "sgd";
  static constexpr int slot_count = 1;
  static constexpr Parameter parameters[] = {
      {"momentum", 0, 0, 1}, {"nesterov", 0, 0, 1}, {"weight_decay", 0, 0, 1e30}};
  template <class T>
  static void run(const OptimizerArgs<T>& a) {
    const V<T> momentum = V<T>::set1(static_cast<T>(a.params[0])),
               decay = V<T>::set1(static_cast<T>(a.params[2]));
    const V<T> rate = V<T>::set1(static_cast<T>(a.learning_rate));
    const bool has_momentum = a.params[0] != 0, nesterov = a.params[1] != 0, decays = a.params[2] != 0;
    const bool first = a.step == 1;
    for_lanes<V<T>::lanes>(a.n, [=, &a](int64_t i, auto lanes) {
      V<T> w = load(static_cast<const T*>(a.w) + i, lanes), g = load(a.g + i, lanes);
      if (decays) g = fma(decay, w, g);
      if (has_momentum) {
        T* slot = a.slot[0] + i;
        V<T> b = first ? g : fma(momentum, load(static_cast<const T*>(slot), lanes), g);
        store(b, slot, lanes);
        g = nesterov ? fma(momentum, b, g) : b;
      }
      store(fnma(rate, g, w), a.w + i, lanes);
    });
  }
};

// m = beta1 m + (1 - beta1) g, v = beta2 v + (1 - beta2) g²,
// w -= lr m^ / (sqrt(v^) + eps), with m^ = m / (1 - beta1^step) and v^ = v / (1 - beta2^step).
// Kingma & Ba 2015, arXiv:1412.6980; decay, decoupled: Loshchilov & Hutter 2019, arXiv:1711.05101.
// In float32 g² is subnormal below |g| = 1e-19 and 0 below 1e-23 (as it is in torch): v = 0 there and the
// step becomes lr m^ / eps, which it is within 1e-11 as soon as |g| is far below eps = 1e-8. With eps = 0 it
// is infinite, and NaN for g = 0.
template <bool decoupled, class T>
inline void adam(const OptimizerArgs<T>& a) {
  const double beta1 = a.params[0], beta2 = a.params[1], steps = static_cast<double>(a.step);
  auto broadcast = [](double s) { return V<T>::set1(static_cast<T>(s)); };
  const V<T> keep1 = broadcast(beta1), take1 = broadcast(1 - beta1);
  const V<T> keep2 = broadcast(beta2), take2 = broadcast(1 - beta2), eps = broadcast(a.params[2]);
  const V<T> rate = broadcast(a.learning_rate / (1 - ::pow(beta1, steps)));
  const V<T> unbias = broadcast(1 / ::sqrt(1 - ::pow(beta2, steps)));
  const bool decays = a.params[3] != 0;
  const V<T> decay = broadcast(a.params[3]), shrink = broadcast(1 - a.learning_rate * a.params[3]);
  for_lanes<V<T>::lanes>(a.n, [=, &a](int64_t i, auto lanes) {
    T *pw = a.w + i, *pm = a.slot[0] + i, *pv = a.slot[1] + i;
    V<T> w = load(static_cast<const T*>(pw), lanes), g = load(a.g + i, lanes);
    if (decays && decoupled) w = w * shrink;
    if (decays && !decoupled) g = fma(decay, w, g);
    V<T> m = fma(keep1, load(static_cast<const T*>(pm), lanes), take1 * g);
    V<T> v = fma(keep2, load(static_cast<const T*>(pv), lanes), take2 * g * g);
    store(m, pm, lanes);
    store(v, pv, lanes);
    store(fnma(rate, m / fma(sqrt(v), unbias, eps), w), pw, lanes);
  });
}

constexpr double kBelowOne = 1 - 0x1p-53;

struct Adam {
  static constexpr const char* name = "adam";
  static constexpr int slot_count = 2;
  static constexpr Parameter parameters[] = {{"beta1", 0.9, 0, kBelowOne},
                                             {"beta2", 0.999, 0, kBelowOne},
                                             {"eps", 1e-8, 0, 1e30},
                                             {"weight_decay", 0, 0, 1e30}};
  template <class T>
  static void run(const OptimizerArgs<T>& a) {
    adam<false>(a);
  }
};

struct AdamW {
  static constexpr const char* name = "adamw";
  static constexpr int slot_count = 2;
  static constexpr Parameter parameters[] = {{"beta1", 0.9, 0, kBelowOne},
                                             {"beta2", 0.999, 0, kBelowOne},
                                             {"eps", 1e-8, 0, 1e30},
                                             {"weight_decay", 0.01, 0, 1e30}};
  template <class T>
  static void run(const OptimizerArgs<T>& a) {
    adam<true>(a);
  }
};

// v = alpha v + (1 - alpha) g², d = g / (sqrt(v) + eps); centered: sqrt(v - m²), m = alpha m + (1 - alpha) g.
// w -= lr d, or with momentum lr b, b = momentum b + d. Slots not needed are not touched.
// Tieleman & Hinton 2012, lecture 6.5; centered: Graves 2013, arXiv:1308.0850.
struct RmsProp {
  static constexpr const char* name = "rmsprop";
  static constexpr int slot_count = 3;
  static constexpr Parameter parameters[] = {{"alpha", 0.99, 0, 1},
                                             {"eps", 1e-8, 0, 1e30},
                                             {"weight_decay", 0, 0, 1e30},
                                             {"momentum", 0, 0, 1},
                                             {"centered", 0, 0, 1}};
  template <class T>
  static void run(const OptimizerArgs<T>& a) {
    auto broadcast = [](double s) { return V<T>::set1(static_cast<T>(s)); };
    const V<T> keep = broadcast(a.params[0]), take = broadcast(1 - a.params[0]), eps = broadcast(a.params[1]);
    const V<T> decay = broadcast(a.params[2]), momentum = broadcast(a.params[3]);
    const V<T> rate = broadcast(a.learning_rate), zero = broadcast(0);
    const bool decays = a.params[2] != 0, has_momentum = a.params[3] != 0, centered = a.params[4] != 0;
    for_lanes<V<T>::lanes>(a.n, [=, &a](int64_t i, auto lanes) {
      T *pw = a.w + i, *pv = a.slot[0] + i;
      V<T> w = load(static_cast<const T*>(pw), lanes), g = load(a.g + i, lanes);
      if (decays) g = fma(decay, w, g);
      V<T> v = fma(keep, load(static_cast<const T*>(pv), lanes), take * g * g), spread = v;
      store(v, pv, lanes);
      if (centered) {
        T* pm = a.slot[2] + i;
        V<T> m = fma(keep, load(static_cast<const T*>(pm), lanes), take * g);
        store(m, pm, lanes);
        spread = max(fnma(m, m, v), zero);  // rounding: v may be below m²
      }
      V<T> d = g / (sqrt(spread) + eps);
      if (has_momentum) {
        T* pb = a.slot[1] + i;
        d = fma(momentum, load(static_cast<const T*>(pb), lanes), d);
        store(d, pb, lanes);
      }
      store(fnma(rate, d, w), pw, lanes);
    });
  }
};

// s = s + g², w -= lr / (1 + (step - 1) lr_decay) g / (sqrt(s) + eps); s starts at `initial`.
// Duchi, Hazan & Singer 2011, JMLR 12:2121.
struct Adagrad {
  static constexpr const char* name = "adagrad";
  static constexpr int slot_count = 1;
  static constexpr Parameter parameters[] = {{"lr_decay", 0, 0, 1e30},
                                             {"weight_decay", 0, 0, 1e30},
                                             {"initial_accumulator_value", 0, 0, 1e30},
                                             {"eps", 1e-10, 0, 1e30}};
  template <class T>
  static void run(const OptimizerArgs<T>& a) {
    auto broadcast = [](double s) { return V<T>::set1(static_cast<T>(s)); };
    const V<T> rate = broadcast(a.learning_rate / (1 + static_cast<double>(a.step - 1) * a.params[0]));
    const V<T> decay = broadcast(a.params[1]), initial = broadcast(a.params[2]), eps = broadcast(a.params[3]);
    const bool decays = a.params[1] != 0, first = a.step == 1;
    for_lanes<V<T>::lanes>(a.n, [=, &a](int64_t i, auto lanes) {
      T *pw = a.w + i, *ps = a.slot[0] + i;
      V<T> w = load(static_cast<const T*>(pw), lanes), g = load(a.g + i, lanes);
      if (decays) g = fma(decay, w, g);
      V<T> s = fma(g, g, first ? initial : load(static_cast<const T*>(ps), lanes));
      store(s, ps, lanes);
      store(fnma(rate, g / (sqrt(s) + eps), w), pw, lanes);
    });
  }
};

template <class... Ops>
struct OptimizerList {};
using Optimizers = OptimizerList<Sgd, Adam, AdamW, RmsProp, Adagrad>;

}  // namespace GM_ISA
}  // namespace gradiometer
