// sigmoid, tanh and x - tanh(x).
#pragma once
#include "math/exp.hpp"
#include "math/table.hpp"

namespace gradiometer {
namespace GM_ISA {

// Formula: with e = exp(-|x|): 1 / (1 + e), and e / (1 + e) for x < 0: nothing cancels or overflows.
// Source: derived. By 32 intervals with a polynomial of degree 6 each, without exponential and division, a
// core with AVX-512 of half the width takes 16.8 cycles a vector of floats, so 14.8.
// Range: all x; down to the subnormals (3.78e-44 at -100 in float).
// Error: 2.4 ulp.
template <class T>
inline V<T> sigmoid(V<T> x) {
  V<T> one = V<T>::set1(T(1));
  V<T> e = sizeof(T) == 4 ? value(exp_scaled(-abs(x))) : exp_value(-abs(x));
  return by_sign(x, e, one) / (one + e);
}

// c σ(a) σ(-a), c a power of two: the derivative of sigmoid, and with 2 a and 4 that of tanh.
// Formula: c e / (1 + e)², e = exp(-a), c e made at once, for its subnormals are the result. By table itself.
// Source: derived.
// Range: a >= 0; down to the subnormals.
// Error: 3.9 ulp, 1.8 by table.
template <class T>
inline V<T> bell_by_exp(V<T> a, T c) {
  V<T> e;
  if constexpr (kExpByTable<T>) {
    ByTable<T> b = exp_by_table(ExpTable<T>::q, max(V<T>::set1(ExpConstants<T>::low), -a));
    V<T> power = lookup(ExpTable<T>::power, b.number);
    if (c != T(1)) power = V<T>::set1(c) * power;
    e = scale2(fma(power, b.rest, power), b.k);
  } else {
    e = product(V<T>::set1(c), exp_scaled(-a));
  }
  V<T> s = c == T(1) ? V<T>::set1(T(1)) + e : fma(e, V<T>::set1(1 / c), V<T>::set1(T(1)));
  return e / (s * s);
}
template <class T>
inline V<T> sigmoid_slope(V<T> x) {
  V<T> a = abs(x);
  auto by_exp = [=] { return bell_by_exp(a, T(1)); };
  if constexpr (V<T>::table_entries == 32)
    return unless(lt(V<T>::set1(BellTable::limit), a), by_table<BellTable>(a), by_exp);
  else
    return by_exp();
}
template <class T>
inline V<T> tanh_slope(V<T> x) {
  V<T> a = abs(x);
  auto by_exp = [=] { return bell_by_exp(a + a, T(4)); };
  if constexpr (V<T>::table_entries == 32)
    return unless(lt(V<T>::set1(TanhSlopeTable::limit), a), by_table<TanhSlopeTable>(a), by_exp);
  else
    return by_exp();
}

// Formula: 32 intervals, four to an octave from 2^-4 to 2^4, each with a polynomial in |x| - centre; the
// first serves all |x| < 5/64 with centre 0, where |x| itself is the leading term.
// Source: fitted; each centre is where tanh is a float to 2^-30 or better (Gal).
// Range: all x, where V looks up 32 entries.
// Error: 0.73 ulp, and 30 % faster than the quotient below.
template <class T>
struct TanhTable {
  static constexpr float centre[32] = {
      2.2495773f,   2.749523f,   3.2493773f, 3.7507064f,  4.500294f,   5.4985805f,  6.498972f,
      7.565727f,    8.317766f,   11.002861f, 13.002861f,  15.002861f,  0.0f,        0.085925296f,
      0.101560496f, 0.11719151f, 0.1405984f, 0.17188764f, 0.20316914f, 0.23441929f, 0.28121307f,
      0.34375155f,  0.40618768f, 0.4688358f, 0.56240565f, 0.6874732f,  0.8123744f,  0.9374493f,
      1.1253259f,   1.3747424f,  1.625279f,  1.8746567f};
  static constexpr float c[6][32] = {
      {0.97800773f, 0.991852f,   0.9969939f,  0.998896f,   0.99975336f, 0.9999665f,  0.99999547f, 0.99999946f,
       0.9999999f,  1.0f,        1.0f,        1.0f,        0.0f,        0.08571445f, 0.10121275f, 0.11665794f,
       0.13967922f, 0.17021458f, 0.20041908f, 0.23021765f, 0.27402744f, 0.3308225f,  0.3852309f,  0.43725818f,
       0.50976014f, 0.5963563f,  0.670898f,   0.7340481f,  0.8094135f,  0.8797685f,  0.9253863f,  0.9540144f},
      {0.04350087f,   0.016229643f,   0.0060031665f,  0.0022067768f,  0.0004932417f,  6.699621e-05f,
       9.060126e-06f, 1.0731043e-06f, 2.3910482e-07f, 1.1094344e-09f, 2.0320001e-11f, 3.721738e-13f,
       0.0f,          0.992653f,      0.989756f,      0.98639095f,    0.98048973f,    0.971027f,
       0.9598322f,    0.94699985f,    0.92490894f,    0.89055645f,    0.85159713f,    0.8088053f,
       0.7401446f,    0.6443592f,     0.5498958f,     0.46117336f,    0.3448498f,     0.2260074f,
       0.14366017f,   0.08985648f},
      {-0.042542975f,  -0.016096482f,   -0.00598471f,    -0.0022041793f,  -0.00049250433f, -6.6910114e-05f,
       -9.048726e-06f, -1.0719165e-06f, -2.4010217e-07f, -5.2564646e-09f, -9.627551e-11f,  -1.7633474e-12f,
       2.9789021e-08f, -0.08508466f,    -0.10017574f,    -0.11507017f,    -0.13695402f,    -0.1652829f,
       -0.19236866f,   -0.21801609f,    -0.2534505f,     -0.2946161f,     -0.32806155f,    -0.3536567f,
       -0.37729612f,   -0.38426766f,    -0.36892408f,    -0.33852345f,    -0.27912802f,    -0.19883534f,
       -0.13294157f,   -0.085724436f},
      {0.027108612f,   0.010555961f,   0.0039658537f,  0.0014661857f,  0.00032815454f,  4.4608118e-05f,
       6.0327893e-06f, 7.0958316e-07f, 1.5259177e-07f, 6.6605294e-10f, 1.21991835e-11f, 2.2343581e-13f,
       -0.33333674f,   -0.32227135f,   -0.32029933f,   -0.3168939f,    -0.307959f,      -0.29584935f,
       -0.28139502f,   -0.2657088f,    -0.23874332f,   -0.19930567f,   -0.15738969f,    -0.114988364f,
       -0.054393318f,  0.014396786f,   0.064235434f,   0.094760075f,   0.11098003f,     0.099593006f,
       0.07513664f,    0.051830705f},
      {-0.012393871f,   -0.0051520136f,  -0.001980248f,   -0.0007381916f, -0.00017184668f, -2.3381941e-05f,
       -3.1627735e-06f, -3.7155368e-07f, -5.8330688e-08f, 3.562001e-09f,  6.524032e-11f,   1.1949181e-12f,
       0.0001156975f,   0.055681575f,    0.061916105f,    0.07227813f,    0.08848997f,     0.10517099f,
       0.1203622f,      0.13384028f,     0.15003662f,     0.1640912f,     0.16998576f,     0.16808246f,
       0.15333097f,     0.11948992f,     0.0799344f,      0.043337665f,   0.003616601f,    -0.021101538f,
       -0.025127627f,   -0.020859018f},
      {0.0039782883f,  0.0019165331f,  0.0007713022f, 0.00029286352f, 6.852953e-05f, 9.3103945e-06f,
       1.2606731e-06f, 1.7082277e-07f, 9.882901e-09f, 2.634601e-10f,  4.825441e-12f, 8.838105e-14f,
       0.1320218f,     -17.04747f,     6.6753993f,    19.781946f,     0.947611f,     1.0926476f,
       0.10595654f,    0.836272f,      -0.024252508f, -0.03316485f,   -0.07205984f,  0.003960415f,
       -0.042018905f,  -0.065921016f,  -0.067538254f, -0.051701557f,  -0.032070585f, -0.009516764f,
       0.0013630864f,  0.0045875106f}};
};
template <class T>
inline V<T> tanh_by_table(V<T> x) {
  using C = TanhTable<T>;
  V<T> a = min(V<T>::set1(15.0f), abs(x));
  V<T> key = max(V<T>::set1(0.0625f), a);
  V<T> t = a - octave_lookup(C::centre, key);
  V<T> p = octave_lookup(C::c[5], key);
  for (int i = 4; i > 0; --i) p = fma(p, t, octave_lookup(C::c[i], key));
  V<T> leading = select(lt(a, V<T>::set1(0.078125f)), a, octave_lookup(C::c[0], key));
  return copysign(fma(p, t, leading), x);
}

// Formula: with m = expm1(2 |x|): m / (m + 2), and the sign of x.
// Source: derived. With m = expm1(-2 |x|), which needs no bound, an error of m counts twice: 3.4 ulp.
// Range: all x; ±0 and subnormals pass; 2 |x| is bounded by 40, where tanh has long been 1 in both types.
// Error: 2.4 ulp, 0.73 by table.
template <class T>
inline V<T> tanh(V<T> x) {
  if constexpr (V<T>::table_entries == 32) return tanh_by_table(x);
  V<T> a = abs(x);
  V<T> m = expm1(min(V<T>::set1(T(40)), a + a));
  return copysign(m / (m + V<T>::set1(T(2))), x);
}

// (x - tanh(x)) / x³ in x², |x| <= 1.
template <class T>
struct TanhshrinkConstants;
template <>
struct TanhshrinkConstants<float> {
  static constexpr float c[] = {0.33333334f,  -0.13333409f,  0.053977553f,  -0.021908486f,
                                0.008911355f, -0.003506579f, 0.0011338618f, -0.00020112473f};  // error 2^-25
};
template <>
struct TanhshrinkConstants<double> {
  static constexpr double c[] = {0.3333333333333333,     -0.13333333333332625,    0.053968253967776984,
                                 -0.021869488522535143,  0.008863235316338017,    -0.0035921259476202833,
                                 0.0014558206514653734,  -0.0005899637710911217,  0.0002389144517138266,
                                 -9.637814434162453e-05, 3.826763551068232e-05,   -1.4479885313797534e-05,
                                 4.896325425965979e-06,  -1.3352017424853756e-06, 2.5068976915188226e-07,
                                 -2.352112749706453e-08};  // error 2^-54
};

// Formula: a³ P(a²) for a = |x| < 1; beyond (a - 1) + 2 e / (1 + e), e = exp(-2 a), both terms positive.
// Source: fitted; derived.
// Range: all x; down to the subnormals.
// Error: 2.6 ulp in float, 2.4 in double.
template <class T>
inline V<T> tanhshrink(V<T> x) {
  V<T> one = V<T>::set1(T(1)), a = abs(x), z = a * a;
  V<T> near = z * a * polynomial_once(z, TanhshrinkConstants<T>::c);
  V<T> e = exp_value(-(a + a));
  V<T> far = (a - one) + (e + e) / (one + e);
  return copysign(select(lt(a, one), near, far), x);
}

}  // namespace GM_ISA
}  // namespace gradiometer
