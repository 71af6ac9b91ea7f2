// The optimisers: one fused pass over the flat parameter vector. A new one is a struct and its name in the list.
// Semantics and defaults are torch.optim's.
#pragma once
#include "kernel_table.hpp"

namespace gradiometer {
namespace GM_ISA {

struct Sgd {
  static constexpr const char* name = "sgd";
  static constexpr int slot_count = 1;
  static constexpr Parameter parameters[] = {
      {"momentum", 0, 0, 1}, {"nesterov", 0, 0, 1}, {"weight_decay", 0, 0, 1e30}};
  template <class T>
  static void run(const OptimizerArgs<T>& a) {
    T momentum = static_cast<T>(a.params[0]), decay = static_cast<T>(a.params[2]);
    T lr = static_cast<T>(a.learning_rate);
    bool nesterov = a.params[1] != 0;
    for (int64_t i = 0; i < a.n; i++) {
      T g = a.g[i] + decay * a.w[i];
      if (momentum != 0) {
        T b = a.step == 1 ? g : momentum * a.slot[0][i] + g;
        a.slot[0][i] = b;
        g = nesterov ? g + momentum * b : b;
      }
      a.w[i] -= lr * g;
    }
  }
};

template <class... Ops>
struct OptimizerList {};
using Optimizers = OptimizerList<Sgd>;

}  // namespace GM_ISA
}  // namespace gradiometer
