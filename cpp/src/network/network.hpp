// A network: a graph, its flat buffers, and an arena for a batch.
#pragma once
#include "plan.hpp"

namespace gradiometer {

struct Network {
  Graph graph;
  gm_dtype dtype = GM_FLOAT32;
  int64_t parameter_count = 0, state_count = 0;  // elements of the flat buffers
  void* parameters = nullptr;
  void* gradients = nullptr;
  void* state = nullptr;
  bool owns[3] = {false, false, false};
  const KernelTable* table = nullptr;  // the ISA that the plan was made for
  Plan plan;
  char* arena = nullptr;
  bool lent = false;   // the arena is the caller's
  int64_t most = -1;   // bytes that it may have; -1: any
  Array<gm_tap> taps;  // of the last gradient with taps
};

}  // namespace gradiometer
