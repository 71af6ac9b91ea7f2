// Matrix multiplication. Contract: Gemm in kernel_table.hpp.
#pragma once
#include "kernel_table.hpp"

namespace gradiometer {
namespace GM_ISA {

constexpr int64_t kGemmColumns = 32;
constexpr int64_t kGemmDepth = 512;

inline int64_t gemm_packed_size(int64_t K, int64_t N) { return K * N; }

template <class T>
void gemm_pack(int64_t K, int64_t N, const T* b, int64_t b_row, int64_t b_col, int64_t n0, int64_t n1, T* packed) {
  for (int64_t k = 0; k < K; k++)
    for (int64_t n = n0; n < n1; n++) packed[k * N + n] = b[k * b_row + n * b_col];
}

template <class T>
void gemm(const Gemm<T>& g) {
  const T* b = g.packed ? g.packed : g.b;
  int64_t ldb = g.packed ? g.N : g.ldb;
  constexpr int W = V<T>::lanes;
  for (int64_t m = 0; m < g.M; m++)
    for (int64_t n = 0; n < g.N; n += W) {
      int w = static_cast<int>(g.N - n < W ? g.N - n : W);
      V<T> total = V<T>::set1(T(0));
      for (int64_t k0 = 0; k0 < g.K; k0 += kGemmDepth) {
        V<T> block = V<T>::set1(T(0));
        int64_t k1 = k0 + kGemmDepth < g.K ? k0 + kGemmDepth : g.K;
        for (int64_t k = k0; k < k1; k++)
          block = fma(V<T>::set1(g.a[m * g.a_row + k * g.a_col]), V<T>::load(b + k * ldb + n, w), block);
        total = k0 == 0 ? block : total + block;
      }
      if (g.bias) total = total + V<T>::load(g.bias + n, w);
      T* c = g.c + m * g.ldc + n;
      if (g.accumulate) total = V<T>::load(c, w) + total;
      total.store(c, w);
    }
}

}  // namespace GM_ISA
}  // namespace gradiometer
