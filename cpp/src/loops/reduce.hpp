// Reductions in a fixed order: same input, same bits, whatever the team. Contracts: kernel_table.hpp.
#pragma once
#include "kernel_table.hpp"

namespace gradiometer {
namespace GM_ISA {

constexpr int64_t kRowBlock = 512;

template <class T>
void column_sum(int64_t rows, int64_t C, const T* x, int64_t ld, T* out, bool accumulate) {
  constexpr int W = V<T>::lanes;
  for (int64_t c = 0; c < C; c += W) {
    int w = static_cast<int>(C - c < W ? C - c : W);
    V<T> total = V<T>::set1(T(0));
    for (int64_t r0 = 0; r0 < rows; r0 += kRowBlock) {
      V<T> block = V<T>::set1(T(0));
      int64_t r1 = r0 + kRowBlock < rows ? r0 + kRowBlock : rows;
      for (int64_t r = r0; r < r1; r++) block = block + V<T>::load(x + r * ld + c, w);
      total = total + block;
    }
    if (accumulate) total = V<T>::load(out + c, w) + total;
    total.store(out + c, w);
  }
}

template <class T>
void moments(int64_t n, const T* x, Moments* out) {
  constexpr T smallest = sizeof(T) == 4 ? T(1.17549435e-38) : T(2.2250738585072014e-308);
  Moments m = {n, 0, 0, 0, 0, 0.0, 0.0, 0.0};
  for (int64_t i = 0; i < n; i++) {
    T v = x[i], a = v < 0 ? -v : v;
    if (v != v) {
      m.nans++;
    } else if (a - a != 0) {
      m.infs++;
    } else {
      if (a == 0) m.zeros++;
      else if (a < smallest) m.subnormals++;
      double d = static_cast<double>(v);
      m.sum += d;
      m.sum_squares += d * d;
      if (static_cast<double>(a) > m.max_abs) m.max_abs = static_cast<double>(a);
    }
  }
  *out = m;
}

template <class T>
void row_squares(int64_t rows, int64_t C, const T* x, int64_t ld, double* out) {
  for (int64_t r = 0; r < rows; r++) {
    double s = 0;
    for (int64_t c = 0; c < C; c++) {
      double v = static_cast<double>(x[r * ld + c]);
      s += v * v;
    }
    out[r] = s;
  }
}

template <class T>
void above(int64_t rows, int64_t C, const T* x, int64_t ld, double threshold, unsigned char* active,
           int64_t* count) {
  int64_t n = 0;
  for (int64_t r = 0; r < rows; r++)
    for (int64_t c = 0; c < C; c++) {
      double v = static_cast<double>(x[r * ld + c]);
      if (v > threshold || v < -threshold) {
        n++;
        active[c] = 1;
      }
    }
  *count += n;
}

}  // namespace GM_ISA
}  // namespace gradiometer
