#include "dispatch.hpp"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cpu.hpp"

namespace gradiometer {

#define GM_ISA_ROW(name) const KernelTable* kernel_table_##name();
GM_ISA_LIST
#undef GM_ISA_ROW

namespace {

using Getter = const KernelTable* (*)();
#define GM_ISA_ROW(name) kernel_table_##name,
const Getter tables[] = {GM_ISA_LIST};
#undef GM_ISA_ROW
constexpr int table_count = static_cast<int>(sizeof(tables) / sizeof(tables[0]));

const KernelTable* chosen = nullptr;
char error[160] = "";

const KernelTable* best() {
  for (int i = table_count - 1; i > 0; i--)
    if (isa_supported(i)) return tables[i]();
  return tables[0]();
}

const KernelTable* named(const char* name) {
  for (int i = 0; i < table_count; i++)
    if (!strcmp(tables[i]()->isa, name) && isa_supported(i)) return tables[i]();
  return nullptr;
}

// Two threads that come here first write the same values.
const KernelTable* first_choice() {
  const char* wanted = getenv("GRADIOMETER_ISA");
  if (!wanted || !*wanted) return best();
  if (const KernelTable* t = named(wanted)) return t;
  int n = snprintf(error, sizeof error,
                   "GRADIOMETER_ISA=%.40s is unknown or not supported by this CPU; one of:", wanted);
  for (int i = 0; i < table_count && n > 0 && n < static_cast<int>(sizeof error); i++)
    if (isa_supported(i))
      n += snprintf(error + n, sizeof error - static_cast<size_t>(n), " %s", tables[i]()->isa);
  return best();
}

}  // namespace

int isa_count() { return table_count; }
const KernelTable& isa_table(int i) { return *tables[i](); }
bool isa_supported(int i) { return cpu_supports(tables[i]()->isa); }

const KernelTable& kernels() {
  const KernelTable* t = __atomic_load_n(&chosen, __ATOMIC_ACQUIRE);
  if (!t) {
    t = first_choice();
    __atomic_store_n(&chosen, t, __ATOMIC_RELEASE);
  }
  return *t;
}

bool isa_set(const char* name) {
  const KernelTable* t = name ? named(name) : best();
  if (!t) return false;
  __atomic_store_n(&chosen, t, __ATOMIC_RELEASE);
  return true;
}

const char* isa_error() {
  kernels();
  return error[0] ? error : nullptr;
}

}  // namespace gradiometer
