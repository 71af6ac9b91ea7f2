// What is too big for the caches: asked for ahead, written past them.
#pragma once
#include <stdint.h>

#include "kernel_table.hpp"
#include "simd/lanes.hpp"

namespace gradiometer {
namespace GM_ISA {

// What comes from memory is asked for so many bytes ahead, into L2: where L1 is asked, its misses wait for
// each other. 8192 x 1024 floats, one Zen 4 thread, AVX-512, ms, without, into L1 and into L2: batch norm's
// sums of x 1.38, 1.45 and 1.03, of x and dy 2.5, 3.7 and 2.1, y 3.4, 2.1 and 2.0, dx 5.9, 4.5 and 3.5; from
// 8 to 64 KiB ahead the same.
constexpr int64_t kAhead = 32768;
template <class T>
inline void ask_ahead(const T* p) {
  __builtin_prefetch(reinterpret_cast<const char*>(p) + kAhead, 0, 2);
}

// Of a member's share.
template <class T>
inline bool far_rows(int64_t N, int64_t C) {
  return N * C * static_cast<int64_t>(sizeof(T)) >= kFarRows;
}

}  // namespace GM_ISA
}  // namespace gradiometer
