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

template <class T>
struct TurnedKernels {
  void (*rows[kTurnedRows + 1])(const Tile<T>&, int64_t columns);
  constexpr TurnedKernels() : rows{} { fill<kTurnedRows>(); }
  template <int MR>
  constexpr void fill() {
    rows[MR] = turned_kernel<T, MR>;
    if constexpr (MR > 1) fill<MR - 1>();
  }
};

inline int64_t smaller(int64_t a, int64_t b) { return a < b ? a : b; }
inline int64_t ceil_div(int64_t a, int64_t b) { return (a + b - 1) / b; }

template <class T>
void copy_rows(int64_t rows, int64_t columns, const T* from, int64_t from_stride, T* to, int64_t to_stride) {
  for (int64_t r = 0; r < rows; r++)
    memcpy(to + r * to_stride, from + r * from_stride, static_cast<size_t>(columns) * sizeof(T));
}

// Few rows of a B whose columns are contiguous: it is turned in registers on its way into the sums (1 x 256 x
// 256: 47 GF/s, packed 25).
template <class T>
void gemm_turned(const Gemm<T>& g) {
  constexpr int64_t W = V<T>::lanes, kBytes = static_cast<int64_t>(sizeof(T));
  static constexpr TurnedKernels<T> kernels;
  Tile<T> t;
  t.a_row = g.a_row * kBytes;
  t.a_col = g.a_col * kBytes;
  t.b_vector = g.b_col * kBytes;
  t.ldc = g.ldc;
  for (int64_t n = 0; n < g.N; n += kTurnedVectors * W) {
    t.c = g.c + n;
    int64_t k = 0;
    do {
      t.depth = smaller(g.K - k, kGemmDepth);
      t.add = g.accumulate || k > 0;
      t.bias = g.bias && k + t.depth == g.K ? g.bias + n : nullptr;
      t.a = reinterpret_cast<const char*>(g.a + k * g.a_col);
      t.b = reinterpret_cast<const char*>(g.b + n * g.b_col + k);
      kernels.rows[g.M](t, smaller(g.N - n, kTurnedVectors * W));
      k += kGemmDepth;
    } while (k < g.K);
  }
}

// What gemm does with its operands: B as it lies, turned in registers, or packed a tile at a time on the way;
// A as it lies or copied a block at a time.
template <class T>
bool turns_b(const Gemm<T>& g) {
  return !g.packed && g.b_col != 1 && g.M <= kTurnedRows && !collides<T>(g.b_col);
}
// By rows of 4 KiB, A copied, B packed and as it lies: 128 x 1024 x 1024 107 and 99 GF/s on a Zen 4 (limit
// 118), its weights from memory 97 and 91. Vectors of half a line, with AVX2 there: 512^3 111 and 87, 64 x
// 1024 x 256 100 and 86, but 64 x 256 x 256 99 and 111; 1024^3 on a Zen 5 132 and 88.
template <class T>
bool packs_b(const Gemm<T>& g) {
  if (g.packed || g.b_col != 1) return !g.packed;
  const int64_t bytes = g.b_row * static_cast<int64_t>(sizeof(T));
  if (V<T>::lanes * sizeof(T) < 64) return g.M >= 128 ? bytes >= 1024 : g.M >= 64 && bytes >= 2048;
  return g.M >= 128 && g.K >= 128 && collides<T>(g.b_row);
}
// More rows 4 KiB apart than a set of the L1 cache has places (8 on a Zen 4, 12 on a Zen 5) leave it before
// the next element of theirs is wanted: 128 x 1024 x 1024 97 GF/s, from a copy 111.
template <class T>
bool copies_a(const Gemm<T>& g) {
  if (!collides<T>(g.a_col == 1 ? g.a_row : g.a_col) || g.K < 128) return false;
  const bool many = g.a_col == 1 && g.M > 8 && tile_rows<T, 2>() > 8;
  return many ? g.N >= 128 : g.N >= 256 && g.M >= 512;
}
template <class T>
constexpr int64_t kBlockRows = kGemmBlockBytes / (kGemmDepth * static_cast<int64_t>(sizeof(T)));
// A line more than a power of two.
template <class T>
constexpr int64_t padded(int64_t n) {
  constexpr int64_t kLine = 64 / static_cast<int64_t>(sizeof(T));
  return (ceil_div(n, kLine) | 1) * kLine;
}

