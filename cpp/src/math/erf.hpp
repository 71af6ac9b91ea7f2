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
  // g(a) in a - near_centre for a <= 2.5, a g(a) in 1 / a - far_centre beyond, error 2^-26.9 and 2^-26.4. The
  // centres are where the value is a float to many more digits, so that the leading coefficient errs by
  // nothing.
  static constexpr float near_centre = 1.27734375f, far_centre = 0.216796875f;
  static constexpr float near[] = {0.22777334f,   -0.10799743f,     0.044911794f,  -0.01687656f,
                                   0.0058382098f, -0.0018836295f,   0.0005733734f, -0.00016504989f,
                                   4.356636e-05f, -1.14488785e-05f, 3.924216e-06f, -9.63e-07f};
  static constexpr float far[] = {0.3823605f,  -0.136363f, -0.18595397f, 0.41178805f, -0.24421425f,
                                  -0.5928568f, 1.826274f,  -1.5182947f,  -1.5084693f};
  // erf(x) / x - 1 in x², |x| <= 1, error 2^-29.
  static constexpr float erf[] = {0.12837917f,   -0.37612626f,   0.11283581f,   -0.026853547f,
                                  0.0051877405f, -0.0008004633f, 7.8346995e-05f};
};
template <>
struct ErfConstants<double> {
  static constexpr double limit = 39.0;  // from 38.7 on
  static constexpr double near_centre = 1.28125, far_centre = 0.232421875;
  static constexpr double near[] = {
      0.22735215794546432,   -0.10764732803380653,    0.044714509451074684,   -0.016785620933205268,
      0.0058019831576067655, -0.0018703660025121973,  0.0005675961194222195,  -0.00016330478200819664,
      4.479523375194705e-05, -1.1767876805072208e-05, 2.9717631821013625e-06, -7.236633995391766e-07,
      1.703826447697931e-07, -3.8875050021534646e-08, 8.610173233313926e-09,  -1.8550147719938156e-09,
      3.913428354367171e-10, -8.042409907405811e-11,  1.5171220358464416e-11, -2.8830232421545387e-12,
      8.041783875651329e-13, -1.6229113620385744e-13};  // error 2^-56.7
  static constexpr double far[] = {
      0.3801859756327953,    -0.1418761980069347, -0.16703188609362055, 0.39512634945587227,
      -0.2836627058085573,   -0.4178756511858079, 1.613645405447938,    -2.280683637722899,
      -0.025290947206096703, 8.458248927393782,   -22.72771720646682,   29.01821619005847,
      14.261493396326117,    -178.3378996784171,  500.9234625974891,    -698.958152977808,
      -314.299395533517,     2679.1266183728653,  -8296.456010676819,   68290.98953280525,
      -110830.2395166204,    -702620.7620372563,  1095951.3883938869,   3027925.5129179843};  // error 2^-56.3
  static constexpr double erf[] = {0.12837916709551256,     -0.3761263890318337,     0.11283791670938761,
                                   -0.026866170642304257,   0.005223977599869771,    -0.0008548325645477665,
                                   0.00012055285511860266,  -1.4924564763185777e-05, 1.6445394208885534e-06,
                                   -1.6193587945659148e-07, 1.3658223208679815e-08,  -7.684894045542752e-10};
};

// a bounded by ErfConstants::limit, NaN kept: what normal_tail and exp_minus_square take.
template <class T>
inline V<T> tail_argument(V<T> x) {
  return min(V<T>::set1(ErfConstants<T>::limit), abs(x));
}

// g(a) = Φ(-a) exp(a²/2) and a g(a).
// Formula: one polynomial for a < 2.5, one in u = 1 / a beyond, for a g(a), which is smooth there.
// Source: fitted. One quotient P / Q for all a loses 4 to 7 ulp in its last steps where a is large, one
// polynomial in 1 / (a + 3.5) loses 6 where a is small. The second is left out where no lane needs it: one of
// ten vectors of 8 standard normal x does. Range: 0 <= a <= limit. Error: 2.2 ulp.
template <class T>
struct NormalTail {
  V<T> g, a_g;
};
template <class T>
inline NormalTail<T> normal_tail(V<T> a) {
  using C = ErfConstants<T>;
  V<T> near = polynomial_once(a - V<T>::set1(C::near_centre), C::near);
  NormalTail<T> tail = {near, a * near};
  M<T> is_near = lt(a, V<T>::set1(T(2.5)));
  if (any(!is_near)) {
    V<T> u = V<T>::set1(T(1)) / a;
    V<T> far = polynomial(u - V<T>::set1(C::far_centre), C::far);
    tail = {select(is_near, near, u * far), select(is_near, tail.a_g, far)};
  }
  return tail;
}

// exp(-c a²), c a power of two.
// Formula: exp_scaled of the square and of what the square lost in rounding: at a = 14 worth 100 ulp.
// Source: derived.
// Range: 0 <= a <= limit.
// Error: that of exp_scaled.
template <class T>
inline Scaled<T> exp_minus_square(V<T> a, T c) {
  V<T> square = a * a, minus_c = V<T>::set1(-c);
  return exp_scaled(minus_c * square, minus_c * product_error(a, a, square));
}

// Formula: 2 g(√2 |x|) exp(-x²), from 2 for x < 0. The rounding of √2 |x| moves g by no more than itself.
// Source: the definition of g.
// Range: all x; down to the subnormals.
// Error: 3.9 ulp.
template <class T>
inline V<T> erfc(V<T> x) {
  V<T> a = min(V<T>::set1(ErfConstants<T>::limit * T(0.7071067)), abs(x));
  Scaled<T> e = exp_minus_square(a, T(1));
  V<T> two = V<T>::set1(T(2));
  V<T> tail = product(two * normal_tail(V<T>::set1(T(1.41421356237309505)) * a).g, e);
  return select(lt(x, V<T>::set1(T(0))), two - tail, tail);
}

// Formula: x (1 + P(x²)) for |x| <= 1, 1 - erfc(|x|) with the sign of x beyond.
// Source: fitted; erfc.
// Range: all x; ±0 and subnormals pass.
// Error: 1.2 ulp.
template <class T>
inline V<T> erf(V<T> x) {
  V<T> one = V<T>::set1(T(1)), a = abs(x);
  V<T> near = fma(a, polynomial(a * a, ErfConstants<T>::erf), a);
  return copysign(select(lt(a, one), near, one - erfc(a)), x);
}

}  // namespace GM_ISA
}  // namespace gradiometer
