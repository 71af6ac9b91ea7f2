// One loop over memory for all element-wise work: whole vectors, then the rest through the same function on a
// partial vector, so that an element's bits depend on neither its index nor the length.
#pragma once
#include <stdint.h>

namespace gradiometer {
namespace GM_ISA {

// An output of this many bytes goes past the caches: its lines are not read before they are written.
// Chosen by benchmarks/peers.py --suite activations.
constexpr int64_t kPastCaches = 8 << 20;

// y[i] = value(i), the vector at i, or value(i, n), the n elements there.
template <class T, class Value>
inline void fill(int64_t n, T* y, Value value) {
  constexpr int W = V<T>::lanes;
  int64_t i = 0;
  for (; i + W <= n; i += W) value(i).store(y + i);
  if (i < n) {
    int rest = static_cast<int>(n - i);
    value(i, rest).store(y + i, rest);
  }
}

// y = x past the caches; whole vectors of y lie on their own size.
template <class T>
inline void stream(int64_t n, const T* x, T* y) {
  constexpr int W = V<T>::lanes;
  int64_t i = 0;
  for (; i + W <= n; i += W) V<T>::load(x + i).stream(y + i);
  if (i < n) {
    int rest = static_cast<int>(n - i);
    V<T>::load(x + i, rest).store(y + i, rest);
  }
}

// fill in pieces. The first ends where y reaches a cache line. Past the caches each is made in a buffer: the
// mathematics is there once, and the buffer costs nothing beside the memory.
template <class T, class Value>
inline void fill_in_pieces(int64_t n, T* y, bool in_place, Value value) {
  constexpr int64_t kLine = 64, kPiece = 4096 / static_cast<int64_t>(sizeof(T)), kSmall = 512;
  const int64_t off = static_cast<int64_t>(reinterpret_cast<uintptr_t>(y) % kLine);
  const int64_t head = n < kSmall || off == 0 ? 0 : (kLine - off) / static_cast<int64_t>(sizeof(T));
  const bool past = !in_place && n * static_cast<int64_t>(sizeof(T)) >= kPastCaches &&
                    off % static_cast<int64_t>(sizeof(T)) == 0;
  alignas(kLine) T buffer[kPiece];
  for (int64_t i = 0; i < n;) {
    int64_t m = i < head ? head : past ? kPiece : n;
    if (m > n - i) m = n - i;
    fill(m, past ? buffer : y + i, [&](int64_t k, auto... rest) { return value(i + k, rest...); });
    if (past) stream(m, buffer, y + i);
    i += m;
  }
  if (past) stream_end();
}

template <class T, class F>
inline void map(int64_t n, const T* x, T* y, F f) {
  fill_in_pieces(n, y, x == y, [=](int64_t i, auto... rest) { return f(V<T>::load(x + i, rest...)); });
}

template <class T, class F>
inline void map(int64_t n, const T* a, const T* b, T* y, F f) {
  fill_in_pieces(n, y, a == y || b == y, [=](int64_t i, auto... rest) {
    return f(V<T>::load(a + i, rest...), V<T>::load(b + i, rest...));
  });
}

}  // namespace GM_ISA
}  // namespace gradiometer
