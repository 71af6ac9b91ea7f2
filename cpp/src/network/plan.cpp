#include "plan.hpp"

#include <math.h>

namespace gradiometer {
namespace {

// Weights are packed, and gradients of weights made, for a group of nodes at a time, whose memory is still in
// the caches when it is used again; a barrier a group. Suite mlp, 2 threads: 64 x 256 at batch 128 takes 10.0
// ms with one group, 8.9 at 2 MiB, 9.1 at 1 MiB; 64 x 64 at batch 32, 162 us as with one group, 169 at 512
// KiB.
constexpr int64_t kGroupBytes = 2 << 20;

int64_t size_of(gm_dtype dtype) { return dtype == GM_FLOAT32 ? 4 : 8; }

// Hands out pieces of the arena; `whole` turns false when a size overflows.
struct Layout {
  int64_t bytes = 0;
  bool whole = true;
  // Bytes of a x b elements, up to a cache line.
  int64_t size(int64_t a, int64_t b, int64_t each) {
    int64_t n = 0;
    if (multiply(a, b, &n) && multiply(n, each, &n) && !__builtin_add_overflow(n, kAlign - 1, &n))
      return n / kAlign * kAlign;
    whole = false;
    return 0;
  }
  int64_t take(int64_t a, int64_t b, int64_t each) {
    const int64_t at = bytes;
    if (__builtin_add_overflow(bytes, size(a, b, each), &bytes)) {
      whole = false;
      bytes = 0;
    }
    return at;
  }
  int64_t take(int64_t count, int64_t each) { return take(count, 1, each); }
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

namespace {

// A piece of memory for the phases from..to; its offset is `at` and goes to *place.
struct Lease {
  int64_t* place;
  int64_t at, size;
  int from, to;
};

// First fit: the lowest place where no lease of a common phase lies.
bool lease(Array<Lease>* leases, int64_t* place, int64_t size, int from, int to) {
  Lease made = {place, 0, size, from, to};
  for (bool moved = true; moved;) {
    moved = false;
    for (const Lease& l : *leases)
      if (l.from <= to && from <= l.to && l.at < made.at + size && made.at < l.at + l.size) {
        made.at = l.at + l.size;
        moved = true;
      }
  }
  return leases->push(made);
}

// What the graph says of a node's lifetime, in segments.
struct Life {
  int segment;
  int last;      // the last that reads its value
  int backward;  // the first that reads it for a backward; -1: none does
  int root;      // the node whose gradient's place is also that of this one's
  int lowest;    // of a root: the lowest node with its place
  int reader;    // the last node that reads its value; itself if none does
  int readers;
  int turn;  // of a root: which of the places that groups use in turn; -1: its gradient has its own
};

// What a pass looks at, with what that is made of; and what of it looks at a node, likewise.
unsigned of_pass(unsigned taps) {
  if (taps & (GM_TAP_ROWS | GM_TAP_COLUMNS)) taps |= GM_TAP_MOMENTS;
  if (taps & GM_TAP_COLUMNS) taps |= GM_TAP_SLOPE;
  if (taps & (GM_TAP_MOMENTS | GM_TAP_SLOPE)) taps |= GM_TAP_NORMS;
  return taps;
}
unsigned of_node(unsigned pass, unsigned node) {
  unsigned taps = pass & node;
  if (taps & GM_TAP_COLUMNS) taps |= GM_TAP_SLOPE;
  if (taps & (GM_TAP_MOMENTS | GM_TAP_ROWS | GM_TAP_SLOPE)) taps |= GM_TAP_NORMS;
  return taps;
}

bool leads(const Graph& graph, const Plan& plan, int id) {
  const Node& node = graph.nodes[id];
  const NodePlan& p = plan.nodes[id];
  if (p.gradient_taps || (p.value_taps & GM_TAP_STEPS && id > 0 && node.type->seen_size)) return true;
  for (int i = 0; i < node.parameter_count; i++)
    if (plan.every_parameter() || !node.parameters[i].frozen) return true;
  for (int i = 0; i < node.input_count; i++)
    if (plan.nodes[node.inputs[i]].leads) return true;
  return false;
}

// Elements of a node's value, for a sample.
double elements(const Node& node, int64_t steps) {
  return static_cast<double>(node.features) * static_cast<double>(node.sequence ? steps : 1);
}
// And of its cache, of which the walk through time has some 6 a unit.
double width(const Node& node, int64_t steps) {
  const double value = elements(node, steps);
  if (node.type->cache_size_of_time) return 7 * value;
  return value + (node.type->cache_size_of_row
                      ? 2.0 * static_cast<double>(node.type->cache_size_of_row(node)) *
                            static_cast<double>(node.sequence ? steps : 1)
                      : 0);
}

// Up to `wanted` segments of about equal width; near a cut that would be equal, the one that fewest elements
// cross.
bool cut_segments(const Graph& graph, int64_t steps, int wanted, Plan* plan) {
  const int count = graph.nodes.size;
  Array<int> last;
  Array<double> before, crossing;  // width of the nodes before a cut; elements that are read behind it
  if (!last.reserve(count) || !before.reserve(count + 1) || !crossing.reserve(count + 1)) return false;
  for (int id = 0; id < count; id++) last.push(0);
  for (int id = 1; id < count; id++)
    for (int i = 0; i < graph.nodes[id].input_count; i++) last[graph.nodes[id].inputs[i]] = id;
  for (int p = 0; p <= count; p++) crossing.push(0);
  for (int id = 1; id < count; id++) {
    crossing[id + 1 <= count ? id + 1 : count] += elements(graph.nodes[id], steps);
    if (last[id]) crossing[last[id] + 1] -= elements(graph.nodes[id], steps);
  }
  before.push(0);
  before.push(0);
  for (int p = 2; p <= count; p++) {
    before.push(before[p - 1] + width(graph.nodes[p - 1], steps));
    crossing[p] += crossing[p - 1];
  }
  plan->cut.size = 0;
  int begin = 1;
  for (int k = 1; k < wanted; k++) {
    const double each = before[count] / wanted, equal = k * each;
    int best = -1;
    for (int p = begin + 1; p < count && before[p] < equal + each / 4; p++)
      if (before[p] >= equal - each / 4 &&
          (best < 0 || crossing[p] < crossing[best] ||
           (crossing[p] == crossing[best] && fabs(before[p] - equal) < fabs(before[best] - equal))))
        best = p;
    if (best < 0) continue;
    if (!plan->cut.push({begin, best, false})) return false;
    begin = best;
  }
  return plan->cut.push({begin, count, false});
}

// What a node's forward or backward touches.
double bytes_touched(const Node& node, int64_t batch, int64_t steps, gm_dtype dtype) {
  double touched = 2.0 * static_cast<double>(batch) *
                   (node.type->cache_size_of_time ? width(node, steps) : elements(node, steps));
  for (int i = 0; i < node.parameter_count; i++)
    touched += 3.0 * static_cast<double>(node.parameters[i].size());
  return touched * static_cast<double>(size_of(dtype));
}

// Groups g and g - 1 share no place, nor do g and g - 2: a gradient that a group hands down is read to the
// end of the next one's, beside which the one after that may have begun.
constexpr int kTurns = 3;

// Numbers the groups: as many nodes of a segment as kGroupBytes hold, one at least.
void group_nodes(const Graph& graph, gm_dtype dtype, Plan* plan, int64_t batch) {
  int group = -1;
  for (const Segment& segment : plan->cut) {
    double touched = 0;
    for (int id = segment.begin; id < segment.end; id++) {
      const double own = bytes_touched(graph.nodes[id], batch, plan->steps, dtype);
      touched += own;
      if (id == segment.begin || touched > kGroupBytes) {
        group++;
        touched = own;
      }
      plan->nodes[id].group = group;
    }
  }
}

bool join_trainable(const Graph& graph, gm_dtype dtype, Plan* plan) {
  const int64_t line = kAlign / size_of(dtype);
  plan->trainable.size = 0;
  for (const Node& node : graph.nodes)
    for (int i = 0; i < node.parameter_count; i++) {
      const Tensor& t = node.parameters[i];
      const Range own = {t.offset, t.offset + align_up(t.size(), line)};
      Array<Range>& all = plan->trainable;
      if (t.frozen) continue;
      if (all.size && all[all.size - 1].end == own.begin)
        all[all.size - 1].end = own.end;
      else if (!all.push(own))
        return false;
    }
  return true;
}

bool same_activation(const Node& a, const Node& b) {
  if (a.activation != b.activation) return false;
  for (int i = 0; i < kMaxParameters; i++)
    if (a.activation_parameters[i] != b.activation_parameters[i]) return false;
  return true;
}

}  // namespace

gm_status lay_out_arena(const Graph& graph, const KernelTable& table, gm_dtype dtype, const Room& room,
                        int team, Plan* plan, gm_error* e) {
  const int64_t each = size_of(dtype), batch = room.batch, steps = room.steps;
  int64_t in_time = 0;  // rows of a sequence
  if (__builtin_mul_overflow(batch, steps, &in_time))
    return fail(e, GM_OUT_OF_MEMORY, "steps", "%lld samples of %lld steps are too many to count",
                static_cast<long long>(batch), static_cast<long long>(steps));
  const auto rows_of = [&](int id) { return graph.nodes[id].sequence ? in_time : batch; };
  const int count = graph.nodes.size;
  const bool every = room.every_gradient;
  const unsigned taps = of_pass(room.taps);
  *static_cast<Room*>(plan) = room;
  plan->batch = -1;  // until all is well
  plan->nodes.size = 0;
  Array<Life> lives;
  Array<Lease> leases;
  Array<int64_t> used;        // bytes of the workspace, by segment
  Array<int64_t> written_in;  // bytes of gradients that are first written in a group
  const auto full = [&] {
    return out_of_memory(e, "plan", count * static_cast<long long>(sizeof(NodePlan) + sizeof(Life)));
  };
  if (!plan->nodes.reserve(count) || !lives.reserve(count) || !join_trainable(graph, dtype, plan) ||
      !cut_segments(graph, steps, room.taps ? 1 : room.segments, plan) || !used.reserve(plan->cut.size))
    return full();
  const int S = plan->cut.size;

  // Who reads what, when.
  for (int id = 0, s = 0; id < count; id++) {
    const Node& node = graph.nodes[id];
    plan->nodes.push({-1,
                      -1,
                      -1,
                      -1,
                      -1,
                      -1,
                      -1,
                      -1,
                      -1,
                      -1,
                      -1,
                      -1,
                      of_node(taps, node.value_taps),
                      of_node(taps & (GM_TAP_NORMS | GM_TAP_MOMENTS | GM_TAP_ROWS), node.gradient_taps),
                      -1,
                      {false, false},
                      false,
                      false,
                      false,
                      0});
    plan->nodes[id].leads = leads(graph, *plan, id);
    while (id >= plan->cut[s].end) s++;
    if (plan->nodes[id].leads || every) plan->cut[s].leads = true;
    lives.push({s, s, -1, id, id, id, 0, -1});
  }
  group_nodes(graph, dtype, plan, batch);
  const int groups = plan->nodes[count - 1].group + 1;
  if (!written_in.reserve(groups)) return full();
  for (int g = 0; g < groups; g++) written_in.push(0);
  for (int s = 0; s < S; s++) used.push(0);
  for (int id = count - 1; id > 0; id--) {
    const int s = lives[id].segment;
    for (int i = 0; i < graph.nodes[id].input_count; i++) {
      Life& in = lives[graph.nodes[id].inputs[i]];
      if (in.readers++ == 0) in.reader = id;
      if (s > in.last) in.last = s;
      if (plan->cut[s].leads) in.backward = s;
    }
  }

  Layout layout;
  const auto in_workspace = [&](int s, int64_t bytes) {
    const int64_t at = used[s];
    if (__builtin_add_overflow(used[s], bytes, &used[s])) layout.whole = false;
    return at;
  };
  plan->widest = graph.nodes[0].features;
  plan->flops = plan->flops_step = 0;
  for (int id = 1; id < count; id++) {
    const Node& node = graph.nodes[id];
    const LayerType& type = *node.type;
    const Life& life = lives[id];
    NodePlan& p = plan->nodes[id];
    (node.sequence || type.time != Time::rows ? plan->flops_step : plan->flops) += type.flops(node);
    if (node.features > plan->widest) plan->widest = node.features;
    p.kept = life.last > life.segment;
    // A backward may read its own node's value.
    const int back = plan->cut[life.segment].leads ? life.segment : life.backward;
    const int to = back < 0 ? life.last : 2 * S - 2 - back;
    const int64_t bytes = layout.size(rows_of(id), node.features, each);
    if (!p.kept)
      p.value = in_workspace(life.segment, bytes);
    else if (!lease(&leases, &p.value, bytes, life.segment, to))
      return full();
    if (type.cache_size_of_row || type.cache_size_of_time) {
      const int64_t cache = type.cache_size_of_time
                                ? layout.size(type.cache_size_of_time(node, table, dtype, batch, steps), 1, 1)
                                : layout.size(rows_of(id), type.cache_size_of_row(node), 8);
      if (!p.kept)
        p.cache = in_workspace(life.segment, cache);
      else if (!lease(&leases, &p.cache, cache, life.segment, 2 * S - 2 - life.segment))
        return full();
    }
  }

  // Gradients, from the output down. The input's has a place only where it is looked at: else it is the
  // caller's dx.
  int64_t added = 0;  // rows of the longest gradient that a second node adds to
  Array<bool> written;
  if (!written.reserve(count)) return full();
  for (int id = 0; id < count; id++) written.push(false);
  for (int id = count - 1; id > 0; id--) {
    const Node& node = graph.nodes[id];
    NodePlan& p = plan->nodes[id];
    for (int i = 0; i < node.input_count; i++) {
      const int in = node.inputs[i];
      if (!every && !plan->nodes[in].leads) continue;
      p.adds[i] = written[in];
      written[in] = true;
      if (p.adds[i] && rows_of(in) > added) added = rows_of(in);
      if (node.type->backward_in_place && in > 0 && lives[in].readers == 1) {
        lives[in].root = lives[id].root;
        lives[lives[id].root].lowest = in;
      }
    }
  }
  for (int id = count - 1; id >= 0; id--) {
    const Life& life = lives[id];
    NodePlan& p = plan->nodes[id];
    if (life.root != id || (!p.leads && (id == 0 || !every))) continue;
    const int64_t bytes = layout.size(rows_of(id), graph.nodes[id].features, each);
    const int lowest = lives[life.lowest].segment;
    const int first = plan->nodes[life.reader].group, last = plan->nodes[life.lowest].group;
    if (first - last <= 1) {
      p.gradient = written_in[first];  // within the group's place
      if (__builtin_add_overflow(p.gradient, bytes, &written_in[first])) layout.whole = false;
      lives[id].turn = first % kTurns;
    } else if (life.last == lowest) {
      p.gradient = in_workspace(life.last, bytes);
    } else if (!lease(&leases, &p.gradient, bytes, 2 * S - 2 - life.last, 2 * S - 2 - lowest)) {
      return full();
    }
  }

  for (int s = 0; s < S; s++)
    if (used[s] > layout.bytes) layout.bytes = used[s];
  const int64_t pool = layout.bytes;
  int64_t pooled = 0;
  for (const Lease& l : leases) {
    *l.place = pool + l.at;
    if (l.at + l.size > pooled) pooled = l.at + l.size;
  }
  layout.take(pooled, 1);
  int64_t place[kTurns];
  for (int turn = 0; turn < kTurns; turn++) {
    int64_t most = 0;
    for (int g = turn; g < groups; g += kTurns)
      if (written_in[g] > most) most = written_in[g];
    place[turn] = layout.take(most, 1);
  }
  for (int id = 0; id < count; id++)
    if (lives[id].turn >= 0) plan->nodes[id].gradient += place[lives[id].turn];
  for (int id = 0; id < count; id++) plan->nodes[id].gradient = plan->nodes[lives[id].root].gradient;

  // Packed weights, by groups, and what a member needs instead.
  plan->packed_each = plan->workspace_each = 0;
  int64_t of_group = 0;
  for (int id = 1; id < count; id++) {
    NodePlan& p = plan->nodes[id];
    if (p.group != plan->nodes[id - 1].group || id == 1) of_group = 0;
    const LayerType& type = *graph.nodes[id].type;
    p.by_columns = type.prefers_columns && type.prefers_columns(graph.nodes[id], dtype, rows_of(id));
    if (type.workspace_size) {
      const int64_t size = align_up(type.workspace_size(graph.nodes[id], table, dtype, rows_of(id)) * each);
      if (size > plan->workspace_each) plan->workspace_each = size;
    }
    if (!type.packed_size || p.by_columns) continue;
    p.packed = of_group;
    if (__builtin_add_overflow(
            of_group, layout.size(type.packed_size(graph.nodes[id], table, dtype), 1, each), &of_group))
      layout.whole = false;
    if (of_group > plan->packed_each) plan->packed_each = of_group;
  }
  plan->packed = layout.take(plan->packed_each, groups > 1 ? 2 : 1, 1);

  // What lives as long as the pass.
  plan->slopes.size = 0;
  int last_activation = 0;
  for (int id = 0; id < count; id++) {
    const Node& node = graph.nodes[id];
    NodePlan& p = plan->nodes[id];
    if (id > 0 && node.type->cache_size) p.cache = layout.take(node.type->cache_size(node), 8);
    if (p.value_taps & GM_TAP_ROWS) p.value_rows = layout.take(rows_of(id), 8);
    if (p.gradient_taps & GM_TAP_ROWS) p.gradient_rows = layout.take(rows_of(id), 8);
    // Or fewer, in a smaller batch.
    const int64_t blocks = node.sequence ? batch : batch <= 1024 ? tap_blocks(batch) : 64;
    if (p.value_taps & GM_TAP_NORMS) p.value_parts = layout.take(blocks, sizeof(MomentsPart));
    if (p.gradient_taps) p.gradient_parts = layout.take(blocks, sizeof(MomentsPart));
    if (p.value_taps & GM_TAP_STEPS && id > 0 && node.type->seen_size)
      p.seen = layout.take(node.type->seen_size(node, table, dtype, batch, steps), 8);
    if (p.value_taps & (GM_TAP_COLUMNS | GM_TAP_SLOPE)) p.columns = layout.take(blocks, sizeof(ColumnsPart));
    if (p.value_taps & GM_TAP_COLUMNS) p.means = layout.take(blocks, node.features, 8);
    if (p.value_taps & GM_TAP_SLOPE && id > 0 && node.activation >= 0) {
      p.active = layout.take(blocks, node.features, 1);
      const int last = last_activation;
      last_activation = id;
      p.slope = plan->slopes.size;
      if (last > 0 && same_activation(node, graph.nodes[last]))
        p.slope = plan->nodes[last].slope;
      else if (!plan->slopes.push(
                   slope_of(table.activations[node.activation], node.activation_parameters, dtype)))
        return full();
    }
  }
  plan->row_loss = layout.take(rows_of(count - 1), 8);
  int64_t parameters = 0;
  for (const Node& node : graph.nodes)
    for (int i = 0; i < node.parameter_count; i++)
      parameters = node.parameters[i].offset + align_up(node.parameters[i].size(), kAlign / each);
  plan->norm_blocks = layout.take((parameters + kNormBlock - 1) / kNormBlock, 8);
  plan->temp = layout.take(added, plan->widest, each);
  plan->scratch_each = room.taps & GM_TAP_COLUMNS ? align_up(plan->widest * 16) : 0;
  plan->scratch = layout.take(team, plan->scratch_each);
  plan->workspace = layout.take(team, plan->workspace_each);
  if (!layout.whole)
    return fail(e, GM_OUT_OF_MEMORY, "batch", "the arena for a batch of %lld is too big to count",
                static_cast<long long>(batch));
  plan->batch = batch;
  plan->team = team;
  plan->bytes = layout.bytes;
  return GM_OK;
}

}  // namespace gradiometer
