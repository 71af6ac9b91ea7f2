// Running a row of the table of losses: its target checked, its rows summed.
#pragma once
#include <math.h>

#include "error.hpp"
#include "kernel_table.hpp"

namespace gradiometer {

inline void run_loss(const Loss& loss, const LossArgs<float>& a) { loss.f32(a); }
inline void run_loss(const Loss& loss, const LossArgs<double>& a) { loss.f64(a); }

inline gm_status check_class_weights(const Loss& loss, int64_t C, const double* weights, gm_error* e) {
  if (!weights) return GM_OK;
  if (loss.target != Target::classes)
    return fail(e, GM_INVALID_ARGUMENT, "class_weights", "%s has no classes to weigh", loss.name);
  for (int64_t c = 0; c < C; c++)
    if (!(weights[c] >= 0 && weights[c] <= 1e300))
      return fail(e, GM_INVALID_ARGUMENT, "class_weights",
                  "class_weights[%lld] is %g; expected a finite number, 0 or more", static_cast<long long>(c),
                  weights[c]);
  return GM_OK;
}

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

// What the mean over N rows divides by: N, or the sum of the targets' weights.
inline double sum_of_weights(const Loss& loss, const void* target, int64_t N, const double* weights) {
  if (!weights || loss.target != Target::classes) return static_cast<double>(N);
  const int64_t* t = static_cast<const int64_t*>(target);
  double s = 0;
  for (int64_t i = 0; i < N; i++) s += weights[t[i]];
  return s;
}

// The sum of the rows' losses in order, over `mean_over` where the loss is a mean.
inline double total_loss(const Loss& loss, const double* row_loss, int64_t N, double mean_over) {
  double s = 0;
  for (int64_t i = 0; i < N; i++) s += row_loss[i];
  return loss.mean_over_rows ? s / mean_over : s;
}

}  // namespace gradiometer
