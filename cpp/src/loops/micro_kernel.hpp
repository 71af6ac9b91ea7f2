// The innermost loop of matrix multiplication: a tile of C, MR rows by NV vectors, held in registers while K
// runs.
#pragma once
#include <stdint.h>
#include <string.h>

namespace gradiometer {
namespace GM_ISA {

// A's element (m, k) is at a + m * a_row + k * a_col, B's vector v of row k at b + k * b_row + v * b_vector:
// NN and TN, row-major and packed are values of these strides. They are in bytes: of strides in elements GCC
// 12 makes a second copy of each kernel, for a_col 1.
template <class T>
struct Tile {
  int64_t depth;
  const char* a;
  int64_t a_row, a_col;
  const char* b;
  int64_t b_row, b_vector;
  T* c;
  int64_t ldc;
  const T* bias;
  bool add;  // to C's present value
  int last;  // lanes of the last vector that exist
};

// The heights a tile of NV vectors comes in. The accumulators, a broadcast and the vectors of a row of B are
// in registers together; the wide tiles are for few rows, which alone would not have the eight or more
// independent sums that hide the latency of fma.
constexpr int kTallest = 14;
template <class T>
constexpr int kRegisters = V<T>::lanes * sizeof(T) == 64 ? 32 : 16;
template <class T>
constexpr int kLongRow = kRegisters<T> / 2;
template <class T, int NV>
constexpr int tile_rows() {
  if (NV >= 8) return 1;
  if (NV == 4) return 2;
  if (NV == 1) return 12;
  int rows = (kRegisters<T> - 1 - NV) / NV;
  return rows < kTallest ? rows : kTallest;
}

template <class T>
inline V<T> broadcast(const char* p) {
  T s;
  memcpy(&s, p, sizeof(T));
  return V<T>::set1(s);
}
template <class T, int NV, bool partial>
inline V<T> load_vector(const T* p, int v, int last) {
  return partial && v == NV - 1 ? V<T>::load(p, last) : V<T>::load(p);
}
template <class T, int NV, bool partial>
inline void store_vector(V<T> s, T* p, int v, int last) {
  if (partial && v == NV - 1)
    s.store(p, last);
  else
    s.store(p);
}

// Adds what is to be added and writes the tile.
template <class T, int MR, int NV, bool partial>
__attribute__((always_inline)) inline void finish(const Tile<T>& t, decltype(V<T>::v) (&sum)[MR][NV]) {
  const int last = t.last;
  constexpr int W = V<T>::lanes;
  T* c = t.c;
  const int64_t ldc = t.ldc;
  if (t.add) {
#pragma GCC unroll 16
    for (int m = 0; m < MR; m++, c += ldc)
#pragma GCC unroll 16
      for (int v = 0; v < NV; v++)
        sum[m][v] = (load_vector<T, NV, partial>(c + v * W, v, last) + V<T>{sum[m][v]}).v;
    c = t.c;
  }
  if (t.bias) {
#pragma GCC unroll 16
    for (int v = 0; v < NV; v++) {
      V<T> bias = load_vector<T, NV, partial>(t.bias + v * W, v, last);
#pragma GCC unroll 16
      for (int m = 0; m < MR; m++) sum[m][v] = (V<T>{sum[m][v]} + bias).v;
    }
  }
#pragma GCC unroll 16
  for (int m = 0; m < MR; m++, c += ldc)
#pragma GCC unroll 16
    for (int v = 0; v < NV; v++) store_vector<T, NV, partial>(V<T>{sum[m][v]}, c + v * W, v, last);
}

template <class T, int MR, int NV, bool partial>
void micro_kernel(const Tile<T>& t) {
  // Not V<T>: an array of structs of one float lives in integer registers with GCC 12, at half the speed.
  using Lanes = decltype(V<T>::v);
  Lanes sum[MR][NV];
#pragma GCC unroll 16
  for (int m = 0; m < MR; m++)
#pragma GCC unroll 16
    for (int v = 0; v < NV; v++) sum[m][v] = V<T>::set1(T(0)).v;

  // C's rows are too far apart for the processor to foresee.
  if (t.depth >= 128)
#pragma GCC unroll 16
    for (int m = 0; m < MR; m++)
#pragma GCC unroll 16
      for (int v = 0; v < NV; v++) __builtin_prefetch(t.c + m * t.ldc + v * V<T>::lanes, 1);

  // Rows in groups of five share a pointer and the multiples of a_row: 14 offsets do not fit the integer
  // registers.
  const char* a[3] = {t.a, t.a + 5 * t.a_row, t.a + 10 * t.a_row};
  const char* b = t.b;
  const int64_t a_row = t.a_row, a_col = t.a_col, b_row = t.b_row;
  // A long row is contiguous: 1 x 256 x 256 goes from 70 to 98 GF/s when its 16 offsets are constants.
  const int64_t b_vector = NV > 8 ? static_cast<int64_t>(V<T>::lanes * sizeof(T)) : t.b_vector;
  const int last = t.last;
  for (int64_t k = t.depth; k > 0; k--) {
    Lanes row[NV];
#pragma GCC unroll 16
    for (int v = 0; v < NV; v++)
      row[v] = load_vector<T, NV, partial>(reinterpret_cast<const T*>(b + v * b_vector), v, last).v;
#pragma GCC unroll 16
    for (int m = 0; m < MR; m++) {
      V<T> s = broadcast<T>(a[m / 5] + m % 5 * a_row);
#pragma GCC unroll 16
      for (int v = 0; v < NV; v++) sum[m][v] = fma(s, V<T>{row[v]}, V<T>{sum[m][v]}).v;
    }
    a[0] += a_col;
    a[1] += a_col;
    a[2] += a_col;
    b += b_row;
  }

  finish<T, MR, NV, partial>(t, sum);
}

// The same sums where B's columns are contiguous, b_vector bytes apart: `lanes` columns by `lanes` rows at a
// time are turned in registers. So that few rows have enough independent sums, `columns` of B, up to
// kTurnedVectors vectors, go side by side; their sums wait in the L1 cache, which costs nothing where three
// or more are under way, while GCC spills half of four unrolled ones (1 x 64 x 64: 31 GF/s).
constexpr int kTurnedVectors = 4, kTurnedRows = 4;

template <class T, int MR>
void turned_kernel(const Tile<T>& t, int64_t columns) {
  constexpr int W = V<T>::lanes;
  using Lanes = decltype(V<T>::v);
  Lanes sums[kTurnedVectors][MR];
  for (int g = 0; g < kTurnedVectors; g++)
#pragma GCC unroll 16
    for (int m = 0; m < MR; m++) sums[g][m] = V<T>::set1(T(0)).v;
  const char* a = t.a;
  const int64_t a_row = t.a_row, a_col = t.a_col, b_column = t.b_vector;
  for (int64_t k = 0; k < t.depth; k += W) {
    const int depth = static_cast<int>(t.depth - k < W ? t.depth - k : W);
#pragma GCC unroll 1
    for (int g = 0; g * W < columns; g++) {
      V<T> r[W];
      Lanes sum[MR];
#pragma GCC unroll 16
      for (int m = 0; m < MR; m++) sum[m] = sums[g][m];
      const char* column = t.b + k * static_cast<int64_t>(sizeof(T)) + g * W * b_column;
      const char* x = a;
      if (depth == W && (g + 1) * W <= columns) {
#pragma GCC unroll 16
        for (int j = 0; j < W; j++, column += b_column) {
          r[j] = V<T>::load(reinterpret_cast<const T*>(column));
          __builtin_prefetch(column + 128);
        }
        transpose(r);
#pragma GCC unroll 16
        for (int j = 0; j < W; j++, x += a_col)
#pragma GCC unroll 16
          for (int m = 0; m < MR; m++) sum[m] = fma(broadcast<T>(x + m * a_row), r[j], V<T>{sum[m]}).v;
      } else {
        const int last = static_cast<int>(columns - g * W);
        for (int j = 0; j < W; j++, column += b_column)
          r[j] = j < last ? V<T>::load(reinterpret_cast<const T*>(column), depth) : V<T>::set1(T(0));
        transpose(r);
        for (int j = 0; j < depth; j++, x += a_col)
#pragma GCC unroll 16
          for (int m = 0; m < MR; m++) sum[m] = fma(broadcast<T>(x + m * a_row), r[j], V<T>{sum[m]}).v;
      }
#pragma GCC unroll 16
      for (int m = 0; m < MR; m++) sums[g][m] = sum[m];
    }
    a += depth * a_col;
  }
  Tile<T> part = t;
  for (int g = 0; g * W < columns; g++) {
    Lanes sum[MR][1];
#pragma GCC unroll 16
    for (int m = 0; m < MR; m++) sum[m][0] = sums[g][m];
    part.last = static_cast<int>(columns - g * W < W ? columns - g * W : W);
    finish<T, MR, 1, (W > 1)>(part, sum);
    part.c += W;
    if (part.bias) part.bias += W;
  }
}

}  // namespace GM_ISA
}  // namespace gradiometer
