#include "cpu.hpp"

#include <stdint.h>
#include <string.h>

#if defined(__x86_64__) || defined(_M_X64)
#include <cpuid.h>
#include <xmmintrin.h>
#define GM_X86 1
#endif

namespace gradiometer {
namespace {

#ifdef GM_X86
struct Registers {
  uint32_t eax, ebx, ecx, edx;
};
Registers cpuid(uint32_t leaf, uint32_t subleaf = 0) {
  Registers r = {0, 0, 0, 0};
  __get_cpuid_count(leaf, subleaf, &r.eax, &r.ebx, &r.ecx,
                    &r.edx);  // leaves zeros where there is no such leaf
  return r;
}
// The state components that the operating system saves at a context switch: without them the registers of an
// instruction set that the processor has are not ours to use.
uint64_t saved_state() {
  if (!(cpuid(1).ecx & (1u << 27))) return 0;  // OSXSAVE
  uint32_t low, high;
  __asm__ volatile("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
  return static_cast<uint64_t>(high) << 32 | low;
}
bool has(uint32_t value, int bit) { return (value >> bit) & 1u; }

bool sse42() {
  uint32_t ecx = cpuid(1).ecx;
  return has(ecx, 20) && has(ecx, 23);  // and popcnt, which compilers take for a part of it
}
bool avx2() {
  Registers one = cpuid(1), seven = cpuid(7);
  return (saved_state() & 0x6) == 0x6 && has(one.ecx, 28) && has(one.ecx, 12) && has(seven.ebx, 5);
}
bool avx512() {
  uint32_t ebx = cpuid(7).ebx;
  return avx2() && (saved_state() & 0xe6) == 0xe6 && has(ebx, 16) && has(ebx, 17) && has(ebx, 30) &&
         has(ebx, 31);
}
#endif

struct Row {
  const char* isa;
  bool (*supported)();
};
const Row rows[] = {
    {"scalar", [] { return true; }},
#ifdef GM_X86
    {"sse42", sse42},
    {"avx2", avx2},
    {"avx512", avx512},
#endif
};

}  // namespace

bool cpu_supports(const char* isa) {
  for (const Row& row : rows)
    if (!strcmp(row.isa, isa)) return row.supported();
  return false;
}

// MXCSR bits 15 (flush results) and 6 (treat operands as zero).
bool cpu_flushes_subnormals() {
#ifdef GM_X86
  return (_mm_getcsr() & 0x8040u) != 0;
#else
  return false;
#endif
}

}  // namespace gradiometer
