// One loop over memory for all element-wise work: whole vectors, then the rest through the same function on a
// partial vector, so that an element's bits depend on neither its index nor the length.
#pragma once
#include <stdint.h>

namespace gradiometer {
namespace GM_ISA {

template <class T, class F>
inline void map(int64_t n, const T* x, T* y, F f) {
  constexpr int W = V<T>::lanes;
  int64_t i = 0;
  for (; i + W <= n; i += W) f(V<T>::load(x + i)).store(y + i);
  if (i < n) {
    int rest = static_cast<int>(n - i);
    f(V<T>::load(x + i, rest)).store(y + i, rest);
  }
}

template <class T, class F>
inline void map(int64_t n, const T* a, const T* b, T* y, F f) {
  constexpr int W = V<T>::lanes;
  int64_t i = 0;
  for (; i + W <= n; i += W) f(V<T>::load(a + i), V<T>::load(b + i)).store(y + i);
  if (i < n) {
    int rest = static_cast<int>(n - i);
    f(V<T>::load(a + i, rest), V<T>::load(b + i, rest)).store(y + i, rest);
  }
}

}  // namespace GM_ISA
}  // namespace gradiometer
