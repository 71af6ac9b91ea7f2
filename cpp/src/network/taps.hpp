// What a measurement sees at a node.
#pragma once
#include "network.hpp"

namespace gradiometer {

// Fills *out for node `id` from the value and gradient of the last pass. scratch: plan.scratch_each bytes.
template <class T>
void tap(const Network& net, int id, int64_t N, const T* value, const T* gradient, const T* input,
         char* scratch, gm_tap* out);

}  // namespace gradiometer
