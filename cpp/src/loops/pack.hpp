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

// Rows a multiple of 4 KiB apart compete for the same few cache sets. With vectors of half a line 512 x 1024
// x 1024 runs at 92 GF/s, packed in the call at 124, and at 131 where the row is 1000; with AVX-512 at 251
// and 244.
template <class T>
bool gemm_wants_pack(int64_t M, int64_t K, int64_t ldb) {
  constexpr int64_t kBytes = static_cast<int64_t>(sizeof(T)), kVector = V<T>::lanes * kBytes;
  return kVector >= 16 && kVector < 64 && M >= 64 && K >= 256 && ldb * kBytes % 4096 == 0;
}

// One group, w columns of it: of a B whose rows are contiguous (b_col 1), or whose columns are (b_row 1).
template <class T>
inline void pack_rows(int64_t K, const T* b, int64_t b_row, int w, T* p) {
  constexpr int W = V<T>::lanes;
  for (int64_t k = 0; k < K; k++) {
    (w == W ? V<T>::load(b) : V<T>::load(b, w)).store(p);
    b += b_row;
    p += W;
  }
}
template <class T>
inline void pack_columns(int64_t K, const T* b, int64_t b_col, int w, T* p) {
  constexpr int W = V<T>::lanes;
  V<T> r[W];
  for (int64_t k = 0; k < K; k += W) {
    const int depth = static_cast<int>(K - k < W ? K - k : W);
    const T* column = b + k;
    if (w == W && depth == W) {
#pragma GCC unroll 16
      for (int j = 0; j < W; j++, column += b_col) r[j] = V<T>::load(column);
    } else {
#pragma GCC unroll 16
      for (int j = 0; j < W; j++, column += b_col)
        r[j] = j < w ? V<T>::load(column, depth) : V<T>::set1(T(0));
    }
    transpose(r);
#pragma GCC unroll 16
    for (int j = 0; j < W; j++)
      if (j < depth) r[j].store(p + j * W);
    p += W * W;
  }
}

template <class T>
void gemm_pack(int64_t K, int64_t N, const T* b, int64_t b_row, int64_t b_col, int64_t n0, int64_t n1,
               T* packed) {
  constexpr int64_t W = V<T>::lanes;
  (void)N;
  for (int64_t n = n0; n < n1; n += W) {
    const int w = static_cast<int>(n1 - n < W ? n1 - n : W);
    if (b_col == 1)
      pack_rows(K, b + n, b_row, w, packed + n * K);
    else
      pack_columns(K, b + n * b_col, b_col, w, packed + n * K);
  }
}

}  // namespace GM_ISA
}  // namespace gradiometer
