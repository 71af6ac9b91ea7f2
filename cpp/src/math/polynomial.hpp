// c[0] + c[1] x + ... by Horner's rule, the form every polynomial of this folder is evaluated in.
//
// Coefficients here are computed for this project: weighted minimax of the relative error of the function
// they serve (Lawson's iteration on Chebyshev nodes in 60 digits), rounded to T from the lowest on, the rest
// refitted after each rounding.
#pragma once

namespace gradiometer {
namespace GM_ISA {

template <class T, int N>
inline V<T> polynomial(V<T> x, const T (&c)[N]) {
  V<T> p = V<T>::set1(c[N - 1]);
  for (int i = N - 2; i >= 0; --i) p = fma(p, x, V<T>::set1(c[i]));
  return p;
}

}  // namespace GM_ISA
}  // namespace gradiometer
