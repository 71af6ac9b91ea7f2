// PReLU over (N, C): x, and w x for x <= 0, with one w for all or one a feature (He, Zhang, Ren, Sun 2015,
// arXiv:1502.01852). Contract: kernel_table.hpp.
#pragma once
#include "kernel_table.hpp"
#include "ops/activations.hpp"
#include "simd/lanes.hpp"

namespace gradiometer {
namespace GM_ISA {

template <class T>
void prelu_forward(int64_t N, int64_t C, bool shared, const T* x, const T* weight, T* y) {
  constexpr int W = V<T>::lanes;
  for (int64_t r = 0; r < N; r++)
    for_lanes<W>(C, [=, row = x + r * C, out = y + r * C](int64_t c, auto lanes) {
      V<T> w = shared ? V<T>::set1(*weight) : load(weight + c, lanes);
      store(leaky(load(row + c, lanes), w), out + c, lanes);
    });
}

template <class T>
void prelu_backward(int64_t N, int64_t C, bool shared, const T* x, const T* weight, const T* dy, T* dx) {
  constexpr int W = V<T>::lanes;
  for (int64_t r = 0; r < N; r++)
    for_lanes<W>(C, [=, row = x + r * C, drow = dy + r * C, out = dx + r * C](int64_t c, auto lanes) {
      V<T> w = shared ? V<T>::set1(*weight) : load(weight + c, lanes);
      store(load(drow + c, lanes) * leaky_derivative(load(row + c, lanes), w), out + c, lanes);
    });
}

// dw = sum of x dy over x <= 0, in float64 in the order of the rows.
template <class T>
void prelu_parameters(int64_t N, int64_t C, bool shared, const T* x, const T* dy, int64_t c0, int64_t c1,
                      T* dweight, bool accumulate) {
  constexpr int W = V<double>::lanes;
  auto term = [=](int64_t i, auto lanes) {
    V<double> v = widen(x + i, lanes);
    return select(positive(v), V<double>::set1(0), v * widen(dy + i, lanes));
  };
  auto put = [=](int64_t c, double sum) {
    dweight[c] = static_cast<T>((accumulate ? static_cast<double>(dweight[c]) : 0) + sum);
  };
  if (shared) {
    if (c0 > 0) return;
    double total = 0;
    for (int64_t r = 0; r < N; r++)
      total += sum_over(C, [=](int64_t c, auto lanes) { return term(r * C + c, lanes); });
    put(0, total);
    return;
  }
  constexpr int64_t block = 512;  // columns whose sums stay in L1
  for (int64_t c = c0; c < c1; c += block) {
    const int64_t B = c1 - c < block ? c1 - c : block;
    double sums[block] = {};
    for (int64_t r = 0; r < N; r++)
      for_lanes<W>(B, [&](int64_t i, auto lanes) {
        store(load(static_cast<const double*>(sums) + i, lanes) + term(r * C + c + i, lanes), sums + i,
              lanes);
      });
    for (int64_t i = 0; i < B; i++) put(c + i, sums[i]);
  }
}

}  // namespace GM_ISA
}  // namespace gradiometer
