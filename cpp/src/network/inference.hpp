// A network for evaluation alone, as it was: graph, parameters and state copied, weights packed once. Nothing
// in it changes afterwards; what a pass writes lies in a workspace.
#pragma once
#include "network.hpp"

namespace gradiometer {

struct InferencePlace {
  int64_t value, cache_of_row;  // in the workspace, -1 where there is none
  int64_t cache, packed;        // in what was prepared
};

struct Inference {
  Graph graph;
  gm_dtype dtype = GM_FLOAT32;
  const KernelTable* table = nullptr;
  void* parameters = nullptr;
  void* state = nullptr;
  char* prepared = nullptr;
  char* own = nullptr;  // a workspace
  int64_t workspace = 0;
  Array<InferencePlace> nodes;

  Inference() = default;
  Inference(const Inference&) = delete;
  Inference& operator=(const Inference&) = delete;
  ~Inference();
};

// With the kernels that are chosen now.
gm_status create_inference(const Network& net, Inference* made, gm_error* e);

// y (N, output features) from x (N, input features), on the calling thread; workspace: that many bytes.
void evaluate(const Inference& inference, int64_t N, const void* x, void* y, void* workspace);

}  // namespace gradiometer
