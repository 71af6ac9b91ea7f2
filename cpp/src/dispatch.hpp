// Which table of kernels runs: the best that is compiled in and supported, or the one that was asked for.
#pragma once
#include "kernel_table.hpp"

namespace gradiometer {

int isa_count();
const KernelTable& isa_table(int i);  // worst first
bool isa_supported(int i);
const KernelTable& kernels();    // the chosen one
bool isa_set(const char* name);  // null: the best; false if unknown or unsupported
const char* isa_error();         // what was wrong with GRADIOMETER_ISA, or null

// The part of a row that is for type T.
template <class T>
const Kernels<T>& of(const KernelTable& table);
template <>
inline const Kernels<float>& of<float>(const KernelTable& table) {
  return table.f32;
}
template <>
inline const Kernels<double>& of<double>(const KernelTable& table) {
  return table.f64;
}

template <class T>
const ActivationKernels<T>& of(const Activation& activation);
template <>
inline const ActivationKernels<float>& of<float>(const Activation& activation) {
  return activation.f32;
}
template <>
inline const ActivationKernels<double>& of<double>(const Activation& activation) {
  return activation.f64;
}

}  // namespace gradiometer
