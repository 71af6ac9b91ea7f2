// Running a row of the table of optimisers on a team's share of the flat vectors.
#pragma once
#include "error.hpp"
#include "kernel_table.hpp"
#include "loops/parallel.hpp"

namespace gradiometer {

constexpr int kMaxSlots = 4;

inline gm_status check_rate(double learning_rate, int64_t step, gm_error* e) {
  if (!(learning_rate >= 0 && learning_rate < 1e30))
    return fail(e, GM_INVALID_ARGUMENT, "learning_rate",
                "learning_rate is %g; expected a finite number, 0 or more", learning_rate);
  if (step < 1)
    return fail(e, GM_INVALID_ARGUMENT, "step", "step is %lld; expected 1 for the first step",
                static_cast<long long>(step));
  return GM_OK;
}

inline void run_optimizer(const Optimizer& o, const OptimizerArgs<float>& a) { o.f32(a); }
inline void run_optimizer(const Optimizer& o, const OptimizerArgs<double>& a) { o.f64(a); }

// The range r of flat vectors of n elements.
template <class T>
void step_range(const Optimizer& optimizer, Range r, int64_t n, T* w, const T* g, T* slots,
                double learning_rate, int64_t step, const double* params) {
  T* slot[kMaxSlots];
  for (int s = 0; s < optimizer.slot_count; s++) slot[s] = slots + s * n + r.begin;
  OptimizerArgs<T> a = {r.size(), w + r.begin, g + r.begin, slot, learning_rate, step, params};
  run_optimizer(optimizer, a);
}

}  // namespace gradiometer
