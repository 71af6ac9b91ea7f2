// SSE4.2: 4 floats or 2 doubles, no fused fma, no masked load. Contract: scalar.hpp.
#pragma once
#include <nmmintrin.h>
#include <stdint.h>

namespace gradiometer {
namespace GM_ISA {

template <class T>
struct V;
template <class T>
struct M;

template <>
struct M<float> {
  __m128 v;
};
template <>
struct M<double> {
  __m128d v;
};
inline M<float> operator&(M<float> a, M<float> b) { return {_mm_and_ps(a.v, b.v)}; }
inline M<double> operator&(M<double> a, M<double> b) { return {_mm_and_pd(a.v, b.v)}; }
inline M<float> operator|(M<float> a, M<float> b) { return {_mm_or_ps(a.v, b.v)}; }
inline M<double> operator|(M<double> a, M<double> b) { return {_mm_or_pd(a.v, b.v)}; }
inline M<float> operator!(M<float> a) { return {_mm_xor_ps(a.v, _mm_castsi128_ps(_mm_set1_epi32(-1)))}; }
inline M<double> operator!(M<double> a) { return {_mm_xor_pd(a.v, _mm_castsi128_pd(_mm_set1_epi32(-1)))}; }
inline bool any(M<float> a) { return _mm_movemask_ps(a.v) != 0; }
inline bool any(M<double> a) { return _mm_movemask_pd(a.v) != 0; }
inline int count(M<float> a) { return __builtin_popcount(static_cast<unsigned>(_mm_movemask_ps(a.v))); }
inline int count(M<double> a) { return __builtin_popcount(static_cast<unsigned>(_mm_movemask_pd(a.v))); }

// Two floats, the upper two lanes 0.
inline __m128 load_pair(const float* p) {
  return _mm_castsi128_ps(_mm_loadl_epi64(reinterpret_cast<const __m128i*>(p)));
}
inline void store_pair(__m128 a, float* p) {
  _mm_storel_epi64(reinterpret_cast<__m128i*>(p), _mm_castps_si128(a));
}

template <>
struct V<float> {
  static constexpr int lanes = 4;
  static constexpr bool fused = false;
  static constexpr int table_entries = 0;
  __m128 v;
  static V load(const float* p) { return {_mm_loadu_ps(p)}; }
  static V load(const float* p, int n) {
    if (n == 4) return load(p);
    __m128 one = n & 1 ? _mm_load_ss(p + (n & 2)) : _mm_setzero_ps();
    return {n & 2 ? _mm_movelh_ps(load_pair(p), one) : one};
  }
  static V set1(float s) { return {_mm_set1_ps(s)}; }
  void store(float* p) const { _mm_storeu_ps(p, v); }
  void stream(float* p) const { _mm_stream_ps(p, v); }
  void store(float* p, int n) const {
    if (n == 4) return store(p);
    if (n & 2) store_pair(v, p);
    if (n & 1) _mm_store_ss(p + (n & 2), n & 2 ? _mm_movehl_ps(v, v) : v);
  }
};
template <>
struct V<double> {
  static constexpr int lanes = 2;
  static constexpr bool fused = false;
  static constexpr int table_entries = 0;
  __m128d v;
  static V load(const double* p) { return {_mm_loadu_pd(p)}; }
  static V load(const double* p, int n) {
    if (n == 2) return load(p);
    return {n ? _mm_load_sd(p) : _mm_setzero_pd()};
  }
  static V set1(double s) { return {_mm_set1_pd(s)}; }
  void store(double* p) const { _mm_storeu_pd(p, v); }
  void stream(double* p) const { _mm_stream_pd(p, v); }
  void store(double* p, int n) const {
    if (n == 2) return store(p);
    if (n) _mm_store_sd(p, v);
  }
};

inline void stream_end() { _mm_sfence(); }
template <class T>
inline V<T> once(V<T> a) {
  asm("" : "+x"(a.v));
  return a;
}

inline V<float> operator+(V<float> a, V<float> b) { return {_mm_add_ps(a.v, b.v)}; }
inline V<double> operator+(V<double> a, V<double> b) { return {_mm_add_pd(a.v, b.v)}; }
inline V<float> operator-(V<float> a, V<float> b) { return {_mm_sub_ps(a.v, b.v)}; }
inline V<double> operator-(V<double> a, V<double> b) { return {_mm_sub_pd(a.v, b.v)}; }
inline V<float> operator*(V<float> a, V<float> b) { return {_mm_mul_ps(a.v, b.v)}; }
inline V<double> operator*(V<double> a, V<double> b) { return {_mm_mul_pd(a.v, b.v)}; }
inline V<float> operator/(V<float> a, V<float> b) { return {_mm_div_ps(a.v, b.v)}; }
inline V<double> operator/(V<double> a, V<double> b) { return {_mm_div_pd(a.v, b.v)}; }
inline V<float> operator-(V<float> a) { return {_mm_xor_ps(a.v, _mm_set1_ps(-0.0f))}; }
inline V<double> operator-(V<double> a) { return {_mm_xor_pd(a.v, _mm_set1_pd(-0.0))}; }
template <class T>
inline V<T> fma(V<T> a, V<T> b, V<T> c) {
  return a * b + c;
}
template <class T>
inline V<T> fnma(V<T> a, V<T> b, V<T> c) {
  return c - a * b;
}
inline V<float> min(V<float> a, V<float> b) { return {_mm_min_ps(a.v, b.v)}; }
inline V<double> min(V<double> a, V<double> b) { return {_mm_min_pd(a.v, b.v)}; }
inline V<float> max(V<float> a, V<float> b) { return {_mm_max_ps(a.v, b.v)}; }
inline V<double> max(V<double> a, V<double> b) { return {_mm_max_pd(a.v, b.v)}; }
// As integers, where there is such an instruction: one cycle, and on any port.
inline V<float> larger(V<float> a, V<float> b) {
  return {_mm_castsi128_ps(_mm_max_epu32(_mm_castps_si128(a.v), _mm_castps_si128(b.v)))};
}
inline V<double> larger(V<double> a, V<double> b) { return max(a, b); }
inline V<float> smaller(V<float> a, V<float> b) {
  return {_mm_castsi128_ps(_mm_min_epu32(_mm_castps_si128(a.v), _mm_castps_si128(b.v)))};
}
inline V<double> smaller(V<double> a, V<double> b) { return min(a, b); }
inline V<float> abs(V<float> a) { return {_mm_andnot_ps(_mm_set1_ps(-0.0f), a.v)}; }
inline V<double> abs(V<double> a) { return {_mm_andnot_pd(_mm_set1_pd(-0.0), a.v)}; }
inline V<float> copysign(V<float> m, V<float> s) {
  return {_mm_or_ps(abs(m).v, _mm_and_ps(_mm_set1_ps(-0.0f), s.v))};
}
inline V<double> copysign(V<double> m, V<double> s) {
  return {_mm_or_pd(abs(m).v, _mm_and_pd(_mm_set1_pd(-0.0), s.v))};
}
inline V<float> sqrt(V<float> a) { return {_mm_sqrt_ps(a.v)}; }
inline V<double> sqrt(V<double> a) { return {_mm_sqrt_pd(a.v)}; }
inline V<float> round(V<float> a) {
  return {_mm_round_ps(a.v, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC)};
}
inline V<double> round(V<double> a) {
  return {_mm_round_pd(a.v, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC)};
}
inline M<float> lt(V<float> a, V<float> b) { return {_mm_cmplt_ps(a.v, b.v)}; }
inline M<double> lt(V<double> a, V<double> b) { return {_mm_cmplt_pd(a.v, b.v)}; }
inline M<float> le(V<float> a, V<float> b) { return {_mm_cmple_ps(a.v, b.v)}; }
inline M<double> le(V<double> a, V<double> b) { return {_mm_cmple_pd(a.v, b.v)}; }
inline M<float> eq(V<float> a, V<float> b) { return {_mm_cmpeq_ps(a.v, b.v)}; }
inline M<double> eq(V<double> a, V<double> b) { return {_mm_cmpeq_pd(a.v, b.v)}; }
inline M<float> unordered(V<float> a, V<float> b) { return {_mm_cmpunord_ps(a.v, b.v)}; }
inline M<double> unordered(V<double> a, V<double> b) { return {_mm_cmpunord_pd(a.v, b.v)}; }
inline V<float> select(M<float> m, V<float> a, V<float> b) { return {_mm_blendv_ps(b.v, a.v, m.v)}; }
inline V<double> select(M<double> m, V<double> a, V<double> b) { return {_mm_blendv_pd(b.v, a.v, m.v)}; }
template <class T>
inline V<T> by_sign(V<T> x, V<T> a, V<T> b) {
  return select(lt(x, V<T>::set1(T(0))), a, b);
}

// Veltkamp splitting and Dekker's sum, as in scalar.hpp.
template <class T>
inline V<T> product_error(V<T> a, V<T> b, V<T> p) {
  const V<T> split = V<T>::set1(sizeof(T) == 4 ? T(4097) : T(134217729));
  V<T> ca = split * a, cb = split * b;
  V<T> ah = ca - (ca - a), bh = cb - (cb - b);
  V<T> al = a - ah, bl = b - bh;
  return ((ah * bh - p) + ah * bl + al * bh) + al * bl;
}

// 2^n by writing the exponent field, n in the normal range.
inline V<float> power2(V<float> n) {
  __m128i e = _mm_cvtps_epi32(n.v);
  return {_mm_castsi128_ps(_mm_slli_epi32(_mm_add_epi32(e, _mm_set1_epi32(127)), 23))};
}
inline V<double> power2(V<double> n) {
  // Adding 2^52 + 2^51 leaves the integer in the low mantissa bits: there is no double to int64 conversion.
  __m128i e = _mm_castpd_si128(_mm_add_pd(n.v, _mm_set1_pd(6755399441055744.0)));
  return {_mm_castsi128_pd(_mm_slli_epi64(_mm_add_epi64(e, _mm_set1_epi64x(1023)), 52))};
}
constexpr int largest_exponent(float) { return 126; }
constexpr int largest_exponent(double) { return 1022; }
// One factor where 2^n is normal in all lanes, which it nearly always is, two where not: the same bits
// wherever both are right. Always two cost exp a third of its speed.
template <class T>
inline V<T> scale2(V<T> x, V<T> n) {
  if (__builtin_expect(any(lt(V<T>::set1(largest_exponent(T())), abs(n))), 0)) {
    V<T> half = round(n * V<T>::set1(T(0.5)));
    return x * power2(half) * power2(n - half);
  }
  return x * power2(n);
}

inline V<float> exponent_field(V<float> x) {
  __m128i e = _mm_srli_epi32(_mm_castps_si128(abs(x).v), 23);
  return {_mm_sub_ps(_mm_cvtepi32_ps(e), _mm_set1_ps(127.0f))};
}
inline V<double> exponent_field(V<double> x) {
  __m128i e = _mm_srli_epi64(_mm_castpd_si128(abs(x).v), 52);
  __m128d biased = _mm_castsi128_pd(_mm_or_si128(e, _mm_castpd_si128(_mm_set1_pd(4503599627370496.0))));
  return {_mm_sub_pd(_mm_sub_pd(biased, _mm_set1_pd(4503599627370496.0)), _mm_set1_pd(1023.0))};
}
inline V<float> exponent(V<float> x) {
  V<float> scale = V<float>::set1(16777216.0f);  // 2^24 lifts every subnormal
  M<float> tiny = lt(abs(x), V<float>::set1(1.17549435e-38f));
  V<float> e = exponent_field(select(tiny, x * scale, x));
  return select(tiny, e - V<float>::set1(24.0f), e);
}
inline V<double> exponent(V<double> x) {
  V<double> scale = V<double>::set1(18014398509481984.0);  // 2^54
  M<double> tiny = lt(abs(x), V<double>::set1(2.2250738585072014e-308));
  V<double> e = exponent_field(select(tiny, x * scale, x));
  return select(tiny, e - V<double>::set1(54.0), e);
}
inline V<float> mantissa(V<float> x) {
  V<float> m = select(lt(abs(x), V<float>::set1(1.17549435e-38f)), x * V<float>::set1(16777216.0f), x);
  __m128i field = _mm_and_si128(_mm_castps_si128(m.v), _mm_set1_epi32(0x007fffff));
  return {_mm_castsi128_ps(_mm_or_si128(field, _mm_set1_epi32(0x3f800000)))};
}
inline V<double> mantissa(V<double> x) {
  V<double> m = select(lt(abs(x), V<double>::set1(2.2250738585072014e-308)),
                       x * V<double>::set1(18014398509481984.0), x);
  __m128i field = _mm_and_si128(_mm_castpd_si128(m.v), _mm_set1_epi64x(0x000fffffffffffff));
  return {_mm_castsi128_pd(_mm_or_si128(field, _mm_set1_epi64x(0x3ff0000000000000)))};
}

inline float sum(V<float> a) {
  __m128 h = _mm_add_ps(a.v, _mm_movehl_ps(a.v, a.v));
  return _mm_cvtss_f32(_mm_add_ss(h, _mm_shuffle_ps(h, h, 1)));
}
inline double sum(V<double> a) { return _mm_cvtsd_f64(_mm_add_sd(a.v, _mm_unpackhi_pd(a.v, a.v))); }
inline float largest(V<float> a) {
  __m128 h = _mm_max_ps(a.v, _mm_movehl_ps(a.v, a.v));
  return _mm_cvtss_f32(_mm_max_ss(h, _mm_shuffle_ps(h, h, 1)));
}
inline double largest(V<double> a) { return _mm_cvtsd_f64(_mm_max_sd(a.v, _mm_unpackhi_pd(a.v, a.v))); }
inline V<double> widen_low(V<float> a) { return {_mm_cvtps_pd(a.v)}; }
inline V<double> widen_high(V<float> a) { return {_mm_cvtps_pd(_mm_movehl_ps(a.v, a.v))}; }

inline V<double> widen(const float* p) { return {_mm_cvtps_pd(load_pair(p))}; }
inline V<double> widen(const double* p) { return V<double>::load(p); }
inline V<double> widen(const float* p, int n) { return {_mm_cvtps_pd(V<float>::load(p, n).v)}; }
inline V<double> widen(const double* p, int n) { return V<double>::load(p, n); }
inline void narrow(V<double> a, float* p) { store_pair(_mm_cvtpd_ps(a.v), p); }
inline void narrow(V<double> a, double* p) { a.store(p); }
inline void narrow(V<double> a, float* p, int n) { V<float>{_mm_cvtpd_ps(a.v)}.store(p, n); }
inline void narrow(V<double> a, double* p, int n) { a.store(p, n); }
inline void narrow_past_caches(V<double> a, float* p) { narrow(a, p); }  // no such store of 8 bytes of floats
inline void narrow_past_caches(V<double> a, double* p) { _mm_stream_pd(p, a.v); }
inline void fence() { _mm_sfence(); }

inline void transpose(V<float> (&r)[4]) { _MM_TRANSPOSE4_PS(r[0].v, r[1].v, r[2].v, r[3].v); }
inline void transpose(V<double> (&r)[2]) {
  __m128d low = _mm_unpacklo_pd(r[0].v, r[1].v);
  r[1].v = _mm_unpackhi_pd(r[0].v, r[1].v);
  r[0].v = low;
}

}  // namespace GM_ISA
}  // namespace gradiometer
