// log and log1p by x = 2^k m, m in [sqrt(1/2), sqrt(2)), and atanh's series.
#pragma once
#include "math/polynomial.hpp"

namespace gradiometer {
namespace GM_ISA {

template <class T>
struct LogConstants;
template <>
struct LogConstants<float> {
  static constexpr float ln2_high = 0.693145752f, ln2_low = 1.42860677e-6f;  // k * ln2_high is exact
  // (2 atanh(s) - 2 s) / s³ in z = s², error 2^-30 of 2 atanh(s).
  static constexpr float r[] = {0.6666678f, 0.39976737f, 0.2989576f};
  // The same for s <= 1/3, error 2^-27.7.
  static constexpr float r_wide[] = {0.6666642f, 0.40021434f, 0.28003097f, 0.28006372f};
};
template <>
struct LogConstants<double> {
  static constexpr double ln2_high = 0.6931471805601177, ln2_low = -1.7239444525614835e-13;
  static constexpr double r[] = {0.6666666666666745, 0.39999999999336944, 0.28571428761027357,
                                 0.2222219653276403, 0.18183676510843658, 0.15311034233537574,
                                 0.14827494703818747};  // error 2^-59
  static constexpr double r_wide[] = {0.6666666666666631,  0.40000000000155456, 0.2857142854809382,
                                      0.22222223954548437, 0.18181744460417845, 0.1538654859700198,
                                      0.13301120568561256, 0.12104939903141183, 0.08345032920051831,
                                      0.17009583362862318};  // error 2^-59.4
};

// log1p(f), 0 <= f <= 1, where 16 numbers are looked up: of i = round(15 f) about 1 / (1 + i / 15) in 10
// bits, so that its product with f is exact but for the last step, and minus its logarithm.
struct Log1pTable {
  // About 1 / (1 + j / 15), each so that its logarithm is within 0.02 ulp of the number beside it (0.75:
  // 0.14, 0.5: 0.21). With plain numbers log1p was 1.95 ulp.
  static constexpr double inverse[16] = {1.0,
                                         0.9375000000000001,
                                         0.8828125000004348,
                                         0.8330078125000548,
                                         0.7890625000000001,
                                         0.7500000000000002,
                                         0.7138671875000683,
                                         0.6816406250000322,
                                         0.6523437500004371,
                                         0.6250000000004439,
                                         0.5996093750004103,
                                         0.5771484375000271,
                                         0.5556640625004342,
                                         0.5361328125004162,
                                         0.5175781250000274,
                                         0.5};
  static constexpr double log[16] = {0.0,
                                     0.06453852113757105,
                                     0.12464244520678412,
                                     0.18271225810770814,
                                     0.23690974707835757,
                                     0.2876820724517806,
                                     0.33705834584957894,
                                     0.3832527028370334,
                                     0.42718363206213733,
                                     0.47000362924502537,
                                     0.5114768774516263,
                                     0.549655788193308,
                                     0.5875913714723408,
                                     0.6233733640891461,
                                     0.6585947990532326,
                                     0.6931471805599453};
  // (log1p(t) - t + t²/2) / t³, |t| <= 1/30, error 2^-55 of log1p(t).
  static constexpr double r[] = {0.33333333333332815,  -0.25000000003431416, 0.2000000000621027,
                                 -0.16666650535710348, 0.14285694686047729,  -0.12522794918567115,
                                 0.11134169892565438};
};

// log(u + c), c the part of the argument that u lost by rounding, u > 0 finite.
// With f = m - 1 and s = f / (2 + f): log(1 + f) = 2 atanh(s) = 2 s + s z r(z), and since 2 s = f - s f and
// s f = f²/2 - s f²/2 the leading term is f itself, exact: f - (f²/2 - s (f²/2 + z r(z))).
template <class T>
inline V<T> log_sum(V<T> u, V<T> c) {
  using C = LogConstants<T>;
  V<T> one = V<T>::set1(T(1)), half = V<T>::set1(T(0.5));
  V<T> k = exponent(u), m = mantissa(u);
  M<T> big = lt(V<T>::set1(T(1.41421356237309505)), m);
  m = select(big, m * half, m);
  k = select(big, k + one, k);
  V<T> f = m - one;
  V<T> s = f / (f + V<T>::set1(T(2)));
  V<T> z = s * s;
  V<T> h = half * f * f;
  V<T> low = fma(k, V<T>::set1(C::ln2_low), c / u);
  V<T> rest = fma(s, fma(z, polynomial(z, C::r), h), low);
  return fma(k, V<T>::set1(C::ln2_high), f - (h - rest));
}

// Formula: log_sum of 1 + f with k = 0: no exponent to take apart, three times as fast as log1p. By table
// log(1 / inverse) + log1p(t), t = inverse (1 + f) - 1: no division.
// Source: derived there.
// Range: 0 <= f <= 1; subnormals pass.
// Error: 1.3 ulp.
template <class T>
[[gnu::always_inline]] inline V<T> log1p_of_small(V<T> f) {
  if constexpr (V<T>::table_entries == 16) {
    V<T> number = fma(f, V<T>::set1(15.0), V<T>::set1(6755399441055744.0));
    V<T> inverse = lookup(Log1pTable::inverse, number);
    V<T> t = fma(inverse, f, inverse - V<T>::set1(1.0)), square = t * t;
    V<T> r = fma(t, by_pairs(t, square, Log1pTable::r), V<T>::set1(-0.5));
    return lookup(Log1pTable::log, number) + fma(square, r, t);
  }
  V<T> s = f / (f + V<T>::set1(T(2)));
  V<T> z = s * s, h = V<T>::set1(T(0.5)) * f * f;
  return f - (h - s * fma(z, polynomial(z, LogConstants<T>::r_wide), h));
}

// Formula: log_sum(x, 0).
// Source: derived there.
// Range: all x; log(0) = -inf, log(x < 0) = NaN, subnormals are right.
// Error: 0.9 ulp.
template <class T>
inline V<T> log(V<T> x) {
  V<T> zero = V<T>::set1(T(0)), infinity = V<T>::set1(static_cast<T>(__builtin_inf()));
  V<T> y = log_sum(x, zero);
  y = select(eq(x, infinity), x, y);
  y = select(eq(x, zero), -infinity, y);
  return select(lt(x, zero) | unordered(x, x), V<T>::set1(static_cast<T>(__builtin_nan(""))), y);
}

// Formula: u = 1 + x rounded, c = what u lost, log_sum(u, c).
// Source: derived there.
// Range: all x; log1p(-1) = -inf, log1p(x < -1) = NaN, log1p(±0) = ±0, subnormals pass.
// Error: 0.9 ulp.
template <class T>
inline V<T> log1p(V<T> x) {
  V<T> one = V<T>::set1(T(1)), zero = V<T>::set1(T(0)),
       infinity = V<T>::set1(static_cast<T>(__builtin_inf()));
  V<T> u = one + x;
  V<T> v = u - one;
  V<T> c = (x - v) + (one - (u - v));  // both parts of Knuth's two-sum: either operand may be the larger
  V<T> y = log_sum(u, c);
  y = select(eq(u, infinity) | eq(x, zero), x, y);
  y = select(eq(u, zero), -infinity, y);
  return select(lt(u, zero) | unordered(x, x), V<T>::set1(static_cast<T>(__builtin_nan(""))), y);
}

}  // namespace GM_ISA
}  // namespace gradiometer
