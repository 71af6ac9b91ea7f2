// The layout of a packed B: its columns in groups of one vector, each group K rows of `lanes` elements, one
// group after the other; the last is filled up with zeros. Contract: gemm_pack in kernel_table.hpp.
#pragma once
#include <stdint.h>

namespace gradiometer {
namespace GM_ISA {

template <class T>
constexpr int64_t kGemmColumns = V<T>::lanes;

template <class T>
int64_t gemm_packed_size(int64_t K, int64_t N) {
  constexpr int64_t W = V<T>::lanes;
  return (N + W - 1) / W * W * K;
}

// Of a B whose rows are contiguous (b_col 1): eight groups side by side, so that rows are read some lines at
// a time. All groups at once would write to places K lines apart, which collide.
template <class T>
inline void pack_rows(int64_t K, int64_t N, const T* b, int64_t b_row, T* packed) {
  constexpr int64_t W = V<T>::lanes, kSide = 8 * W;
  for (int64_t n0 = 0; n0 < N; n0 += kSide) {
    const int64_t n1 = n0 + kSide < N ? n0 + kSide : N;
    for (int64_t k = 0; k < K; k++) {
      const T* row = b + k * b_row;
      T* p = packed + n0 * K + k * W;
      int64_t n = n0;
      for (; n + W <= n1; n += W, p += K * W) V<T>::load(row + n).store(p);
      if (n < n1) V<T>::load(row + n, static_cast<int>(n1 - n)).store(p);
    }
  }
}
// Rows or columns this far apart lie in the same few cache sets, where each line costs some 7 cycles.
template <class T>
bool collides(int64_t stride) {
  return stride * static_cast<int64_t>(sizeof(T)) % 4096 == 0;
}

// One group, w columns of it, of a B whose columns are contiguous (b_row 1).
template <class T>
inline void pack_columns(int64_t K, const T* b, int64_t b_col, int w, T* p) {
  constexpr int W = V<T>::lanes;
  constexpr int64_t kBytes = static_cast<int64_t>(sizeof(T));
  V<T> r[W];
  // Columns that share their place in a line are read by whole lines: 4 KiB apart, a line is gone from the
  // cache before its second half is wanted (8 x 64 x 1024: 115 GF/s, 96 by halves; 91 from a copy made
  // first).
  int64_t step = W;
  if (b_col * kBytes % 64 == 0) step -= reinterpret_cast<intptr_t>(b) / kBytes % W;
  for (int64_t k = 0; k < K; k += step, step = W) {
    const int depth = static_cast<int>(K - k < step ? K - k : step);
    const T* column = b + k;
    if (w == W && depth == W) {
#pragma GCC unroll 16
      for (int j = 0; j < W; j++, column += b_col) r[j] = V<T>::load(column);
    } else {
      for (int j = 0; j < W; j++, column += b_col)
        r[j] = j < w ? V<T>::load(column, depth) : V<T>::set1(T(0));
    }
    transpose(r);
#pragma GCC unroll 16
    for (int j = 0; j < W; j++)
      if (j < depth) r[j].store(p + j * W);
    p += depth * W;
  }
}
template <class T>
void gemm_pack(int64_t K, int64_t N, const T* b, int64_t b_row, int64_t b_col, int64_t n0, int64_t n1,
               T* packed) {
  constexpr int64_t W = V<T>::lanes;
  (void)N;
  if (b_col == 1) return pack_rows(K, n1 - n0, b + n0, b_row, packed + n0 * K);
  for (int64_t n = n0; n < n1; n += W) {
    const int w = static_cast<int>(n1 - n < W ? n1 - n : W);
    pack_columns(K, b + n * b_col, b_col, w, packed + n * K);
  }
}

}  // namespace GM_ISA
}  // namespace gradiometer
