// Running a row of the table of losses: its target checked, its rows summed.
#pragma once
#include "error.hpp"
#include "kernel_table.hpp"

namespace gradiometer {

inline void run_loss(const Loss& loss, const LossArgs<float>& a) { loss.f32(a); }
inline void run_loss(const Loss& loss, const LossArgs<double>& a) { loss.f64(a); }

inline gm_status check_target(const Loss& loss, int64_t N, int64_t C, const void* target, gm_error* e) {
  if (!target && N > 0) return fail(e, GM_INVALID_ARGUMENT, "target", "target is null");
  if (loss.target != Target::classes) return GM_OK;
  const int64_t* t = static_cast<const int64_t*>(target);
  for (int64_t i = 0; i < N; i++)
    if (t[i] < 0 || t[i] >= C)
      return fail(e, GM_INDEX_OUT_OF_RANGE, "target", "target[%lld] is class %lld; expected 0 to %lld",
                  static_cast<long long>(i), static_cast<long long>(t[i]), static_cast<long long>(C - 1));
  return GM_OK;
}

// The sum of the rows' losses in order, over `mean_over` rows where the loss is a mean.
inline double total_loss(const Loss& loss, const double* row_loss, int64_t N, double mean_over) {
  double s = 0;
  for (int64_t i = 0; i < N; i++) s += row_loss[i];
  return loss.mean_over_rows ? s / mean_over : s;
}

}  // namespace gradiometer
