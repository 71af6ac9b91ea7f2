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

// Where V looks up a table of 128 bytes: x = (n + j / entries) ln 2 + r, |r| <= ln 2 / (2 entries).
template <class T>
struct ExpTable;
template <>
struct ExpTable<float> {
  static constexpr float magic = 0x1.8p18f;  // added, leaves x in 32nds in the low bits
  // 2^(j / 32); 2^(j / 32) - 1, in the second half of j - 32
  static constexpr float power[32] = {
      1.0f,       1.0218972f, 1.0442737f, 1.0671405f, 1.0905077f, 1.1143868f, 1.1387886f, 1.1637249f,
      1.1892071f, 1.2152474f, 1.2418578f, 1.269051f,  1.2968396f, 1.3252367f, 1.3542556f, 1.38391f,
      1.4142135f, 1.4451808f, 1.4768262f, 1.5091645f, 1.5422108f, 1.5759809f, 1.6104903f, 1.6457555f,
      1.6817929f, 1.7186193f, 1.7562522f, 1.7947091f, 1.8340081f, 1.8741677f, 1.9152066f, 1.9571441f};
  static constexpr float near[32] = {
      0.0f,         0.021897148f, 0.044273783f, 0.0671404f,   0.09050773f,  0.114386745f, 0.13878864f,
      0.16372485f,  0.18920712f,  0.21524736f,  0.24185781f,  0.26905096f,  0.29683957f,  0.32523665f,
      0.35425556f,  0.38390988f,  -0.29289323f, -0.27740958f, -0.26158693f, -0.24541779f, -0.22889459f,
      -0.21200958f, -0.19475484f, -0.17712227f, -0.15910359f, -0.14069036f, -0.12187392f, -0.102645464f,
      -0.08299596f, -0.06291618f, -0.04239672f, -0.021427939f};
  // (exp(r) - 1 - r) / r², error 2^-33 of exp(r).
  static constexpr float q[] = {0.500004f, 0.16666764f};
};
template <>
struct ExpTable<double> {
  static constexpr double magic = 0x1.8p48;
  static constexpr double power[16] = {1.0,
                                       1.0442737824274138,
                                       1.0905077326652577,
                                       1.1387886347566916,
                                       1.189207115002721,
                                       1.241857812073484,
                                       1.2968395546510096,
                                       1.3542555469368927,
                                       1.4142135623730951,
                                       1.4768261459394993,
                                       1.5422108254079407,
                                       1.6104903319492543,
                                       1.681792830507429,
                                       1.7562521603732995,
                                       1.8340080864093424,
                                       1.9152065613971474};
  static constexpr double near[16] = {0.0,
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
  // error 2^-56
  static constexpr double q[] = {0.5000000000000006, 0.1666666666442232, 0.041666666659686546,
                                 0.008333471795148775, 0.0013889128847900353};
};
template <class T>
constexpr bool kExpByTable = V<T>::table_entries* static_cast<int>(sizeof(T)) == 128;

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

// exp(x + low) = 2^k (1 + rest), k a multiple of 1 / entries, which stands in the low bits of number.
template <class T>
struct ByTable {
  V<T> number, k, rest;
};
template <class T, int N, class... Low>
inline ByTable<T> exp_by_table(const T (&q)[N], V<T> x, Low... low) {
  using C = ExpConstants<T>;
  V<T> magic = V<T>::set1(ExpTable<T>::magic);
  V<T> number = fma(x, V<T>::set1(C::log2e), magic);
  V<T> k = number - magic;
  V<T> r = fnma(k, V<T>::set1(C::ln2_high), x);
  if constexpr (sizeof...(low) == 0)
    r = fnma(k, V<T>::set1(C::ln2_low), r);
  else
    r = r + fnma(k, V<T>::set1(C::ln2_low), low...);
  V<T> square = r * r;
  return {number, k, fma(square, by_pairs(r, square, q), r)};
}

// exp(x + low) for |low| < ulp(x).
// Formula: 2^n (1 + r + r² q(r)), n = round(x / ln 2), r = x - n ln 2 in two parts (Cody and Waite). By table
// 2^n (1 + t) (1 + r + r² q(r)), t = 2^(j / entries) - 1 for the smallest |j|: n is the floor of k + 1/2, and
// that scale2 takes. Source: derived; q as polynomial.hpp says. Range: x <= high (anything beyond); -inf and
// all below C::low give a value that is 0; NaN gives NaN. Error: 0.35 ulp of 1 + excess, before that sum is
// rounded; exp then 0.9 ulp, 1.0 by table.
template <class T, class... Low>
[[gnu::always_inline]] inline Scaled<T> exp_scaled(V<T> x, Low... given) {
  using C = ExpConstants<T>;
  x = max(V<T>::set1(C::low), x);
  if constexpr (kExpByTable<T>) {
    ByTable<T> e = exp_by_table(ExpTable<T>::q, x, given...);
    V<T> t = lookup(ExpTable<T>::near, e.number);
    return {fma(V<T>::set1(T(1)) + t, e.rest, t), e.k + V<T>::set1(T(0.5))};
  }
  V<T> n = round(x * V<T>::set1(C::log2e));
  V<T> high = fnma(n, V<T>::set1(C::ln2_high), x);
  V<T> low;
  if constexpr (sizeof...(given) == 0)
    low = n * V<T>::set1(-C::ln2_low);
  else
    low = fnma(n, V<T>::set1(C::ln2_low), given...);
  V<T> r = high + low;
  V<T> rest = fma(r * r, polynomial(r, C::q), low);
  return {high + rest, n};
}

// value(exp_scaled(x, low)).
// Formula: that of exp_scaled; by table 1 + t itself is looked up, with j from 0 on, three steps less.
// Source: derived there.
// Range: that of exp_scaled; subnormal results are right.
// Error: 0.9 ulp, 1.1 by table.
template <class T, class... Low>
[[gnu::always_inline]] inline V<T> exp_value(V<T> x, Low... low) {
  if constexpr (kExpByTable<T>) {
    ByTable<T> e = exp_by_table(ExpTable<T>::q, max(V<T>::set1(ExpConstants<T>::low), x), low...);
    V<T> power = lookup(ExpTable<T>::power, e.number);
    return scale2(fma(power, e.rest, power), e.k);
  }
  return value(exp_scaled(x, low...));
}

// Formula: exp_value.
// Source: there.
// Range: all x; subnormal results are right.
// Error: that of exp_value.
template <class T>
inline V<T> exp(V<T> x) {
  return exp_value(min(V<T>::set1(ExpConstants<T>::high), x));
}

// Formula: 2^n ((r + (1 - 2^-n)) + r² q(r) - n ln2_low), r = x - n ln2_high alone.
// Source: derived; r and 1 - 2^-n are exact and so is their sum where it is small: nothing cancels.
// Range: all x; -1 below expm1_low, inf above high, ±0 and subnormals pass.
// Error: 1.2 ulp.
template <class T>
[[gnu::always_inline]] inline V<T> expm1(V<T> x) {
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
