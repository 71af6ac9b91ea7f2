// What this processor and its operating system support.
#pragma once
namespace gradiometer {
bool cpu_supports(const char* isa);
bool cpu_flushes_subnormals();
}  // namespace gradiometer
