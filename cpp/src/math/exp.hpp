// exp and expm1 by x = n ln 2 + r, |r| <= ln 2 / 2, and a polynomial in r.
#pragma once
#include "math/polynomial.hpp"

namespace gradiometer {
namespace GM_ISA {

template <class T>
struct ExpConstants;
template <>
struct ExpConstants<float> {
  // Beyond [low, high] exp times anything the activations multiply it by is 0 or infinite.
  static constexpr float low = -130.0f, high = 89.0f;
  // ln 2 = ln2_high + ln2_low; n * ln2_high is exact for |n| < 2^9, fused or not.
  static constexpr float ln2_high = 0.693145752f, ln2_low = 1.42860677e-6f, log2e = 1.44269504f;
  // (exp(r) - 1 - r) / r², error 2^-28 of exp(r).
  static constexpr float q[] = {0.49999994f, 0.16666515f, 0.041668236f, 0.008369385f, 0.0013824762f};
  // The same, error 2^-31 of expm1(r).
  static constexpr float expm1_q[] = {0.5f,         0.16666666f,   0.041666485f,
                                      0.008333541f, 0.0013933217f, 0.00019766914f};
  static constexpr float expm1_low = -18.0f;  // expm1 is -1 below
};
template <>
struct ExpConstants<double> {
  static constexpr double low = -800.0, high = 710.0;
  static constexpr double ln2_high = 0.6931471805601177, ln2_low = -1.7239444525614835e-13,
                          log2e = 1.4426950408889634;  // exact for |n| < 2^12
  static constexpr double q[] = {0.5000000000000012,    0.1666666666666643,     0.0416666666665159,
                                 0.008333333333482882,  0.0013888888947613642,  0.00019841269535276004,
                                 2.480148874340504e-05, 2.7557556336760876e-06, 2.763187643833688e-07,
                                 2.5011167205235403e-08};  // error 2^-57
  static constexpr double expm1_q[] = {0.5,
                                       0.16666666666666677,
                                       0.041666666666666574,
                                       0.008333333333321171,
                                       0.0013888888888943817,
                                       0.00019841269887758693,
                                       2.480158719852294e-05,
                                       2.755724218236849e-06,
                                       2.75573841756705e-07,
                                       2.5109856849702188e-08,
                                       2.088064953341253e-09};  // error 2^-61
  static constexpr double expm1_low = -38.0;
};

// exp of double where V looks up 16 numbers: x = (n + j / 16) ln 2 + r with j = -8 ... 7, |r|
// <= ln 2 / 32.
struct ExpTable {
  static constexpr double sixteen_log2e = 23.083120654223414;
  static constexpr double step_high = 0.04332169878489367,
                          step_low = 1.0291218489310676e-13;  // k * high exact
  // 2^(j / 16) - 1 at j modulo 16
  static constexpr double excess[16] = {0.0,
                                        0.04427378242741384,
                                        0.09050773266525766,
                                        0.13878863475669165,
                                        0.18920711500272105,
                                        0.24185781207348406,
                                        0.29683955465100964,
                                        0.3542555469368927,
                                        -0.2928932188134525,
                                        -0.2615869270302503,
                                        -0.2288945872960296,
                                        -0.19475483402537286,
                                        -0.15910358474628547,
                                        -0.12187391981335026,
                                        -0.08299595679532877,
                                        -0.042396719301426355};
  // (exp(r) - 1 - r) / r², error 2^-56 of exp(r).
  static constexpr double q[] = {0.5000000000000006, 0.1666666666442232, 0.041666666659686546,
                                 0.008333471795148775, 0.0013889128847900353};
};

// (1 + excess) 2^exponent, |excess| < 0.42: exp before its last steps, for products: one rounding less, and
// none at a subnormal exp (x * sigmoid(x) would else be 50 ulp off at x = -100).
template <class T>
struct Scaled {
  V<T> excess, exponent;
};
template <class T>
inline V<T> value(Scaled<T> e) {
  return scale2(V<T>::set1(T(1)) + e.excess, e.exponent);
}
// factor (1 + excess): what is left to do is scale2 by the exponent.
template <class T>
inline V<T> times_significand(V<T> factor, Scaled<T> e) {
  return fma_once(factor, e.excess, factor);
}
template <class T>
inline V<T> product(V<T> factor, Scaled<T> e) {
  return scale2(times_significand(factor, e), e.exponent);
}

// exp(x + low) for |low| < ulp(x).
// Formula: 2^n (1 + r + r² q(r)), n = round(x / ln 2), r = x - n ln 2 in two parts (Cody and Waite). By table
// 2^n (1 + t) (1 + r + r² q(r)), t = 2^(j / 16) - 1.
// Source: derived; q as polynomial.hpp says.
// Range: x <= high (anything beyond); -inf and all below C::low give a value that is 0; NaN gives NaN.
// Error: 0.35 ulp of 1 + excess, before that sum is rounded; exp then 0.9 ulp, 1.0 by table.
template <class T>
inline Scaled<T> exp_scaled(V<T> x, V<T> low = V<T>::set1(T(0))) {
  using C = ExpConstants<T>;
  x = max(V<T>::set1(C::low), x);
  if constexpr (V<T>::table_entries == 16) {
    using E = ExpTable;
    V<T> magic = V<T>::set1(6755399441055744.0);  // 1.5 * 2^52: leaves the integer in the low bits
    V<T> number = fma(x, V<T>::set1(E::sixteen_log2e), magic);
    V<T> k = number - magic, t = lookup(E::excess, number);
    V<T> r = fnma(k, V<T>::set1(E::step_high), x) + fnma(k, V<T>::set1(E::step_low), low);
    V<T> square = r * r, rest = fma(square, by_pairs(r, square, E::q), r);
    return {fma(V<T>::set1(T(1)) + t, rest, t), round(fma(k, V<T>::set1(1.0 / 16), V<T>::set1(1.0 / 32)))};
  }
  V<T> n = round(x * V<T>::set1(C::log2e));
  V<T> high = fnma(n, V<T>::set1(C::ln2_high), x);
  low = fnma(n, V<T>::set1(C::ln2_low), low);
  V<T> r = high + low;
  V<T> rest = fma(r * r, polynomial(r, C::q), low);
  return {high + rest, n};
}

// Formula: (1 + excess) 2^n.
// Source: exp_scaled.
// Range: all x; subnormal results are right.
// Error: 0.9 ulp.
template <class T>
inline V<T> exp(V<T> x) {
  return value(exp_scaled(min(V<T>::set1(ExpConstants<T>::high), x)));
}

// Formula: 2^n ((r + (1 - 2^-n)) + r² q(r) - n ln2_low), r = x - n ln2_high alone.
// Source: derived; r and 1 - 2^-n are exact and so is their sum where it is small: nothing cancels.
// Range: all x; -1 below expm1_low, inf above high, ±0 and subnormals pass.
// Error: 1.2 ulp.
template <class T>
inline V<T> expm1(V<T> x) {
  using C = ExpConstants<T>;
  V<T> one = V<T>::set1(T(1));
  V<T> v = max(V<T>::set1(C::expm1_low), min(V<T>::set1(C::high), x));
  V<T> n = round(v * V<T>::set1(C::log2e));
  V<T> high = fnma(n, V<T>::set1(C::ln2_high), v);
  V<T> low = n * V<T>::set1(-C::ln2_low);
  V<T> r = high + low;
  V<T> rest = fma(r * r, polynomial(r, C::expm1_q), low);
  return copysign(scale2((high + (one - scale2(one, -n))) + rest, n), x);  // the sign of -0 is lost above
}

}  // namespace GM_ISA
}  // namespace gradiometer
