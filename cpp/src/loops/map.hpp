// One loop over memory for all element-wise work: whole vectors, then the rest through the same function on a
// partial vector, so that an element's bits depend on neither its index nor the length.
#pragma once
#include <stdint.h>

namespace gradiometer {
namespace GM_ISA {

// Where inputs and output together are of more bytes than this the output goes past the caches, so that its
// lines are not read before they are written: relu from 4, 8, 16 and 64 MiB 86, 88, 90 and 74 GB/s instead of
// 126, 119, 76 and 48, its derivative from twice 8 MiB 110 instead of 92 (benchmarks/peers.py --suite
// activations). Through a buffer of 1 or 4 KiB, with the mathematics compiled once less, 61 and 62
// from 64 MiB.
constexpr int64_t kPastCaches = 20 << 20;
// An output of fewer elements is not aligned first.
constexpr int64_t kSmall = 512;

// y[i] = value(i), the vector at i, or value(i, n), the n elements there; it reads
// streams - 1 arrays. The first piece ends where y
// reaches a cache line (a store across two costs L1 a third of its speed); in place nothing goes past the
// caches.
template <int streams, class T, class Value>
inline void fill(int64_t n, T* y, bool in_place, Value value) {
  constexpr int64_t kLine = 64, kSize = sizeof(T), W = V<T>::lanes;
  const int64_t off = static_cast<int64_t>(reinterpret_cast<uintptr_t>(y) % kLine);
  const int64_t head = n < kSmall || off % kSize != 0 ? 0 : (kLine - off) % kLine / kSize;
  const bool past = !in_place && n * kSize * streams > kPastCaches && off % kSize == 0;
  int64_t i = 0, end = head;
  for (int piece = 0; piece < 2; piece++, end = n) {
    if (past && piece == 1)
      for (; i + W <= end; i += W) value(i).stream(y + i);
    for (; i + W <= end; i += W) value(i).store(y + i);
    if (i < end) {
      int rest = static_cast<int>(end - i);
      value(i, rest).store(y + i, rest);
      i = end;
    }
  }
  if (past) stream_end();
}

template <class T, class F>
inline void map(int64_t n, const T* x, T* y, F f) {
  fill<2>(n, y, x == y, [=](int64_t i, auto... rest) { return f(once(V<T>::load(x + i, rest...))); });
}

template <class T, class F>
inline void map(int64_t n, const T* a, const T* b, T* y, F f) {
  fill<3>(n, y, a == y || b == y, [=](int64_t i, auto... rest) {
    return f(once(V<T>::load(a + i, rest...)), once(V<T>::load(b + i, rest...)));
  });
}

}  // namespace GM_ISA
}  // namespace gradiometer
