// Matrix multiplication. Contract: Gemm in kernel_table.hpp.
#pragma once
#include "kernel_table.hpp"
#include "loops/micro_kernel.hpp"
#include "loops/pack.hpp"

namespace gradiometer {
namespace GM_ISA {

constexpr int64_t kGemmDepth = 512;
// Bytes of A that stay in the L2 cache while all columns pass by: 168 rows of 512 floats.
constexpr int64_t kGemmBlockBytes = 168 * kGemmDepth * 4;

template <class T>
using MicroKernel = void (*)(const Tile<T>&);

template <class T, int NV, bool partial>
struct KernelColumn {
  MicroKernel<T> rows[kTallest + 1];
  constexpr KernelColumn() : rows{} { fill<tile_rows<T, NV>()>(); }
  template <int MR>
  constexpr void fill() {
    rows[MR] = micro_kernel<T, MR, NV, partial>;
    if constexpr (MR > 1) fill<MR - 1>();
  }
};

// The kernels of all heights for tiles of `vectors` vectors, and the greatest height.
template <class T>
struct TileShape {
  const MicroKernel<T>* rows;
  int tallest;
};
template <class T, int NV>
TileShape<T> tile_shape_of(bool partial) {
  static constexpr KernelColumn<T, NV, false> whole;
  static constexpr KernelColumn<T, NV, (V<T>::lanes > 1)> masked;
  return {partial ? masked.rows : whole.rows, tile_rows<T, NV>()};
}
template <class T>
TileShape<T> tile_shape(int vectors, bool partial) {
  switch (vectors) {
    case 1:
      return tile_shape_of<T, 1>(partial);
    case 2:
      return tile_shape_of<T, 2>(partial);
    case 3:
      return tile_shape_of<T, 3>(partial);
    case 4:
      return tile_shape_of<T, 4>(partial);
    case 8:
      return tile_shape_of<T, 8>(partial);
    default:
      return tile_shape_of<T, kLongRow<T>>(partial);
  }
}

// How many of the vectors left in a row of C the next tile takes. A single vector at the end joins the tile
// before it, since alone it would cost a whole pass over A.
template <class T>
int tile_vectors(int64_t rows, int64_t left, bool packed) {
  if (rows == 1 && left >= kLongRow<T> && !packed) return kLongRow<T>;
  if (rows == 1 && left >= 8) return 8;
  if (rows <= 2 && left >= 4) return 4;
  if (left == 3 || (rows <= 4 && left > 4)) return 3;
  return left >= 2 ? 2 : 1;
}

inline int64_t smaller(int64_t a, int64_t b) { return a < b ? a : b; }
inline int64_t ceil_div(int64_t a, int64_t b) { return (a + b - 1) / b; }

template <class T>
void gemm(const Gemm<T>& g) {
  constexpr int64_t W = V<T>::lanes, kBytes = static_cast<int64_t>(sizeof(T));
  constexpr int64_t kBlockRows = kGemmBlockBytes / (kGemmDepth * kBytes);
  const char* a = reinterpret_cast<const char*>(g.a);
  const char* b = reinterpret_cast<const char*>(g.packed ? g.packed : g.b);
  if (g.M <= 0 || g.N <= 0) return;
  const int64_t vectors = ceil_div(g.N, W);
  const int64_t blocks = ceil_div(g.M, kBlockRows);
  const int64_t height = ceil_div(g.M, ceil_div(g.M, tile_rows<T, 2>()));

  Tile<T> t;
  t.a_row = g.a_row * kBytes;
  t.a_col = g.a_col * kBytes;
  t.b_row = (g.packed ? W : g.ldb) * kBytes;
  t.b_vector = (g.packed ? g.K * W : W) * kBytes;
  t.ldc = g.ldc;

  int64_t k = 0;
  do {
    t.depth = smaller(g.K - k, kGemmDepth);
    t.add = g.accumulate || k > 0;
    const bool ends = k + t.depth == g.K;
    for (int64_t block = 0; block < blocks; block++) {
      const int64_t m0 = g.M * block / blocks, m1 = g.M * (block + 1) / blocks;
      for (int64_t v = 0; v < vectors;) {
        const int width = tile_vectors<T>(height, vectors - v, g.packed);
        const int64_t n = v * W, rest = smaller(g.N - n, width * W);
        t.last = static_cast<int>(rest - (width - 1) * W);
        t.b = b + k * t.b_row + v * t.b_vector;
        t.bias = g.bias && ends ? g.bias + n : nullptr;
        const TileShape<T> shape = tile_shape<T>(width, t.last < W);
        const int64_t panels = ceil_div(m1 - m0, shape.tallest);
        for (int64_t panel = 0, m = m0; panel < panels; panel++) {
          const int64_t next = m0 + (m1 - m0) * (panel + 1) / panels;
          t.a = a + m * t.a_row + k * t.a_col;
          t.c = g.c + m * g.ldc + n;
          shape.rows[next - m](t);
          m = next;
        }
        v += width;
      }
    }
    k += kGemmDepth;
  } while (k < g.K);
}

}  // namespace GM_ISA
}  // namespace gradiometer
