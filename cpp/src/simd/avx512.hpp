// AVX-512 (F, DQ, BW, VL): 16 floats or 8 doubles. Contract: scalar.hpp.
#pragma once
// GCC 12 takes the deliberately undefined operand inside its own AVX-512 intrinsics for a mistake (GCC bug
// 105593).
#if defined(__GNUC__) && !defined(__clang__)
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wuninitialized"
#pragma GCC diagnostic ignored "-Wmaybe-uninitialized"
#include <immintrin.h>
#pragma GCC diagnostic pop
#else
#include <immintrin.h>
#endif
#include <stdint.h>

namespace gradiometer {
namespace GM_ISA {

template <class T>
struct V;
template <class T>
struct M;

template <>
struct M<float> {
  __mmask16 v;
};
template <>
struct M<double> {
  __mmask8 v;
};
inline M<float> operator&(M<float> a, M<float> b) { return {static_cast<__mmask16>(a.v & b.v)}; }
inline M<double> operator&(M<double> a, M<double> b) { return {static_cast<__mmask8>(a.v & b.v)}; }
inline M<float> operator|(M<float> a, M<float> b) { return {static_cast<__mmask16>(a.v | b.v)}; }
inline M<double> operator|(M<double> a, M<double> b) { return {static_cast<__mmask8>(a.v | b.v)}; }
inline M<float> operator!(M<float> a) { return {static_cast<__mmask16>(~a.v)}; }
inline M<double> operator!(M<double> a) { return {static_cast<__mmask8>(~a.v)}; }
template <class T>
inline bool any(M<T> a) {
  return a.v != 0;
}
template <class T>
inline int count(M<T> a) {
  return __builtin_popcount(static_cast<unsigned>(a.v));
}

template <>
struct V<float> {
  static constexpr int lanes = 16;
  static constexpr bool fused = true;
  static constexpr int table_entries = 32;
  __m512 v;
  static __mmask16 first(int n) { return static_cast<__mmask16>((1u << n) - 1u); }
  static V load(const float* p) { return {_mm512_loadu_ps(p)}; }
  static V load(const float* p, int n) { return {_mm512_maskz_loadu_ps(first(n), p)}; }
  static V set1(float s) { return {_mm512_set1_ps(s)}; }
  void store(float* p) const { _mm512_storeu_ps(p, v); }
  void stream(float* p) const { _mm512_stream_ps(p, v); }
  void store(float* p, int n) const { _mm512_mask_storeu_ps(p, first(n), v); }
};
template <>
struct V<double> {
  static constexpr int lanes = 8;
  static constexpr bool fused = true;
  static constexpr int table_entries = 16;
  __m512d v;
  static __mmask8 first(int n) { return static_cast<__mmask8>((1u << n) - 1u); }
  static V load(const double* p) { return {_mm512_loadu_pd(p)}; }
  static V load(const double* p, int n) { return {_mm512_maskz_loadu_pd(first(n), p)}; }
  static V set1(double s) { return {_mm512_set1_pd(s)}; }
  void store(double* p) const { _mm512_storeu_pd(p, v); }
  void stream(double* p) const { _mm512_stream_pd(p, v); }
  void store(double* p, int n) const { _mm512_mask_storeu_pd(p, first(n), v); }
};

inline void stream_end() { _mm_sfence(); }
template <class T>
inline V<T> once(V<T> a) {
  asm("" : "+v"(a.v));
  return a;
}

inline V<float> operator+(V<float> a, V<float> b) { return {_mm512_add_ps(a.v, b.v)}; }
inline V<double> operator+(V<double> a, V<double> b) { return {_mm512_add_pd(a.v, b.v)}; }
inline V<float> operator-(V<float> a, V<float> b) { return {_mm512_sub_ps(a.v, b.v)}; }
inline V<double> operator-(V<double> a, V<double> b) { return {_mm512_sub_pd(a.v, b.v)}; }
inline V<float> operator*(V<float> a, V<float> b) { return {_mm512_mul_ps(a.v, b.v)}; }
inline V<double> operator*(V<double> a, V<double> b) { return {_mm512_mul_pd(a.v, b.v)}; }
inline V<float> operator/(V<float> a, V<float> b) { return {_mm512_div_ps(a.v, b.v)}; }
inline V<double> operator/(V<double> a, V<double> b) { return {_mm512_div_pd(a.v, b.v)}; }
inline V<float> operator-(V<float> a) { return {_mm512_xor_ps(a.v, _mm512_set1_ps(-0.0f))}; }
inline V<double> operator-(V<double> a) { return {_mm512_xor_pd(a.v, _mm512_set1_pd(-0.0))}; }
inline V<float> fma(V<float> a, V<float> b, V<float> c) { return {_mm512_fmadd_ps(a.v, b.v, c.v)}; }
inline V<double> fma(V<double> a, V<double> b, V<double> c) { return {_mm512_fmadd_pd(a.v, b.v, c.v)}; }
inline V<float> fnma(V<float> a, V<float> b, V<float> c) { return {_mm512_fnmadd_ps(a.v, b.v, c.v)}; }
inline V<double> fnma(V<double> a, V<double> b, V<double> c) { return {_mm512_fnmadd_pd(a.v, b.v, c.v)}; }
inline V<float> product_error(V<float> a, V<float> b, V<float> p) { return {_mm512_fmsub_ps(a.v, b.v, p.v)}; }
inline V<double> product_error(V<double> a, V<double> b, V<double> p) {
  return {_mm512_fmsub_pd(a.v, b.v, p.v)};
}
inline V<float> min(V<float> a, V<float> b) { return {_mm512_min_ps(a.v, b.v)}; }
inline V<double> min(V<double> a, V<double> b) { return {_mm512_min_pd(a.v, b.v)}; }
inline V<float> max(V<float> a, V<float> b) { return {_mm512_max_ps(a.v, b.v)}; }
inline V<double> max(V<double> a, V<double> b) { return {_mm512_max_pd(a.v, b.v)}; }
// As integers: one cycle where a comparison of floats takes three, and on any port.
inline V<float> larger(V<float> a, V<float> b) {
  return {_mm512_castsi512_ps(_mm512_max_epu32(_mm512_castps_si512(a.v), _mm512_castps_si512(b.v)))};
}
inline V<double> larger(V<double> a, V<double> b) {
  return {_mm512_castsi512_pd(_mm512_max_epu64(_mm512_castpd_si512(a.v), _mm512_castpd_si512(b.v)))};
}
inline V<float> smaller(V<float> a, V<float> b) {
  return {_mm512_castsi512_ps(_mm512_min_epu32(_mm512_castps_si512(a.v), _mm512_castps_si512(b.v)))};
}
inline V<double> smaller(V<double> a, V<double> b) {
  return {_mm512_castsi512_pd(_mm512_min_epu64(_mm512_castpd_si512(a.v), _mm512_castpd_si512(b.v)))};
}
inline V<float> abs(V<float> a) { return {_mm512_abs_ps(a.v)}; }
inline V<double> abs(V<double> a) { return {_mm512_abs_pd(a.v)}; }
// Ternary logic 0xCA is "first operand ? second : third", bit by bit.
inline V<float> copysign(V<float> m, V<float> s) {
  return {_mm512_castsi512_ps(_mm512_ternarylogic_epi32(
      _mm512_set1_epi32(INT32_MIN), _mm512_castps_si512(s.v), _mm512_castps_si512(m.v), 0xCA))};
}
inline V<double> copysign(V<double> m, V<double> s) {
  return {_mm512_castsi512_pd(_mm512_ternarylogic_epi64(
      _mm512_set1_epi64(INT64_MIN), _mm512_castpd_si512(s.v), _mm512_castpd_si512(m.v), 0xCA))};
}
inline V<float> sqrt(V<float> a) { return {_mm512_sqrt_ps(a.v)}; }
inline V<double> sqrt(V<double> a) { return {_mm512_sqrt_pd(a.v)}; }
inline V<float> round(V<float> a) { return {_mm512_roundscale_ps(a.v, 8)}; }
inline V<double> round(V<double> a) { return {_mm512_roundscale_pd(a.v, 8)}; }
inline V<float> scale2(V<float> x, V<float> n) { return {_mm512_scalef_ps(x.v, n.v)}; }
inline V<double> scale2(V<double> x, V<double> n) { return {_mm512_scalef_pd(x.v, n.v)}; }
inline V<float> exponent(V<float> x) { return {_mm512_getexp_ps(x.v)}; }
inline V<double> exponent(V<double> x) { return {_mm512_getexp_pd(x.v)}; }
inline V<float> mantissa(V<float> x) {
  return {_mm512_getmant_ps(x.v, _MM_MANT_NORM_1_2, _MM_MANT_SIGN_zero)};
}
inline V<double> mantissa(V<double> x) {
  return {_mm512_getmant_pd(x.v, _MM_MANT_NORM_1_2, _MM_MANT_SIGN_zero)};
}
inline V<float> lookup(const float (&table)[32], __m512i index) {
  return {_mm512_permutex2var_ps(_mm512_loadu_ps(table), index, _mm512_loadu_ps(table + 16))};
}
inline V<float> lookup(const float (&table)[32], V<float> x) {
  return lookup(table, _mm512_castps_si512(x.v));
}
inline V<double> lookup(const double (&table)[16], V<double> x) {
  return {
      _mm512_permutex2var_pd(_mm512_loadu_pd(table), _mm512_castpd_si512(x.v), _mm512_loadu_pd(table + 8))};
}
inline V<float> octave_lookup(const float (&table)[32], V<float> x) {
  return lookup(table, _mm512_srli_epi32(_mm512_castps_si512(x.v), 21));
}
inline V<double> octave_lookup(const double (&table)[16], V<double> x) {
  return lookup(table, {_mm512_castsi512_pd(_mm512_srli_epi64(_mm512_castpd_si512(x.v), 50))});
}
inline M<float> lt(V<float> a, V<float> b) { return {_mm512_cmp_ps_mask(a.v, b.v, _CMP_LT_OQ)}; }
inline M<double> lt(V<double> a, V<double> b) { return {_mm512_cmp_pd_mask(a.v, b.v, _CMP_LT_OQ)}; }
inline M<float> le(V<float> a, V<float> b) { return {_mm512_cmp_ps_mask(a.v, b.v, _CMP_LE_OQ)}; }
inline M<double> le(V<double> a, V<double> b) { return {_mm512_cmp_pd_mask(a.v, b.v, _CMP_LE_OQ)}; }
inline M<float> eq(V<float> a, V<float> b) { return {_mm512_cmp_ps_mask(a.v, b.v, _CMP_EQ_OQ)}; }
inline M<double> eq(V<double> a, V<double> b) { return {_mm512_cmp_pd_mask(a.v, b.v, _CMP_EQ_OQ)}; }
inline M<float> unordered(V<float> a, V<float> b) { return {_mm512_cmp_ps_mask(a.v, b.v, _CMP_UNORD_Q)}; }
inline M<double> unordered(V<double> a, V<double> b) { return {_mm512_cmp_pd_mask(a.v, b.v, _CMP_UNORD_Q)}; }
inline V<float> select(M<float> m, V<float> a, V<float> b) { return {_mm512_mask_blend_ps(m.v, b.v, a.v)}; }
inline V<double> select(M<double> m, V<double> a, V<double> b) {
  return {_mm512_mask_blend_pd(m.v, b.v, a.v)};
}
template <class T>
inline V<T> by_sign(V<T> x, V<T> a, V<T> b) {
  return select(lt(x, V<T>::set1(T(0))), a, b);
}
inline float sum(V<float> a) { return _mm512_reduce_add_ps(a.v); }
inline double sum(V<double> a) { return _mm512_reduce_add_pd(a.v); }
inline float largest(V<float> a) { return _mm512_reduce_max_ps(a.v); }
inline double largest(V<double> a) { return _mm512_reduce_max_pd(a.v); }
inline V<double> widen_low(V<float> a) { return {_mm512_cvtps_pd(_mm512_castps512_ps256(a.v))}; }
inline V<double> widen_high(V<float> a) { return {_mm512_cvtps_pd(_mm512_extractf32x8_ps(a.v, 1))}; }

inline V<double> widen(const float* p) { return {_mm512_cvtps_pd(_mm256_loadu_ps(p))}; }
inline V<double> widen(const double* p) { return V<double>::load(p); }
inline V<double> widen(const float* p, int n) {
  return {_mm512_cvtps_pd(_mm256_maskz_loadu_ps(V<double>::first(n), p))};
}
inline V<double> widen(const double* p, int n) { return V<double>::load(p, n); }
inline void narrow(V<double> a, float* p) { _mm256_storeu_ps(p, _mm512_cvtpd_ps(a.v)); }
inline void narrow(V<double> a, double* p) { a.store(p); }
inline void narrow(V<double> a, float* p, int n) {
  _mm256_mask_storeu_ps(p, V<double>::first(n), _mm512_cvtpd_ps(a.v));
}
inline void narrow(V<double> a, double* p, int n) { a.store(p, n); }
inline void narrow_past_caches(V<double> a, float* p) { _mm256_stream_ps(p, _mm512_cvtpd_ps(a.v)); }
inline void narrow_past_caches(V<double> a, double* p) { _mm512_stream_pd(p, a.v); }
inline void fence() { _mm_sfence(); }

// Pairs, then pairs of pairs within 128 bits; then the 4 x 4 blocks of 128 bits of every fourth (second) row.
inline void transpose_quarters(__m512d a, __m512d b, __m512d c, __m512d d, __m512d (&out)[4]) {
  __m512d ab_even = _mm512_shuffle_f64x2(a, b, 0x88), ab_odd = _mm512_shuffle_f64x2(a, b, 0xdd);
  __m512d cd_even = _mm512_shuffle_f64x2(c, d, 0x88), cd_odd = _mm512_shuffle_f64x2(c, d, 0xdd);
  out[0] = _mm512_shuffle_f64x2(ab_even, cd_even, 0x88);
  out[1] = _mm512_shuffle_f64x2(ab_odd, cd_odd, 0x88);
  out[2] = _mm512_shuffle_f64x2(ab_even, cd_even, 0xdd);
  out[3] = _mm512_shuffle_f64x2(ab_odd, cd_odd, 0xdd);
}
inline void transpose(V<float> (&r)[16]) {
  __m512d pair[16], four[16], quarters[4];
#pragma GCC unroll 8
  for (int i = 0; i < 16; i += 2) {
    pair[i] = _mm512_castps_pd(_mm512_unpacklo_ps(r[i].v, r[i + 1].v));
    pair[i + 1] = _mm512_castps_pd(_mm512_unpackhi_ps(r[i].v, r[i + 1].v));
  }
#pragma GCC unroll 4
  for (int i = 0; i < 16; i += 4) {
    four[i] = _mm512_unpacklo_pd(pair[i], pair[i + 2]);
    four[i + 1] = _mm512_unpackhi_pd(pair[i], pair[i + 2]);
    four[i + 2] = _mm512_unpacklo_pd(pair[i + 1], pair[i + 3]);
    four[i + 3] = _mm512_unpackhi_pd(pair[i + 1], pair[i + 3]);
  }
#pragma GCC unroll 4
  for (int j = 0; j < 4; j++) {
    transpose_quarters(four[j], four[j + 4], four[j + 8], four[j + 12], quarters);
#pragma GCC unroll 4
    for (int i = 0; i < 4; i++) r[4 * i + j].v = _mm512_castpd_ps(quarters[i]);
  }
}
inline void transpose(V<double> (&r)[8]) {
  __m512d pair[8], quarters[4];
#pragma GCC unroll 4
  for (int i = 0; i < 8; i += 2) {
    pair[i] = _mm512_unpacklo_pd(r[i].v, r[i + 1].v);
    pair[i + 1] = _mm512_unpackhi_pd(r[i].v, r[i + 1].v);
  }
#pragma GCC unroll 2
  for (int j = 0; j < 2; j++) {
    transpose_quarters(pair[j], pair[j + 2], pair[j + 4], pair[j + 6], quarters);
#pragma GCC unroll 4
    for (int i = 0; i < 4; i++) r[2 * i + j].v = quarters[i];
  }
}

}  // namespace GM_ISA
}  // namespace gradiometer
