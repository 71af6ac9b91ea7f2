// One lane: the contract of V<T> that every other header of this folder keeps, and the baseline.
//
// All of simd/, math/, ops/ and loops/ is compiled once an ISA, inside namespace gradiometer::GM_ISA, and
// nothing in it may live outside that namespace: an inline function shared by two ISA objects could be
// kept by the linker in its AVX-512 form and run on a machine that has none.
//
//   lanes                 elements in a vector
//   load(p) store(p)      unaligned
//   load(p,n) store(p,n)  the first n lanes, 0 <= n <= lanes; lanes beyond n load as 0 and are not written
//   stream(p)             a store past the caches, p on a multiple of the vector's size; then stream_end()
//   set1(s)               broadcast
//   once(v)               v, loaded once: a compiler may load it again for each use, and where it lies across
//                         two cache lines each costs two (leaky_relu of 2^20 floats: 82 us instead of 65)
//   + - * / and unary -   IEEE, one rounding each
//   fma(a,b,c)            a*b + c; fnma(a,b,c) c - a*b. Fused where the ISA has it, two roundings where not:
//                         formulas must hold their accuracy either way
//   product_error(a,b,p)  a*b - p exactly, for p = a*b rounded, |a|, |b| < 2^100, p not near the subnormals
//   min(a,b) max(a,b)     b where the two are unordered: max(x, 0) is 0 for NaN, max(0, x) is NaN
//   larger smaller(a,b)   of what has no sign bit; a NaN counts as larger than inf, or as nothing
//   abs copysign(m,s)     of the magnitude of m with the sign of s
//   sqrt round            correctly rounded; to the nearest integer, ties to even
//   scale2(x,n)           x * 2^n for integral n, |n| < 250 (float) or 2000 (double): rounded once,
//                         subnormals right, where x * 2^(n/2) is normal, 0, inf or NaN; NaN if x is NaN. For
//                         a table of 128 bytes in registers n may be any number, of which it takes the floor
//   exponent(x)           floor(log2 |x|) for finite x != 0, subnormals included
//   mantissa(x)           |x| / 2^exponent(x), in [1, 2), for the same x
//   lt le eq unordered    masks M<T>; & | ! on masks; select(m,a,b); any(m); count(m)
//   by_sign(x,a,b)        a where x < 0, b where x > 0, one of them where x is 0 or NaN: without a comparison
//                         where that is cheaper
//   transpose(r)          the lanes x lanes matrix of the rows r[0], r[1], ...
//   table_entries         how many numbers V looks up in registers: 0, or
//   lookup(t,x)           of 32 floats or 16 doubles t that at the lowest 5 or 4 bits of x
//   octave_lookup(t,x)    by the exponent's lowest and the significand's highest bits of x: four intervals to
//   an
//                         octave (32 floats: that of 2^k from 4 (k + 7) modulo 32 on; 16 doubles: from 4 (k +
//                         3) modulo 16) or two (8 floats: from 2 (k + 3) modulo 8)
//   sum(v) largest(v)     over the lanes; sum in a fixed tree that does not depend on anything but lanes
//   widen_low/high(v)     the lower/upper half of the lanes of V<float>, as V<double>
//   widen(p) widen(p,n)   V<double> from float or double memory, lanes beyond n as 0
//   narrow(v,p) (v,p,n)   V<double> to float or double memory, rounded to nearest, n lanes of it
//   narrow_past_caches    narrow(v,p) by a store that does not fetch the line, where there is one; p aligned
//   to
//                         what is written. fence() orders such stores before those that follow
#pragma once
#include <stdint.h>
#include <string.h>

