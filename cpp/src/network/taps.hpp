// What a measurement sees at a node: of the member's rows while they are in its cache, in blocks whose sums
// are put together in order after the pass, so that numbers do not depend on the team.
#pragma once
#include "network.hpp"

namespace gradiometer {

struct SampleBatch {
  int64_t N, T;            // of sequences, T steps
  const int64_t* lengths;  // or null for T: steps beyond are not seen
};

// Of node `id`, over some samples of a batch that begin at a multiple of tap_rows(N): after the node's
// forward, and before its backward, which may overwrite the gradient.
template <class T>
void tap_value(const Network& net, int id, const SampleBatch& batch, Range samples, const T* value,
               const T* input);
template <class T>
void tap_gradient(const Network& net, int id, const SampleBatch& batch, Range samples, const T* gradient);

// Puts together what was seen of all rows. mean: plan.widest places.
template <class T>
void finish_tap(const Network& net, int id, const SampleBatch& batch, const T* value, double* mean,
                gm_tap* out);

}  // namespace gradiometer
