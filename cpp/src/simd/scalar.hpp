// One lane: the contract of V<T> that every other header of this folder keeps, and the baseline.
//
// All of simd/, math/, ops/ and loops/ is compiled once an ISA, inside namespace gradiometer::GM_ISA, and
// nothing in it may live outside that namespace: an inline function shared by two ISA objects could be
// kept by the linker in its AVX-512 form and run on a machine that has none.
//
//   lanes                 elements in a vector
//   load(p) store(p)      unaligned
//   load(p,n) store(p,n)  the first n lanes, 0 <= n <= lanes; lanes beyond n load as 0 and are not written
//   set1(s)               broadcast
//   + - * / and unary -   IEEE, one rounding each
//   fma(a,b,c)            a*b + c; fnma(a,b,c) c - a*b. Fused where the ISA has it, two roundings where not:
//                         formulas must hold their accuracy either way
//   product_error(a,b,p)  a*b - p exactly, for p = a*b rounded (no overflow in the splitting: |a|,|b| < 2^100)
//   min(a,b) max(a,b)     b where the two are unordered: max(x, set1(0)) is 0 for NaN, max(set1(0), x) is NaN
//   abs copysign(m,s) sqrt round (to nearest even)
//   scale2(x,n)           x * 2^n for integral n in [-2100, 2100], rounded once, subnormal results right
//   exponent(x)           floor(log2 |x|) for finite x != 0, subnormals included
//   mantissa(x)           |x| / 2^exponent(x), in [1, 2)
//   lt le eq unordered    masks M<T>; & | ! on masks; select(m,a,b); any(m); count(m)
//   sum(v) largest(v)     over the lanes; sum in a fixed tree that does not depend on anything but lanes
//   widen_low/high(v)     the lower/upper half of the lanes of V<float>, as V<double>
//   widen(p) widen(p,n)   V<double> from float or double memory, lanes beyond n as 0
//   narrow(v,p) (v,p,n)   V<double> to float or double memory, rounded to nearest, n lanes of it
#pragma once
#include <math.h>
#include <stdint.h>
#include <string.h>

namespace gradiometer {
namespace GM_ISA {

template <class T>
struct M {
  bool v;
};
template <class T>
inline M<T> operator&(M<T> a, M<T> b) { return {a.v && b.v}; }
template <class T>
inline M<T> operator|(M<T> a, M<T> b) { return {a.v || b.v}; }
template <class T>
inline M<T> operator!(M<T> a) { return {!a.v}; }
template <class T>
inline bool any(M<T> a) { return a.v; }
template <class T>
inline int count(M<T> a) { return a.v ? 1 : 0; }

template <class T>
struct V {
  static constexpr int lanes = 1;
  static constexpr bool fused = false;
  T v;
  static V load(const T* p) {
    V r;
    memcpy(&r.v, p, sizeof(T));
    return r;
  }
  static V load(const T* p, int n) { return n > 0 ? load(p) : V{T(0)}; }
  static V set1(T s) { return {s}; }
  void store(T* p) const { memcpy(p, &v, sizeof(T)); }
  void store(T* p, int n) const {
    if (n > 0) store(p);
  }
};

template <class T>
inline V<T> operator+(V<T> a, V<T> b) { return {a.v + b.v}; }
template <class T>
inline V<T> operator-(V<T> a, V<T> b) { return {a.v - b.v}; }
template <class T>
inline V<T> operator*(V<T> a, V<T> b) { return {a.v * b.v}; }
template <class T>
inline V<T> operator/(V<T> a, V<T> b) { return {a.v / b.v}; }
template <class T>
inline V<T> operator-(V<T> a) { return {-a.v}; }
template <class T>
inline V<T> fma(V<T> a, V<T> b, V<T> c) { return {a.v * b.v + c.v}; }
template <class T>
inline V<T> fnma(V<T> a, V<T> b, V<T> c) { return {c.v - a.v * b.v}; }
template <class T>
inline V<T> min(V<T> a, V<T> b) { return {a.v < b.v ? a.v : b.v}; }
template <class T>
inline V<T> max(V<T> a, V<T> b) { return {a.v > b.v ? a.v : b.v}; }
template <class T>
inline M<T> lt(V<T> a, V<T> b) { return {a.v < b.v}; }
template <class T>
inline M<T> le(V<T> a, V<T> b) { return {a.v <= b.v}; }
template <class T>
inline M<T> eq(V<T> a, V<T> b) { return {a.v == b.v}; }
template <class T>
inline M<T> unordered(V<T> a, V<T> b) { return {a.v != a.v || b.v != b.v}; }
template <class T>
inline V<T> select(M<T> m, V<T> a, V<T> b) { return m.v ? a : b; }
template <class T>
inline T sum(V<T> a) { return a.v; }
template <class T>
inline T largest(V<T> a) { return a.v; }

inline V<float> abs(V<float> a) { return {__builtin_fabsf(a.v)}; }
inline V<double> abs(V<double> a) { return {__builtin_fabs(a.v)}; }
inline V<float> copysign(V<float> m, V<float> s) { return {__builtin_copysignf(m.v, s.v)}; }
inline V<double> copysign(V<double> m, V<double> s) { return {__builtin_copysign(m.v, s.v)}; }
inline V<float> sqrt(V<float> a) { return {sqrtf(a.v)}; }
inline V<double> sqrt(V<double> a) { return {::sqrt(a.v)}; }
inline V<float> round(V<float> a) { return {rintf(a.v)}; }
inline V<double> round(V<double> a) { return {rint(a.v)}; }
inline V<float> scale2(V<float> x, V<float> n) { return {ldexpf(x.v, static_cast<int>(n.v))}; }
inline V<double> scale2(V<double> x, V<double> n) { return {ldexp(x.v, static_cast<int>(n.v))}; }
inline V<float> exponent(V<float> x) { return {static_cast<float>(ilogbf(x.v))}; }
inline V<double> exponent(V<double> x) { return {static_cast<double>(ilogb(x.v))}; }
template <class T>
inline V<T> mantissa(V<T> x) { return abs(scale2(x, -exponent(x))); }

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

}  // namespace GM_ISA
}  // namespace gradiometer
