// c[0] + c[1] x + ..., the form every polynomial of this folder is evaluated in.
//
// Coefficients here are computed for this project: weighted minimax of the relative error of the function
// they serve (Lawson's iteration on Chebyshev nodes in 60 digits), rounded to T from the lowest on, the rest
// refitted after each rounding.
#pragma once

namespace gradiometer {
namespace GM_ISA {

// c[first] + c[first + step] x + c[first + 2 step] x² + ...
template <int step, class T, int N>
inline V<T> horner(V<T> x, const T (&c)[N], int first) {
  int i = first + (N - 1 - first) / step * step;
  V<T> p = V<T>::set1(c[i]);
  while ((i -= step) >= first) p = fma(p, x, V<T>::set1(c[i]));
  return p;
}

// c[2] + c[3] x + ..., long ones in two halves, even and odd powers: the chain of dependent fma is what they
// would wait for (gelu in double: 40 %).
template <class T, int N>
inline V<T> from_second_power(V<T> x, const T (&c)[N]) {
  if constexpr (N <= 8) return horner<1>(x, c, 2);
  V<T> square = x * x;
  return fma(x, horner<2>(square, c, 3), horner<2>(square, c, 2));
}

// c[0] + c[1] x + ..., by pairs: short ones whose value is waited for (elu in double: 5 % over horner).
template <class T, int N>
inline V<T> by_pairs(V<T> x, V<T> square, const T (&c)[N]) {
  V<T> p = V<T>::set1(c[N - 1]);
  if (N % 2 == 0) p = fma(p, x, V<T>::set1(c[N - 2]));
  for (int i = (N - 1) / 2 * 2 - 2; i >= 0; i -= 2)
    p = fma(square, p, fma(x, V<T>::set1(c[i + 1]), V<T>::set1(c[i])));
  return p;
}

template <class T, int N>
inline V<T> polynomial(V<T> x, const T (&c)[N]) {
  return fma(fma(from_second_power(x, c), x, V<T>::set1(c[1])), x, V<T>::set1(c[0]));
}

// a b + c rounded as a fused one is, or nearly, where fma is not: Knuth's two-sum and the error of the
// product.
template <class T>
inline V<T> fma_once(V<T> a, V<T> b, V<T> c) {
  if constexpr (V<T>::fused) return fma(a, b, c);
  V<T> p = a * b, s = p + c, v = s - p;
  return s + (((p - (s - v)) + (c - v)) + product_error(a, b, p));
}

// polynomial with its last two steps as exact without fused fma as with it.
template <class T, int N>
inline V<T> polynomial_once(V<T> x, const T (&c)[N]) {
  return fma_once(fma_once(from_second_power(x, c), x, V<T>::set1(c[1])), x, V<T>::set1(c[0]));
}

}  // namespace GM_ISA
}  // namespace gradiometer