namespace gradiometer {
namespace GM_ISA {

template <class T>
struct M {
  bool v;
};
template <class T>
inline M<T> operator&(M<T> a, M<T> b) {
  return {a.v && b.v};
}
template <class T>
inline M<T> operator|(M<T> a, M<T> b) {
  return {a.v || b.v};
}
template <class T>
inline M<T> operator!(M<T> a) {
  return {!a.v};
}
template <class T>
inline bool any(M<T> a) {
  return a.v;
}
template <class T>
inline int count(M<T> a) {
  return a.v ? 1 : 0;
}

template <class T>
struct V {
  static constexpr int lanes = 1;
  static constexpr bool fused = false;
  static constexpr int table_entries = 0;
  T v;
  static V load(const T* p) {
    V r;
    memcpy(&r.v, p, sizeof(T));
    return r;
  }
  static V load(const T* p, int n) { return n > 0 ? load(p) : V{T(0)}; }
  static V set1(T s) { return {s}; }
  void store(T* p) const { memcpy(p, &v, sizeof(T)); }
  void stream(T* p) const { store(p); }
  void store(T* p, int n) const {
    if (n > 0) store(p);
  }
};

inline void stream_end() {}
template <class T>
inline V<T> once(V<T> a) {
  return a;
}

template <class T>
inline V<T> operator+(V<T> a, V<T> b) {
  return {a.v + b.v};
}
template <class T>
inline V<T> operator-(V<T> a, V<T> b) {
  return {a.v - b.v};
}
template <class T>
inline V<T> operator*(V<T> a, V<T> b) {
  return {a.v * b.v};
}
template <class T>
inline V<T> operator/(V<T> a, V<T> b) {
  return {a.v / b.v};
}
template <class T>
inline V<T> operator-(V<T> a) {
  return {-a.v};
}
template <class T>
inline V<T> fma(V<T> a, V<T> b, V<T> c) {
  return {a.v * b.v + c.v};
}
template <class T>
inline V<T> fnma(V<T> a, V<T> b, V<T> c) {
  return {c.v - a.v * b.v};
}
template <class T>
inline V<T> min(V<T> a, V<T> b) {
  return {a.v < b.v ? a.v : b.v};
}
template <class T>
inline V<T> max(V<T> a, V<T> b) {
  return {a.v > b.v ? a.v : b.v};
}
template <class T>
inline V<T> larger(V<T> a, V<T> b) {
  return max(a, b);
}
template <class T>
inline V<T> smaller(V<T> a, V<T> b) {
  return min(a, b);
}
template <class T>
inline M<T> lt(V<T> a, V<T> b) {
  return {a.v < b.v};
}
template <class T>
inline M<T> le(V<T> a, V<T> b) {
  return {a.v <= b.v};
}
template <class T>
inline M<T> eq(V<T> a, V<T> b) {
  return {a.v == b.v};
}
template <class T>
inline M<T> unordered(V<T> a, V<T> b) {
  return {a.v != a.v || b.v != b.v};
}
template <class T>
inline V<T> select(M<T> m, V<T> a, V<T> b) {
  return m.v ? a : b;
}
template <class T>
inline V<T> by_sign(V<T> x, V<T> a, V<T> b) {
  return x.v < T(0) ? a : b;
}
template <class T>
inline T sum(V<T> a) {
  return a.v;
}
template <class T>
inline T largest(V<T> a) {
  return a.v;
}

inline V<float> abs(V<float> a) { return {__builtin_fabsf(a.v)}; }
inline V<double> abs(V<double> a) { return {__builtin_fabs(a.v)}; }
inline V<float> copysign(V<float> m, V<float> s) { return {__builtin_copysignf(m.v, s.v)}; }
inline V<double> copysign(V<double> m, V<double> s) { return {__builtin_copysign(m.v, s.v)}; }
inline V<float> sqrt(V<float> a) { return {__builtin_sqrtf(a.v)}; }
inline V<double> sqrt(V<double> a) { return {__builtin_sqrt(a.v)}; }

// The fields of an IEEE number. Adding and subtracting 2^digits rounds to an integer; rint would be a call.
template <class T>
struct Format;
template <>
struct Format<float> {
  using Bits = uint32_t;
  static constexpr int digits = 23;
  static constexpr Bits bias = 127;
  static constexpr float magic = 8388608.0f, smallest_normal = 1.17549435e-38f;
};
template <>
struct Format<double> {
  using Bits = uint64_t;
  static constexpr int digits = 52;
  static constexpr Bits bias = 1023;
  static constexpr double magic = 4503599627370496.0, smallest_normal = 2.2250738585072014e-308;
};
template <class T>
inline typename Format<T>::Bits bits(T x) {
  typename Format<T>::Bits b;
  memcpy(&b, &x, sizeof(T));
  return b;
}
template <class T>
inline T from_bits(typename Format<T>::Bits b) {
  T x;
  memcpy(&x, &b, sizeof(T));
  return x;
}

template <class T>
inline V<T> round(V<T> a) {
  constexpr T magic = Format<T>::magic;
  T m = abs(a).v;
  return m < magic ? copysign(V<T>{(m + magic) - magic}, a) : a;
}
// 2^n for n in the normal range, by its exponent field: the integer stands in the low bits of n + 1.5 *
// magic.
template <class T>
inline T power2(T n) {
  using F = Format<T>;
  return from_bits<T>((bits(n + T(1.5) * F::magic) + F::bias) << F::digits);
}
template <class T>
inline V<T> scale2(V<T> x, V<T> n) {
  V<T> half = round(n * V<T>{T(0.5)});
  return {x.v * power2(half.v) * power2(n.v - half.v)};
}
// |x| as a normal number, and the exponent that was taken out for it.
template <class T>
inline T normalised(T x, T* taken) {
  using F = Format<T>;
  T m = abs(V<T>{x}).v;
  bool tiny = m < F::smallest_normal;
  *taken = tiny ? T(F::digits) : T(0);
  return tiny ? m * F::magic : m;
}
template <class T>
inline V<T> exponent(V<T> x) {
  using F = Format<T>;
  T taken;
  T m = normalised(x.v, &taken);
  return {static_cast<T>(bits(m) >> F::digits) - static_cast<T>(F::bias) - taken};
}
template <class T>
inline V<T> mantissa(V<T> x) {
  using F = Format<T>;
  using Bits = typename F::Bits;
  T taken;
  T m = normalised(x.v, &taken);
  return {from_bits<T>((bits(m) & ((Bits(1) << F::digits) - 1)) | (F::bias << F::digits))};
}

// Veltkamp splitting: the halves' products are exact, so Dekker's sum of the four is the exact error.
template <class T>
inline V<T> product_error(V<T> a, V<T> b, V<T> p) {
  const T split = sizeof(T) == 4 ? T(4097) : T(134217729);  // 2^12 + 1, 2^27 + 1
  T ca = split * a.v, cb = split * b.v;
  T ah = ca - (ca - a.v), bh = cb - (cb - b.v);
  T al = a.v - ah, bl = b.v - bh;
  return {((ah * bh - p.v) + ah * bl + al * bh) + al * bl};
}

// One float fills "half a vector" twice over: low holds it, high does not exist.
inline V<double> widen_low(V<float> a) { return {static_cast<double>(a.v)}; }

inline V<double> widen(const float* p) { return {static_cast<double>(V<float>::load(p).v)}; }
inline V<double> widen(const double* p) { return V<double>::load(p); }
inline V<double> widen(const float* p, int n) { return {static_cast<double>(V<float>::load(p, n).v)}; }
inline V<double> widen(const double* p, int n) { return V<double>::load(p, n); }
inline void narrow(V<double> a, float* p) { V<float>{static_cast<float>(a.v)}.store(p); }
inline void narrow(V<double> a, double* p) { a.store(p); }
inline void narrow(V<double> a, float* p, int n) { V<float>{static_cast<float>(a.v)}.store(p, n); }
inline void narrow(V<double> a, double* p, int n) { a.store(p, n); }
template <class T>
inline void narrow_past_caches(V<double> a, T* p) {
  narrow(a, p);
}
inline void fence() {}

template <class T>
inline void transpose(V<T> (&)[1]) {}

}  // namespace GM_ISA
}  // namespace gradiometer
