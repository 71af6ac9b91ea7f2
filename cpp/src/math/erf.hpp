// erf, erfc and the tail of the normal distribution Φ, all from one function without an exponential in it:
// g(a) = Φ(-a) exp(a²/2) = erfc(a / √2) exp(a²/2) / 2, which falls from 1/2 like 1/a.
#pragma once
#include "math/exp.hpp"

namespace gradiometer {
namespace GM_ISA {

template <class T>
struct ErfConstants;
template <>
struct ErfConstants<float> {
  static constexpr float limit = 15.0f;  // a exp(-a²/2) is 0 from 14.6 on
  // g(a) in a - 1 for a <= 2, error 2^-27; (a + shift) g(a) in 1 / (a + shift) for a >= 2, error 2^-26.8.
  static constexpr float near[] = {0.2615783f,    -0.137364f,      0.06210714f,   -0.025085298f,
                                   0.009255482f,  -0.0031680146f,  0.0010148269f, -0.00030256363f,
                                   8.795065e-05f, -2.9120267e-05f, 7.3098954e-06f};
  static constexpr float shift = 1.0f;
  static constexpr float far[] = {0.39893526f, 0.39937454f, -0.011198978f, -0.6384069f,
                                  -2.1577995f, 9.372741f,   -13.060044f,   6.8201284f};
  // erf(x) / x - 1 in x², |x| <= 1, error 2^-29.
  static constexpr float erf[] = {0.12837917f,   -0.37612626f,   0.11283581f,   -0.026853547f,
                                  0.0051877405f, -0.0008004633f, 7.8346995e-05f};
};
template <>
struct ErfConstants<double> {
  static constexpr double limit = 39.0;  // from 38.7 on
  static constexpr double near[] = {0.2615782918651234,      -0.13736398853630932,    0.062107151664406314,
                                    -0.025085612290632903,   0.009255384843451191,    -0.003166045489461234,
                                    0.0010148898923574552,   -0.00030730794225129786, 8.844774302060563e-05,
                                    -2.4317800665172943e-05, 6.412998615687092e-06,   -1.6277077834139116e-06,
                                    3.9876142383432627e-07,  -9.45354627653676e-08,   2.1751690426358533e-08,
                                    -4.853215765172102e-09,  1.0358018060153203e-09,  -2.2194642514188235e-10,
                                    5.5694594786874343e-11,  -1.0686392022182065e-11};  // error 2^-54.8
  static constexpr double shift = 2.0;
  static constexpr double far[] = {
      0.3989422804011487,  0.7978845608914511, 1.1968268287666877, 0.7978856093424092,
      -1.9947710943664008, -7.178515935321646, -4.463294311842333, 36.07106976404844,
      67.00412281299306,   391.9153512039708,  -6404.767279051049, 47265.813752974704,
      -337402.2284828995,  1940078.9964376576, -7916857.746384275, 22493424.847213283,
      -44046019.07305984,  57230282.42715993,  -44737911.85236857, 16010045.353783341};  // error 2^-57.2
  static constexpr double erf[] = {0.12837916709551256,     -0.3761263890318337,     0.11283791670938761,
                                   -0.026866170642304257,   0.005223977599869771,    -0.0008548325645477665,
                                   0.00012055285511860266,  -1.4924564763185777e-05, 1.6445394208885534e-06,
                                   -1.6193587945659148e-07, 1.3658223208679815e-08,  -7.684894045542752e-10};
};

// a bounded by ErfConstants::limit, NaN kept: what the two functions below take.
template <class T>
inline V<T> tail_argument(V<T> x) {
  return min(V<T>::set1(ErfConstants<T>::limit), abs(x));
}

// g(a) = Φ(-a) exp(a²/2).
// Formula: a polynomial in a - 1 for a < 2, u P(u) with u = 1 / (a + shift) beyond. Source: fitted.
// (One quotient P / Q for all a is 20 % cheaper and loses 4 to 7 ulp in its last steps where a is large; one
// polynomial in 1 / (a + 3.5) loses 6 where a is small.)
// Range: 0 <= a <= limit.
// Error: ? ulp.
template <class T>
inline V<T> normal_tail(V<T> a) {
  using C = ErfConstants<T>;
  V<T> one = V<T>::set1(T(1));
  V<T> near = polynomial(a - one, C::near);
  V<T> u = one / (a + V<T>::set1(C::shift));
  return select(lt(a, V<T>::set1(T(2))), near, u * polynomial(u, C::far));
}

// exp(-c a²), c a power of two.
// Formula: exp_scaled of the square and of what the square lost in rounding, which at a = 14 is worth 100
// ulp. Source: derived. Range: 0 <= a <= limit. Error: significand 1 ulp.
template <class T>
inline Scaled<T> exp_minus_square(V<T> a, T c) {
  V<T> square = a * a, minus_c = V<T>::set1(-c);
  return exp_scaled(minus_c * square, minus_c * product_error(a, a, square));
}

// Formula: 2 g(√2 |x|) exp(-x²), from 2 for x < 0. The rounding of √2 |x| moves g by no more than itself.
// Source: the definition of g. Range: all x; down to the subnormals.
// Error: ? ulp.
template <class T>
inline V<T> erfc(V<T> x) {
  V<T> a = min(V<T>::set1(ErfConstants<T>::limit * T(0.7071067)), abs(x));
  Scaled<T> e = exp_minus_square(a, T(1));
  V<T> two = V<T>::set1(T(2));
  V<T> tail = scale2(two * normal_tail(V<T>::set1(T(1.41421356237309505)) * a) * e.significand, e.exponent);
  return select(lt(x, V<T>::set1(T(0))), two - tail, tail);
}

// Formula: x (1 + P(x²)) for |x| <= 1, 1 - erfc(|x|) with the sign of x beyond. Source: fitted; erfc.
// Range: all x; ±0 and subnormals pass.
// Error: ? ulp.
template <class T>
inline V<T> erf(V<T> x) {
  V<T> one = V<T>::set1(T(1)), a = abs(x);
  V<T> near = fma(a, polynomial(a * a, ErfConstants<T>::erf), a);
  return copysign(select(lt(a, one), near, one - erfc(a)), x);
}

}  // namespace GM_ISA
}  // namespace gradiometer
