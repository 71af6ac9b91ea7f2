// Batch norm over the columns of an (N, C) matrix (Ioffe & Szegedy 2015, arXiv:1502.03167). Contract:
// kernel_table.hpp.
#pragma once
#include "kernel_table.hpp"

namespace gradiometer {
namespace GM_ISA {

template <class T>
void batch_norm_statistics(int64_t N, int64_t C, const T* x, int64_t ld, double* mean, double* var) {
  for (int64_t c = 0; c < C; c++) {
    double pivot = N ? static_cast<double>(x[c]) : 0, s = 0, s2 = 0;
    for (int64_t n = 0; n < N; n++) s += static_cast<double>(x[n * ld + c]) - pivot;
    double m = pivot + s / static_cast<double>(N);
    for (int64_t n = 0; n < N; n++) {
      double d = static_cast<double>(x[n * ld + c]) - m;
      s2 += d * d;
    }
    mean[c] = m;
    var[c] = s2 / static_cast<double>(N);
  }
}

template <class T>
void batch_norm_forward(int64_t N, int64_t C, const T* x, int64_t ldx, const double* mean, const double* var,
                        double eps, const T* gamma, const T* beta, T* y, int64_t ldy) {
  for (int64_t c = 0; c < C; c++) {
    double s = 1 / __builtin_sqrt(var[c] + eps) * (gamma ? static_cast<double>(gamma[c]) : 1.0);
    double b = beta ? static_cast<double>(beta[c]) : 0.0;
    for (int64_t n = 0; n < N; n++)
      y[n * ldy + c] = static_cast<T>((static_cast<double>(x[n * ldx + c]) - mean[c]) * s + b);
  }
}

// x^ = (x - mean) s; dx = gamma s (dy - mean(dy) - x^ mean(dy x^)).
template <class T>
void batch_norm_backward_any(int64_t N, int64_t C, const T* x, int64_t ldx, const double* mean, const double* var,
                             double eps, const T* gamma, const T* dy, int64_t lddy, T* dx, int64_t lddx, T* dgamma,
                             T* dbeta, bool accumulate, bool training) {
  for (int64_t c = 0; c < C; c++) {
    double s = 1 / __builtin_sqrt(var[c] + eps), g = gamma ? static_cast<double>(gamma[c]) : 1.0;
    double sum = 0, dot = 0;
    for (int64_t n = 0; n < N; n++) {
      double d = static_cast<double>(dy[n * lddy + c]);
      sum += d;
      dot += d * (static_cast<double>(x[n * ldx + c]) - mean[c]) * s;
    }
    double k0 = training ? sum / static_cast<double>(N) : 0, k1 = training ? dot / static_cast<double>(N) : 0;
    if (dx)
      for (int64_t n = 0; n < N; n++) {
        double h = (static_cast<double>(x[n * ldx + c]) - mean[c]) * s;
        dx[n * lddx + c] = static_cast<T>(g * s * (static_cast<double>(dy[n * lddy + c]) - k0 - h * k1));
      }
    if (dgamma) dgamma[c] = static_cast<T>((accumulate ? static_cast<double>(dgamma[c]) : 0) + dot);
    if (dbeta) dbeta[c] = static_cast<T>((accumulate ? static_cast<double>(dbeta[c]) : 0) + sum);
  }
}

template <class T>
void batch_norm_backward(int64_t N, int64_t C, const T* x, int64_t ldx, const double* mean, const double* var,
                         double eps, const T* gamma, const T* dy, int64_t lddy, T* dx, int64_t lddx, T* dgamma,
                         T* dbeta, bool accumulate) {
  batch_norm_backward_any(N, C, x, ldx, mean, var, eps, gamma, dy, lddy, dx, lddx, dgamma, dbeta, accumulate, true);
}

template <class T>
void batch_norm_backward_evaluated(int64_t N, int64_t C, const T* x, int64_t ldx, const double* mean,
                                   const double* var, double eps, const T* gamma, const T* dy, int64_t lddy, T* dx,
                                   int64_t lddx, T* dgamma, T* dbeta, bool accumulate) {
  batch_norm_backward_any(N, C, x, ldx, mean, var, eps, gamma, dy, lddy, dx, lddx, dgamma, dbeta, accumulate, false);
}

}  // namespace GM_ISA
}  // namespace gradiometer
