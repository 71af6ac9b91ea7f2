// A network as a graph: nodes with the ids of their inputs, always earlier ones. Node 0 is the input.
#pragma once
#include "../memory.hpp"
#include "layer_type.hpp"

namespace gradiometer {

struct Graph {
  Array<Node> nodes;  // [0] has no type

  gm_status create(int64_t features, bool sequence, gm_error* e);
  bool sequences() const { return nodes[0].sequence; }
  gm_status add(const char* type, const int* inputs, int input_count, const gm_attribute* attributes,
                int attribute_count, int* id, gm_error* e);
  int output() const { return nodes.size - 1; }
  // How many nodes read node i.
  int consumers(int i) const;
  // Every node but the output is read by another; there is at least one layer.
  gm_status check_complete(gm_error* e) const;
};

}  // namespace gradiometer
