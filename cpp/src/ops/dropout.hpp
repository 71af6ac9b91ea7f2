// Dropout: y = x m, m = 0 or 1 / (1 - p) (Srivastava et al. 2014, JMLR 15:1929). Contract: kernel_table.hpp.
//
// Whether an element is dropped is word e mod 4 of Philox4x32-10 (Salmon et al. 2011, "Parallel random
// numbers: as easy as 1, 2, 3") for the counter (e / 4, step, node) and the key seed: the mask is a function,
// not a sequence, so that it neither is kept for backward nor depends on how the work is cut.
#pragma once
#include "kernel_table.hpp"

namespace gradiometer {
namespace GM_ISA {

inline void philox(uint64_t block, uint32_t step, uint32_t node, uint64_t seed, uint32_t (&out)[4]) {
  uint32_t c0 = static_cast<uint32_t>(block), c1 = static_cast<uint32_t>(block >> 32), c2 = step, c3 = node;
  uint32_t k0 = static_cast<uint32_t>(seed), k1 = static_cast<uint32_t>(seed >> 32);
  for (int round = 0; round < 10; round++) {
    const uint64_t a = uint64_t(0xD2511F53) * c0, b = uint64_t(0xCD9E8D57) * c2;
    c0 = static_cast<uint32_t>(b >> 32) ^ c1 ^ k0;
    c1 = static_cast<uint32_t>(b);
    c2 = static_cast<uint32_t>(a >> 32) ^ c3 ^ k1;
    c3 = static_cast<uint32_t>(a);
    k0 += 0x9E3779B9;
    k1 += 0xBB67AE85;
  }
  out[0] = c0;
  out[1] = c1;
  out[2] = c2;
  out[3] = c3;
}

// A product, so that NaN and inf in x are seen whether dropped or not.
template <class T>
void dropout(int64_t n, int64_t first, const DropoutKey& key, const T* x, T* y) {
  const uint64_t below = static_cast<uint64_t>(key.p * 4294967296.0);
  const T kept = key.p < 1 ? static_cast<T>(1 / (1 - key.p)) : T(0);
  uint32_t word[4];
  for (int64_t i = 0; i < n; i++) {
    const int64_t e = first + i;
    if (i == 0 || e % 4 == 0) philox(static_cast<uint64_t>(e / 4), key.step, key.node, key.seed, word);
    y[i] = x[i] * (word[e % 4] < below ? T(0) : kept);
  }
}

}  // namespace GM_ISA
}  // namespace gradiometer
