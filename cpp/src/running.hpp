// Running statistics of a norm.
#pragma once
#include <stdint.h>

namespace gradiometer {

// new = (1 - momentum) old + momentum batch; the unbiased variance is stored.
template <class T>
void update_running(int64_t C, int64_t N, double momentum, const double* mean, const double* var,
                    T* running_mean, T* running_var) {
  double unbias = N > 1 ? static_cast<double>(N) / static_cast<double>(N - 1) : 1;
  for (int64_t c = 0; c < C; c++) {
    running_mean[c] =
        static_cast<T>((1 - momentum) * static_cast<double>(running_mean[c]) + momentum * mean[c]);
    running_var[c] =
        static_cast<T>((1 - momentum) * static_cast<double>(running_var[c]) + momentum * var[c] * unbias);
  }
}

}  // namespace gradiometer