template <class T>
struct Workspace {
  int64_t b, a;  // elements of each
  int64_t a_stride;
};
template <class T>
Workspace<T> workspace_for(const Gemm<T>& g) {
  constexpr int64_t W = V<T>::lanes;
  Workspace<T> w = {0, 0, 0};
  if (turns_b(g)) return w;
  const int64_t depth = smaller(g.K, kGemmDepth), rows = smaller(g.M, kBlockRows<T>);
  const int64_t widest = g.M == 1 ? 8 : g.M == 2 ? 4 : 3, vectors = ceil_div(g.N, W);
  if (packs_b(g))
    w.b = depth * W * (g.M > kBlockRows<T> || g.b_col == 1 ? vectors : smaller(widest, vectors));
  if (copies_a(g)) {
    w.a_stride = padded<T>(g.a_col == 1 ? depth : rows);
    w.a = w.a_stride * (g.a_col == 1 ? rows : depth);
  }
  return w;
}
template <class T>
int64_t gemm_workspace(const Gemm<T>& g) {
  const Workspace<T> w = workspace_for(g);
  return w.a + w.b;
}

template <class T>
void gemm(const Gemm<T>& g) {
  constexpr int64_t W = V<T>::lanes, kBytes = static_cast<int64_t>(sizeof(T));
  if (g.M <= 0 || g.N <= 0) return;
  if (turns_b(g)) return gemm_turned(g);
  const Workspace<T> workspace = g.workspace ? workspace_for(g) : Workspace<T>{0, 0, 0};
  const int64_t vectors = ceil_div(g.N, W);
  const int64_t blocks = ceil_div(g.M, kBlockRows<T>);
  const int64_t height = ceil_div(g.M, ceil_div(g.M, tile_rows<T, 2>()));
  const bool contiguous = g.packed || workspace.b;  // B's tiles

  Tile<T> t;
  t.a_row = g.a_row * kBytes;
  t.a_col = g.a_col * kBytes;
  if (workspace.a) {
    t.a_row = (g.a_col == 1 ? workspace.a_stride : 1) * kBytes;
    t.a_col = (g.a_col == 1 ? 1 : workspace.a_stride) * kBytes;
  }
  t.ldc = g.ldc;

  int64_t k = 0;
  do {
    t.depth = smaller(g.K - k, kGemmDepth);
    t.b_row = (contiguous ? W : g.b_row) * kBytes;
    t.b_vector = (g.packed ? g.K * W : workspace.b ? t.depth * W : W) * kBytes;
    t.add = g.accumulate || k > 0;
    const bool ends = k + t.depth == g.K;
    if (workspace.b && g.b_col == 1)
      gemm_pack(t.depth, g.N, g.b + k * g.b_row, g.b_row, 1, 0, g.N, g.workspace);
    for (int64_t block = 0; block < blocks; block++) {
      const int64_t m0 = g.M * block / blocks, m1 = g.M * (block + 1) / blocks;
      const T* a = g.a + m0 * g.a_row + k * g.a_col;
      if (workspace.a) {
        T* copy = g.workspace + workspace.b;
        if (g.a_col == 1)
          copy_rows(m1 - m0, t.depth, a, g.a_row, copy, workspace.a_stride);
        else
          copy_rows(t.depth, m1 - m0, a, g.a_col, copy, workspace.a_stride);
        a = copy;
      }
      for (int64_t v = 0; v < vectors;) {
        const int width = tile_vectors<T>(height, vectors - v, contiguous);
        const int64_t n = v * W, rest = smaller(g.N - n, width * W);
        t.last = static_cast<int>(rest - (width - 1) * W);
        if (workspace.b) {
          T* tile = g.workspace + (blocks > 1 || g.b_col == 1 ? v * W * t.depth : 0);
          if (block == 0 && g.b_col != 1)
            gemm_pack(t.depth, rest, g.b + n * g.b_col + k * g.b_row, g.b_row, g.b_col, 0, rest, tile);
          t.b = reinterpret_cast<const char*>(tile);
        } else if (g.packed) {
          t.b = reinterpret_cast<const char*>(g.packed + k * W + n * g.K);
        } else {
          t.b = reinterpret_cast<const char*>(g.b + k * g.b_row + n);
        }
        t.bias = g.bias && ends ? g.bias + n : nullptr;
        const TileShape<T> shape = tile_shape<T>(width, t.last < W);
        const int64_t panels = ceil_div(m1 - m0, shape.tallest);
        for (int64_t panel = 0, m = 0; panel < panels; panel++) {
          const int64_t next = (m1 - m0) * (panel + 1) / panels;
          t.a = reinterpret_cast<const char*>(a) + m * t.a_row;
          t.c = g.c + (m0 + m) * g.ldc + n;
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
