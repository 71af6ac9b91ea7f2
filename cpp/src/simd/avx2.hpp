// AVX2 + FMA: 8 floats or 4 doubles. Contract: scalar.hpp.
#pragma once
#include <immintrin.h>
#include <stdint.h>

namespace gradiometer {
namespace GM_ISA {

template <class T>
struct V;
template <class T>
struct M;

template <>
struct M<float> {
  __m256 v;
};
template <>
struct M<double> {
  __m256d v;
};
inline M<float> operator&(M<float> a, M<float> b) { return {_mm256_and_ps(a.v, b.v)}; }
inline M<double> operator&(M<double> a, M<double> b) { return {_mm256_and_pd(a.v, b.v)}; }
inline M<float> operator|(M<float> a, M<float> b) { return {_mm256_or_ps(a.v, b.v)}; }
inline M<double> operator|(M<double> a, M<double> b) { return {_mm256_or_pd(a.v, b.v)}; }
inline M<float> operator!(M<float> a) {
  return {_mm256_xor_ps(a.v, _mm256_castsi256_ps(_mm256_set1_epi32(-1)))};
}
inline M<double> operator!(M<double> a) {
  return {_mm256_xor_pd(a.v, _mm256_castsi256_pd(_mm256_set1_epi32(-1)))};
}
inline bool any(M<float> a) { return _mm256_movemask_ps(a.v) != 0; }
inline bool any(M<double> a) { return _mm256_movemask_pd(a.v) != 0; }
inline int count(M<float> a) { return __builtin_popcount(static_cast<unsigned>(_mm256_movemask_ps(a.v))); }
inline int count(M<double> a) { return __builtin_popcount(static_cast<unsigned>(_mm256_movemask_pd(a.v))); }

template <>
struct V<float> {
  static constexpr int lanes = 8;
  static constexpr bool fused = true;
  static constexpr int table_entries = 8;
  __m256 v;
  static __m256i first(int n) {
    return _mm256_cmpgt_epi32(_mm256_set1_epi32(n), _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7));
  }
  static V load(const float* p) { return {_mm256_loadu_ps(p)}; }
  static V load(const float* p, int n) { return {_mm256_maskload_ps(p, first(n))}; }
  static V set1(float s) { return {_mm256_set1_ps(s)}; }
  void store(float* p) const { _mm256_storeu_ps(p, v); }
  void stream(float* p) const { _mm256_stream_ps(p, v); }
  void store(float* p, int n) const { _mm256_maskstore_ps(p, first(n), v); }
};
template <>
struct V<double> {
  static constexpr int lanes = 4;
  static constexpr bool fused = true;
  static constexpr int table_entries = 0;
  __m256d v;
  static __m256i first(int n) {
    return _mm256_cmpgt_epi64(_mm256_set1_epi64x(n), _mm256_setr_epi64x(0, 1, 2, 3));
  }
  static V load(const double* p) { return {_mm256_loadu_pd(p)}; }
  static V load(const double* p, int n) { return {_mm256_maskload_pd(p, first(n))}; }
  static V set1(double s) { return {_mm256_set1_pd(s)}; }
  void store(double* p) const { _mm256_storeu_pd(p, v); }
  void stream(double* p) const { _mm256_stream_pd(p, v); }
  void store(double* p, int n) const { _mm256_maskstore_pd(p, first(n), v); }
};

inline void stream_end() { _mm_sfence(); }
template <class T>
inline V<T> once(V<T> a) {
  asm("" : "+x"(a.v));
  return a;
}

inline V<float> operator+(V<float> a, V<float> b) { return {_mm256_add_ps(a.v, b.v)}; }
inline V<double> operator+(V<double> a, V<double> b) { return {_mm256_add_pd(a.v, b.v)}; }
inline V<float> operator-(V<float> a, V<float> b) { return {_mm256_sub_ps(a.v, b.v)}; }
inline V<double> operator-(V<double> a, V<double> b) { return {_mm256_sub_pd(a.v, b.v)}; }
inline V<float> operator*(V<float> a, V<float> b) { return {_mm256_mul_ps(a.v, b.v)}; }
inline V<double> operator*(V<double> a, V<double> b) { return {_mm256_mul_pd(a.v, b.v)}; }
inline V<float> operator/(V<float> a, V<float> b) { return {_mm256_div_ps(a.v, b.v)}; }
inline V<double> operator/(V<double> a, V<double> b) { return {_mm256_div_pd(a.v, b.v)}; }
inline V<float> operator-(V<float> a) { return {_mm256_xor_ps(a.v, _mm256_set1_ps(-0.0f))}; }
inline V<double> operator-(V<double> a) { return {_mm256_xor_pd(a.v, _mm256_set1_pd(-0.0))}; }
inline V<float> fma(V<float> a, V<float> b, V<float> c) { return {_mm256_fmadd_ps(a.v, b.v, c.v)}; }
inline V<double> fma(V<double> a, V<double> b, V<double> c) { return {_mm256_fmadd_pd(a.v, b.v, c.v)}; }
inline V<float> fnma(V<float> a, V<float> b, V<float> c) { return {_mm256_fnmadd_ps(a.v, b.v, c.v)}; }
inline V<double> fnma(V<double> a, V<double> b, V<double> c) { return {_mm256_fnmadd_pd(a.v, b.v, c.v)}; }
inline V<float> product_error(V<float> a, V<float> b, V<float> p) { return {_mm256_fmsub_ps(a.v, b.v, p.v)}; }
inline V<double> product_error(V<double> a, V<double> b, V<double> p) {
  return {_mm256_fmsub_pd(a.v, b.v, p.v)};
}
inline V<float> min(V<float> a, V<float> b) { return {_mm256_min_ps(a.v, b.v)}; }
inline V<double> min(V<double> a, V<double> b) { return {_mm256_min_pd(a.v, b.v)}; }
inline V<float> max(V<float> a, V<float> b) { return {_mm256_max_ps(a.v, b.v)}; }
inline V<double> max(V<double> a, V<double> b) { return {_mm256_max_pd(a.v, b.v)}; }
// As integers, where there is such an instruction: one cycle, and on any port.
inline V<float> larger(V<float> a, V<float> b) {
  return {_mm256_castsi256_ps(_mm256_max_epu32(_mm256_castps_si256(a.v), _mm256_castps_si256(b.v)))};
}
inline V<double> larger(V<double> a, V<double> b) { return max(a, b); }
inline V<float> smaller(V<float> a, V<float> b) {
  return {_mm256_castsi256_ps(_mm256_min_epu32(_mm256_castps_si256(a.v), _mm256_castps_si256(b.v)))};
}
inline V<double> smaller(V<double> a, V<double> b) { return min(a, b); }
inline V<float> abs(V<float> a) { return {_mm256_andnot_ps(_mm256_set1_ps(-0.0f), a.v)}; }
inline V<double> abs(V<double> a) { return {_mm256_andnot_pd(_mm256_set1_pd(-0.0), a.v)}; }
inline V<float> copysign(V<float> m, V<float> s) {
  return {_mm256_or_ps(abs(m).v, _mm256_and_ps(_mm256_set1_ps(-0.0f), s.v))};
}
inline V<double> copysign(V<double> m, V<double> s) {
  return {_mm256_or_pd(abs(m).v, _mm256_and_pd(_mm256_set1_pd(-0.0), s.v))};
}
inline V<float> sqrt(V<float> a) { return {_mm256_sqrt_ps(a.v)}; }
inline V<double> sqrt(V<double> a) { return {_mm256_sqrt_pd(a.v)}; }
inline V<float> round(V<float> a) {
  return {_mm256_round_ps(a.v, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC)};
}
inline V<double> round(V<double> a) {
  return {_mm256_round_pd(a.v, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC)};
}
inline V<float> octave_lookup(const float (&table)[8], V<float> x) {
  return {_mm256_permutevar8x32_ps(_mm256_loadu_ps(table), _mm256_srli_epi32(_mm256_castps_si256(x.v), 22))};
}
inline M<float> lt(V<float> a, V<float> b) { return {_mm256_cmp_ps(a.v, b.v, _CMP_LT_OQ)}; }
inline M<double> lt(V<double> a, V<double> b) { return {_mm256_cmp_pd(a.v, b.v, _CMP_LT_OQ)}; }
inline M<float> le(V<float> a, V<float> b) { return {_mm256_cmp_ps(a.v, b.v, _CMP_LE_OQ)}; }
inline M<double> le(V<double> a, V<double> b) { return {_mm256_cmp_pd(a.v, b.v, _CMP_LE_OQ)}; }
inline M<float> eq(V<float> a, V<float> b) { return {_mm256_cmp_ps(a.v, b.v, _CMP_EQ_OQ)}; }
inline M<double> eq(V<double> a, V<double> b) { return {_mm256_cmp_pd(a.v, b.v, _CMP_EQ_OQ)}; }
inline M<float> unordered(V<float> a, V<float> b) { return {_mm256_cmp_ps(a.v, b.v, _CMP_UNORD_Q)}; }
inline M<double> unordered(V<double> a, V<double> b) { return {_mm256_cmp_pd(a.v, b.v, _CMP_UNORD_Q)}; }
inline V<float> select(M<float> m, V<float> a, V<float> b) { return {_mm256_blendv_ps(b.v, a.v, m.v)}; }
inline V<double> select(M<double> m, V<double> a, V<double> b) { return {_mm256_blendv_pd(b.v, a.v, m.v)}; }
inline V<float> by_sign(V<float> x, V<float> a, V<float> b) { return {_mm256_blendv_ps(b.v, a.v, x.v)}; }
inline V<double> by_sign(V<double> x, V<double> a, V<double> b) { return {_mm256_blendv_pd(b.v, a.v, x.v)}; }

// 2^n as a float by writing its exponent field, n in the normal range.
inline V<float> power2(V<float> n) {
  __m256i e = _mm256_cvtps_epi32(n.v);
  return {_mm256_castsi256_ps(_mm256_slli_epi32(_mm256_add_epi32(e, _mm256_set1_epi32(127)), 23))};
}
inline V<double> power2(V<double> n) {
  // Adding 2^52 + 2^51 leaves the integer in the low mantissa bits; AVX2 has no double to int64 conversion.
  __m256i e = _mm256_castpd_si256(_mm256_add_pd(n.v, _mm256_set1_pd(6755399441055744.0)));
  return {_mm256_castsi256_pd(_mm256_slli_epi64(_mm256_add_epi64(e, _mm256_set1_epi64x(1023)), 52))};
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
  __m256i e = _mm256_srli_epi32(_mm256_castps_si256(abs(x).v), 23);
  return {_mm256_sub_ps(_mm256_cvtepi32_ps(e), _mm256_set1_ps(127.0f))};
}
inline V<double> exponent_field(V<double> x) {
  __m256i e = _mm256_srli_epi64(_mm256_castpd_si256(abs(x).v), 52);
  __m256d biased =
      _mm256_castsi256_pd(_mm256_or_si256(e, _mm256_castpd_si256(_mm256_set1_pd(4503599627370496.0))));
  return {_mm256_sub_pd(_mm256_sub_pd(biased, _mm256_set1_pd(4503599627370496.0)), _mm256_set1_pd(1023.0))};
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
  __m256i field = _mm256_and_si256(_mm256_castps_si256(m.v), _mm256_set1_epi32(0x007fffff));
  return {_mm256_castsi256_ps(_mm256_or_si256(field, _mm256_set1_epi32(0x3f800000)))};
}
inline V<double> mantissa(V<double> x) {
  V<double> m = select(lt(abs(x), V<double>::set1(2.2250738585072014e-308)),
                       x * V<double>::set1(18014398509481984.0), x);
  __m256i field = _mm256_and_si256(_mm256_castpd_si256(m.v), _mm256_set1_epi64x(0x000fffffffffffff));
  return {_mm256_castsi256_pd(_mm256_or_si256(field, _mm256_set1_epi64x(0x3ff0000000000000)))};
}

inline float sum(V<float> a) {
  __m128 h = _mm_add_ps(_mm256_castps256_ps128(a.v), _mm256_extractf128_ps(a.v, 1));
  h = _mm_add_ps(h, _mm_movehl_ps(h, h));
  return _mm_cvtss_f32(_mm_add_ss(h, _mm_shuffle_ps(h, h, 1)));
}
inline double sum(V<double> a) {
  __m128d h = _mm_add_pd(_mm256_castpd256_pd128(a.v), _mm256_extractf128_pd(a.v, 1));
  return _mm_cvtsd_f64(_mm_add_sd(h, _mm_unpackhi_pd(h, h)));
}
inline float largest(V<float> a) {
  __m128 h = _mm_max_ps(_mm256_castps256_ps128(a.v), _mm256_extractf128_ps(a.v, 1));
  h = _mm_max_ps(h, _mm_movehl_ps(h, h));
  return _mm_cvtss_f32(_mm_max_ss(h, _mm_shuffle_ps(h, h, 1)));
}
inline double largest(V<double> a) {
  __m128d h = _mm_max_pd(_mm256_castpd256_pd128(a.v), _mm256_extractf128_pd(a.v, 1));
  return _mm_cvtsd_f64(_mm_max_sd(h, _mm_unpackhi_pd(h, h)));
}
inline V<double> widen_low(V<float> a) { return {_mm256_cvtps_pd(_mm256_castps256_ps128(a.v))}; }
inline V<double> widen_high(V<float> a) { return {_mm256_cvtps_pd(_mm256_extractf128_ps(a.v, 1))}; }

inline __m128i first_floats(int n) { return _mm_cmpgt_epi32(_mm_set1_epi32(n), _mm_setr_epi32(0, 1, 2, 3)); }
inline V<double> widen(const float* p) { return {_mm256_cvtps_pd(_mm_loadu_ps(p))}; }
inline V<double> widen(const double* p) { return V<double>::load(p); }
inline V<double> widen(const float* p, int n) {
  return {_mm256_cvtps_pd(_mm_maskload_ps(p, first_floats(n)))};
}
inline V<double> widen(const double* p, int n) { return V<double>::load(p, n); }
inline void narrow(V<double> a, float* p) { _mm_storeu_ps(p, _mm256_cvtpd_ps(a.v)); }
inline void narrow(V<double> a, double* p) { a.store(p); }
inline void narrow(V<double> a, float* p, int n) {
  _mm_maskstore_ps(p, first_floats(n), _mm256_cvtpd_ps(a.v));
}
inline void narrow(V<double> a, double* p, int n) { a.store(p, n); }
inline void narrow_past_caches(V<double> a, float* p) { _mm_stream_ps(p, _mm256_cvtpd_ps(a.v)); }
inline void narrow_past_caches(V<double> a, double* p) { _mm256_stream_pd(p, a.v); }
inline void fence() { _mm_sfence(); }

// Pairs, then pairs of pairs within 128 bits, then the two halves.
inline void transpose(V<float> (&r)[8]) {
  __m256d t[8];
  for (int i = 0; i < 8; i += 2) {
    t[i] = _mm256_castps_pd(_mm256_unpacklo_ps(r[i].v, r[i + 1].v));
    t[i + 1] = _mm256_castps_pd(_mm256_unpackhi_ps(r[i].v, r[i + 1].v));
  }
  for (int j = 0; j < 4; j++) {
    int i = j / 2;
    __m256 low =
        _mm256_castpd_ps(j % 2 ? _mm256_unpackhi_pd(t[i], t[i + 2]) : _mm256_unpacklo_pd(t[i], t[i + 2]));
    __m256 high = _mm256_castpd_ps(j % 2 ? _mm256_unpackhi_pd(t[i + 4], t[i + 6])
                                         : _mm256_unpacklo_pd(t[i + 4], t[i + 6]));
    r[j].v = _mm256_permute2f128_ps(low, high, 0x20);
    r[j + 4].v = _mm256_permute2f128_ps(low, high, 0x31);
  }
}
inline void transpose(V<double> (&r)[4]) {
  __m256d a = _mm256_unpacklo_pd(r[0].v, r[1].v), b = _mm256_unpackhi_pd(r[0].v, r[1].v);
  __m256d c = _mm256_unpacklo_pd(r[2].v, r[3].v), d = _mm256_unpackhi_pd(r[2].v, r[3].v);
  r[0].v = _mm256_permute2f128_pd(a, c, 0x20);
  r[1].v = _mm256_permute2f128_pd(b, d, 0x20);
  r[2].v = _mm256_permute2f128_pd(a, c, 0x31);
  r[3].v = _mm256_permute2f128_pd(b, d, 0x31);
}

}  // namespace GM_ISA
}  // namespace gradiometer
