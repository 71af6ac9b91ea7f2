// The layout of a packed B: its columns in groups of one vector, each group K rows of `lanes` elements, one
// group after the other; the last is filled up with zeros. Contract: gemm_pack in kernel_table.hpp.
#pragma once
#include <stdint.h>

namespace gradiometer {
namespace GM_ISA {

template <class T>
constexpr int64_t kGemmColumns = 2 * V<T>::lanes;

template <class T>
int64_t gemm_packed_size(int64_t K, int64_t N) {
  constexpr int64_t W = V<T>::lanes;
  return (N + W - 1) / W * W * K;
}

template <class T>
void gemm_pack(int64_t K, int64_t, const T* b, int64_t b_row, int64_t b_col, int64_t n0, int64_t n1,
               T* packed) {
  constexpr int64_t W = V<T>::lanes;
  for (int64_t n = n0; n < n1; n += W)
    for (int64_t k = 0; k < K; k++)
      for (int64_t j = 0; j < W; j++)
        packed[n * K + k * W + j] = n + j < n1 ? b[k * b_row + (n + j) * b_col] : T(0);
}

}  // namespace GM_ISA
}  // namespace gradiometer
