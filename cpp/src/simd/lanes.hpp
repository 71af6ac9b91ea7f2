// A range of memory as whole vectors and part of one. for_lanes<W>(n, f) calls f(i, Whole{}) for every W
// elements, then f(i, Part{n - i}) for the rest; the verbs here take either, so that a loop's body is written
// once and an element's bits do not depend on where in the range it lies.
#pragma once
#include <stdint.h>

namespace gradiometer {
namespace GM_ISA {

struct Whole {};
struct Part {
  int n;
};
template <int n>
struct Count {
  static constexpr int value = n;
};

template <int W, class F>
inline void for_lanes(int64_t n, F f) {
  int64_t i = 0;
  for (; i + W <= n; i += W) f(i, Whole{});
  if (i < n) f(i, Part{static_cast<int>(n - i)});
}

template <class T>
inline V<T> load(const T* p, Whole) {
  return V<T>::load(p);
}
template <class T>
inline V<T> load(const T* p, Part part) {
  return V<T>::load(p, part.n);
}
template <class T>
inline void store(V<T> a, T* p, Whole) {
  a.store(p);
}
template <class T>
inline void store(V<T> a, T* p, Part part) {
  a.store(p, part.n);
}
template <class T>
inline V<double> widen(const T* p, Whole) {
  return widen(p);
}
template <class T>
inline V<double> widen(const T* p, Part part) {
  return widen(p, part.n);
}
template <class T>
inline void narrow(V<double> a, T* p, Whole) {
  narrow(a, p);
}
template <class T>
inline void narrow(V<double> a, T* p, Part part) {
  narrow(a, p, part.n);
}

template <int W>
constexpr int lanes_of(Whole) {
  return W;
}
template <int W>
constexpr int lanes_of(Part part) {
  return part.n;
}

// out[i] = f(i, lanes) for n elements in order, narrowed. Past the caches: whole lines of 64 bytes without
// reading them first, the ends as usual; a fence() is due before another thread reads.
template <class T, class F>
inline void narrow_line(int64_t n, bool past_caches, T* out, F f) {
  constexpr int W = V<double>::lanes;
  if (!past_caches)
    return for_lanes<W>(n, [&](int64_t i, auto lanes) { narrow(f(i, lanes), out + i, lanes); });
  const int64_t before = static_cast<int64_t>(-reinterpret_cast<uintptr_t>(out) % 64 / sizeof(T));
  int64_t i = before < n ? before : n;
  for_lanes<W>(i, [&](int64_t j, auto lanes) { narrow(f(j, lanes), out + j, lanes); });
  for (; i + W <= n; i += W) narrow_past_caches(f(i, Whole{}), out + i);
  if (i < n) {
    const Part rest{static_cast<int>(n - i)};
    narrow(f(i, rest), out + i, rest);
  }
}

// a in the lanes of the range, b beyond it.
template <class T>
inline V<T> within(V<T> a, V<T>, Whole) {
  return a;
}
template <class T>
inline V<T> within(V<T> a, V<T> b, Part part) {
  static constexpr T ones[] = {1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1};
  return select(lt(V<T>::set1(T(0)), V<T>::load(ones, part.n)), a, b);
}

// Sum of f(i, lanes) over n elements in float64. Four vectors of sums, so that additions need not wait for
// each other; the order depends on n and the ISA alone. f gives 0 in the lanes beyond the range.
template <class F>
inline double sum_over(int64_t n, F f) {
  constexpr int W = V<double>::lanes;
  V<double> s[4];
  for (V<double>& a : s) a = V<double>::set1(0);
  int64_t i = 0;
  for (; i + 4 * W <= n; i += 4 * W)
    for (int k = 0; k < 4; k++) s[k] = s[k] + f(i + k * W, Whole{});
  for_lanes<W>(n - i, [&](int64_t j, auto lanes) { s[0] = s[0] + f(i + j, lanes); });
  return sum((s[0] + s[1]) + (s[2] + s[3]));
}

}  // namespace GM_ISA
}  // namespace gradiometer
