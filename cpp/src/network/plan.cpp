#include "plan.hpp"

namespace gradiometer {
namespace {

int64_t size_of(gm_dtype dtype) { return dtype == GM_FLOAT32 ? 4 : 8; }

// Hands out pieces of the arena; `whole` turns false when a size overflows.
struct Layout {
  int64_t bytes = 0;
  bool whole = true;
  int64_t take(int64_t count, int64_t each) {
    int64_t size, at = bytes;
    if (!multiply(count, each, &size) || __builtin_add_overflow(size, kAlign - 1, &size) ||
        __builtin_add_overflow(bytes, size / kAlign * kAlign, &bytes)) {
      whole = false;
      bytes = 0;
    }
    return at;
  }
  int64_t take(int64_t a, int64_t b, int64_t each) {
    int64_t count = 0;
    if (!multiply(a, b, &count)) whole = false;
    return take(count, each);
  }
};

}  // namespace

int64_t lay_out_tensors(Graph* graph, gm_dtype dtype, int64_t* state) {
  const int64_t line = kAlign / size_of(dtype);
  int64_t parameters = 0;
  *state = 0;
  for (Node& node : graph->nodes) {
    if (parameters > kMostElements || *state > kMostElements) return *state = -1;
    for (int i = 0; i < node.parameter_count; i++) {
      node.parameters[i].offset = parameters;
      parameters += align_up(node.parameters[i].size(), line);
    }
    for (int i = 0; i < node.state_count; i++) {
      node.state[i].offset = *state;
      *state += align_up(node.state[i].size(), line);
    }
  }
  if (parameters > kMostElements || *state > kMostElements) return *state = -1;
  return parameters;
}

gm_status lay_out_arena(const Graph& graph, const KernelTable& table, gm_dtype dtype, int64_t batch,
                        unsigned taps, int team, Plan* plan, gm_error* e) {
  const int64_t each = size_of(dtype);
  const int count = graph.nodes.size;
  Layout layout;
  plan->nodes.size = 0;
  if (!plan->nodes.reserve(count))
    return out_of_memory(e, "plan", count * static_cast<long long>(sizeof(NodePlan)));
  Array<int> consumers, written;
  if (!consumers.reserve(count) || !written.reserve(count)) return out_of_memory(e, "plan", count);
  for (int i = 0; i < count; i++) {
    consumers.push(0);
    written.push(0);
  }
  for (const Node& node : graph.nodes)
    for (int i = 0; i < node.input_count; i++) consumers[node.inputs[i]]++;

  plan->widest = 1;
  plan->flops = 0;
  for (int id = 0; id < count; id++) {
    const Node& node = graph.nodes[id];
    NodePlan p = {-1, -1, -1, -1, -1, -1, -1, {false, false}};
    if (node.features > plan->widest) plan->widest = node.features;
    if (id > 0) {
      const LayerType& type = *node.type;
      p.value = layout.take(batch, node.features, each);
      if (type.cache_size) p.cache = layout.take(type.cache_size(node), 8);
      if (type.cache_size_of_row) p.cache = layout.take(batch, type.cache_size_of_row(node), 8);
      if (type.packed_size) p.packed = layout.take(type.packed_size(node, table, dtype), each);
      plan->flops += type.flops(node);
    }
    if (taps & GM_TAP_ROWS) {
      p.value_rows = layout.take(batch, 8);
      p.gradient_rows = layout.take(batch, 8);
    }
    if (taps & GM_TAP_COLUMNS) p.active = layout.take(node.features, 1);
    plan->nodes.push(p);
  }
  // Gradients, from the output down. The input's has a place only for taps: else it is the caller's dx.
  for (int id = count - 1; id >= 0; id--) {
    const Node& node = graph.nodes[id];
    NodePlan& p = plan->nodes[id];
    if (p.gradient < 0 && (id > 0 || taps)) p.gradient = layout.take(batch, node.features, each);
    for (int i = 0; i < node.input_count; i++) {
      int in = node.inputs[i];
      p.adds[i] = written[in] != 0;
      written[in] = 1;
      if (node.type->backward_in_place && !taps && in > 0 && consumers[in] == 1)
        plan->nodes[in].gradient = p.gradient;
    }
  }
  plan->row_loss = layout.take(batch, 8);
  int64_t parameters = 0;
  for (const Node& node : graph.nodes)
    for (int i = 0; i < node.parameter_count; i++)
      parameters += align_up(node.parameters[i].size(), kAlign / each);
  plan->norm_blocks = layout.take((parameters + kNormBlock - 1) / kNormBlock, 8);
  plan->temp = layout.take(batch, plan->widest, each);
  const int64_t panel = plan->widest > kTapPanel ? plan->widest : kTapPanel;
  plan->scratch_each = taps ? align_up(2 * panel * each + 2 * plan->widest * 8 + plan->widest + kAlign) : 0;
  plan->scratch = layout.take(team, plan->scratch_each);
  if (!layout.whole)
    return fail(e, GM_OUT_OF_MEMORY, "batch", "the arena for a batch of %lld is too big to count",
                static_cast<long long>(batch));
  plan->batch = batch;
  plan->taps = taps;
  plan->team = team;
  plan->bytes = layout.bytes;
  return GM_OK;
}

}  // namespace gradiometer
