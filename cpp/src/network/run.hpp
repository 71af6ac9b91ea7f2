// One pass over a network: forward, loss, backward, optimiser, in one parallel region.
#pragma once
#include "../optimizers.hpp"
#include "network.hpp"

namespace gradiometer {

// What a pass reads and writes; target, optimizer and the rest stay null where they are not part of it.
struct PassArguments {
  const gm_context* context;
  int64_t N;
  const void* x;
  void* y;  // forward only: the output
  const Loss* loss;
  const void* target;
  const double* loss_params;
  double mean_over;  // what a mean loss divides by
  double* value;
  void* dx;
  const Optimizer* optimizer;
  const double* params;
  void* slots;
  double* asked;  // seconds: when the cancel callback was last asked, over several passes; or null
};

// The network has room for N rows and the taps. GM_CANCELLED leaves parameters, slots and state as they were.
gm_status run(Network& net, const PassArguments& arguments, gm_error* e);

}  // namespace gradiometer
