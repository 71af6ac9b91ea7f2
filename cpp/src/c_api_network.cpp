// The part of the C API that deals in networks: graph, memory, runs, taps.
#include <math.h>

#include <new>

#include "error.hpp"
#include "losses.hpp"
#include "network/inference.hpp"
#include "network/network.hpp"
#include "network/run.hpp"
#include "parameters.hpp"

using namespace gradiometer;

struct gm_graph {
  Graph graph;
};
struct gm_network {
  Network network;
};
struct gm_inference {
  Inference inference;
};

namespace {

int64_t bytes_of(const Network& net, int64_t elements) {
  return elements * (net.dtype == GM_FLOAT32 ? 4 : 8);
}

// An object in malloc'd memory: the core has no operator new.
template <class E>
E* make() {
  void* p = allocate(static_cast<int64_t>(sizeof(E)));
  return p ? new (p) E() : nullptr;
}
template <class E>
void destroy(E* p) {
  if (!p) return;
  p->~E();
  free(p);
}

template <class T>
void fill(T* p, int64_t n, double v) {
  for (int64_t i = 0; i < n; i++) p[i] = static_cast<T>(v);
}

void reset(Network& net, const Tensor& tensor, void* buffer) {
  if (net.dtype == GM_FLOAT32)
    fill(static_cast<float*>(buffer) + tensor.offset, tensor.size(), tensor.initial);
  else
    fill(static_cast<double*>(buffer) + tensor.offset, tensor.size(), tensor.initial);
}

gm_status check_context(const gm_context* context, gm_error* e) {
  if (!context) return fail(e, GM_INVALID_ARGUMENT, "context", "context is null");
  if (context->struct_size != sizeof(gm_context))
    return fail(e, GM_INVALID_ARGUMENT, "context", "context.struct_size is %zu; expected %zu",
                context->struct_size, sizeof(gm_context));
  return GM_OK;
}

gm_status too_little(int64_t batch, int64_t bytes, int64_t most, const char* whose, gm_error* e) {
  return fail(e, GM_OUT_OF_MEMORY, "arena", "a batch of %lld needs an arena of %lld bytes; %lld were %s",
              static_cast<long long>(batch), static_cast<long long>(bytes), static_cast<long long>(most),
              whose);
}

// How the samples of a batch lie: N of them, or, where the input is a sequence, of `steps` steps each.
gm_status check_steps(const Graph& graph, int64_t steps, gm_error* e) {
  if (graph.sequences() ? steps < 1 : steps != 0)
    return fail(
        e, GM_INVALID_ARGUMENT, "steps", "steps is %lld; expected %s", static_cast<long long>(steps),
        graph.sequences() ? "1 or more for a network of sequences" : "0 for a network of single rows");
  return GM_OK;
}
gm_status check_batch(const Network& net, const gm_context& context, int64_t N, gm_error* e) {
  if (N < 0)
    return fail(e, GM_INVALID_ARGUMENT, "N", "a batch of %lld rows; expected 0 or more",
                static_cast<long long>(N));
  GM_TRY(check_steps(net.graph, context.steps, e));
  if (context.lengths && !net.graph.sequences())
    return fail(e, GM_INVALID_ARGUMENT, "lengths", "lengths for a network of single rows; expected null");
  for (int64_t n = 0; context.lengths && n < N; n++)
    if (context.lengths[n] < 1 || context.lengths[n] > context.steps)
      return fail(e, GM_INVALID_ARGUMENT, "lengths", "lengths[%lld] is %lld; expected 1 to %lld",
                  static_cast<long long>(n), static_cast<long long>(context.lengths[n]),
                  static_cast<long long>(context.steps));
  return GM_OK;
}

// Bytes of an arena made now, or -1.
int64_t arena_bytes(const Network& net, const Room& room, gm_error* e) {
  Plan trial;
  return lay_out_arena(net.graph, kernels(), net.dtype, room, threads(), &trial, e) == GM_OK ? trial.bytes
                                                                                             : -1;
}

// Room for a pass, with the kernels that are chosen now.
gm_status make_room(Network& net, Room room, gm_error* e) {
  if (room.batch < 0)
    return fail(e, GM_INVALID_ARGUMENT, "N", "a batch of %lld rows; expected 0 or more",
                static_cast<long long>(room.batch));
  if (room.segments < 0)
    return fail(e, GM_INVALID_ARGUMENT, "segments", "segments is %d; expected 0 or more", room.segments);
  const KernelTable& table = kernels();
  Plan& plan = net.plan;
  const int team = threads();
  if (room.segments < 1) room.segments = 1;
  const bool alike = net.arena && net.table == &table && room.taps == plan.taps &&
                     room.segments == plan.segments &&
                     (team <= plan.team || !(room.taps || plan.workspace_each));
  if (alike && room.batch <= plan.batch && room.steps <= plan.steps &&
      (plan.every_gradient || !room.every_gradient))
    return GM_OK;
  net.taps.size = 0;  // they point into the arena
  const int64_t batch = room.batch;
  if (room.batch < 1) room.batch = 1;
  if (net.most >= 0) {
    const int64_t bytes = arena_bytes(net, room, e);
    if (bytes < 0) return GM_OUT_OF_MEMORY;
    if (bytes > net.most) return too_little(batch, bytes, net.most, net.lent ? "lent" : "allowed", e);
  } else if (alike && plan.batch >= 0) {
    // Room for the earlier calls, too, but not N T of many short sequences and of few long ones at once.
    const int64_t N = plan.batch > room.batch ? plan.batch : room.batch;
    const int64_t T = plan.steps > room.steps ? plan.steps : room.steps;
    const double rows[] = {static_cast<double>(plan.batch) * static_cast<double>(plan.steps),
                           static_cast<double>(room.batch) * static_cast<double>(room.steps)};
    if (static_cast<double>(N) * static_cast<double>(T) <= 4 * (rows[0] > rows[1] ? rows[0] : rows[1])) {
      room.batch = N;
      room.steps = T;
    }
  }
  if (!net.lent) {
    free(net.arena);
    net.arena = nullptr;
  }
  GM_TRY(lay_out_arena(net.graph, table, net.dtype, room, team, &plan, e));
  net.table = &table;
  if (net.lent) return GM_OK;
  net.arena = static_cast<char*>(allocate_raw(plan.bytes));  // a pass writes before it reads
  if (net.arena) return GM_OK;
  plan.batch = -1;
  return out_of_memory(e, "arena", plan.bytes);
}

Room room_of(const gm_context& context, int64_t batch, const void* dx) {
  Room room;
  room.batch = batch;
  if (context.steps > 0) room.steps = context.steps;
  room.taps = context.taps;
  room.every_gradient = dx != nullptr;
  room.segments = context.segments;
  return room;
}

// For any gradient.
Room room_of(int64_t batch, int64_t steps, unsigned taps) {
  Room room;
  room.batch = batch;
  if (steps > 0) room.steps = steps;
  room.taps = taps;
  room.every_gradient = true;
  return room;
}

// The arena is laid out anew by the next call; one of ours is given back.
void forget_room(Network& net) {
  if (!net.lent) {
    free(net.arena);
    net.arena = nullptr;
  }
  net.plan.batch = -1;
  net.taps.size = 0;
}

gm_status too_many(gm_error* e) {
  return fail(e, GM_OUT_OF_MEMORY, "network", "the network has more parameters than memory can hold");
}

gm_status check_training(const Network& net, const gm_context& context, int64_t N, gm_error* e) {
  if (!context.training) return GM_OK;
  for (int id = 1; id < net.graph.nodes.size; id++) {
    const Node& node = net.graph.nodes[id];
    if (!node.type->splits_columns(true)) continue;
    if (N == 1 && (!node.sequence || context.steps == 1))
      return fail(e, GM_INVALID_ARGUMENT, "x",
                  "a batch of 1 row through %s; expected more than 1 value per channel when training",
                  node.type->name);
    if (node.sequence && context.lengths)
      return fail(
          e, GM_INVALID_ARGUMENT, "lengths",
          "%s of a sequence takes all steps for its statistics; expected sequences of one length when "
          "training, or a norm of single rows",
          node.type->name);
  }
  return GM_OK;
}

// The targets that a loss sees as one row each: of all samples, or of the steps within their lengths.
template <class F>
gm_status each_row(const Network& net, const gm_context& context, int64_t N, F f) {
  if (!net.graph.nodes[net.graph.output()].sequence) return f(int64_t{0}, N);
  if (!context.lengths) return f(int64_t{0}, N * context.steps);
  for (int64_t n = 0; n < N; n++) GM_TRY(f(n * context.steps, context.lengths[n]));
  return GM_OK;
}

gm_status gradient(gm_network* network, PassArguments a, int loss, gm_error* e) {
  GM_TRY(check_context(a.context, e));
  if (loss < 0 || loss >= kernels().loss_count)
    return fail(e, GM_INVALID_ARGUMENT, "loss", "loss is %d; expected 0 to %d", loss,
                kernels().loss_count - 1);
  Network& net = network->network;
  const Node& out = net.graph.nodes[net.graph.output()];
  a.loss = &kernels().losses[loss];
  GM_TRY(check_batch(net, *a.context, a.N, e));
  GM_TRY(check_training(net, *a.context, a.N, e));
  double p[kMaxParameters];
  GM_TRY(resolve(*a.loss, a.context->loss_params, p, e));
  a.loss_params = p;
  GM_TRY(check_class_weights(*a.loss, out.features, a.context->class_weights, e));
  GM_TRY(check_target(*a.loss, a.target ? 0 : a.N, out.features, a.target, e));
  double weight = 0;
  GM_TRY(each_row(net, *a.context, a.N, [&](int64_t row, int64_t rows) {
    const bool classes = a.loss->target == Target::classes;
    const void* part = classes && a.target ? static_cast<const int64_t*>(a.target) + row : a.target;
    weight += sum_of_weights(*a.loss, part, rows, a.context->class_weights);
    return check_target(*a.loss, rows, out.features, part, e);
  }));
  a.mean_over = a.context->mean_over > 0 ? a.context->mean_over : weight;
  GM_TRY(make_room(net, room_of(*a.context, a.N, a.dx), e));
  net.taps.size = 0;
  if (a.N == 0) {
    for (const Range& r : net.plan.trainable)
      if (!a.context->accumulate)
        __builtin_memset(static_cast<char*>(net.gradients) + bytes_of(net, r.begin), 0,
                         static_cast<size_t>(bytes_of(net, r.size())));
    if (a.value) *a.value = a.loss->mean_over_rows ? NAN : 0;
    return ok(e);
  }
  if (a.context->taps && !net.taps.reserve(net.graph.nodes.size))
    return out_of_memory(e, "taps", net.graph.nodes.size);
  GM_TRY(run(net, a, e));
  if (a.context->taps) net.taps.size = net.graph.nodes.size;
  return GM_OK;
}

struct Where {
  int node, index;  // within the node
  const Tensor* tensor;
};
// Tensor i, counted over all nodes in order.
Where find_tensor(const Network& net, bool state, int i) {
  for (int id = 0; id < net.graph.nodes.size; id++) {
    const Node& node = net.graph.nodes[id];
    int n = state ? node.state_count : node.parameter_count;
    if (i < n) return {id, i, state ? &node.state[i] : &node.parameters[i]};
    i -= n;
  }
  return {-1, -1, nullptr};
}
void describe(Where w, gm_tensor* out) {
  if (!w.tensor) return;
  const Tensor& t = *w.tensor;
  *out = {sizeof(gm_tensor), w.node,  t.name, t.rank, {t.shape[0], t.rank > 1 ? t.shape[1] : 1, 1, 1},
          t.offset,          t.size()};
}

gm_status create(int64_t features, bool sequence, gm_graph** graph, gm_error* e) {
  gm_graph* g = make<gm_graph>();
  if (!g) return out_of_memory(e, "graph", static_cast<long long>(sizeof(gm_graph)));
  gm_status status = g->graph.create(features, sequence, e);
  if (status != GM_OK) {
    destroy(g);
    return status;
  }
  *graph = g;
  return GM_OK;
}

}  // namespace

extern "C" {

int gm_layer_type_count(void) { return layer_type_count(); }
const char* gm_layer_type_name(int i) {
  return i >= 0 && i < layer_type_count() ? layer_type(i).name : nullptr;
}
int gm_layer_type_attributes(int i, const gm_parameter** attributes) {
  static gm_parameter rows[64][kMaxParameters + 1];
  if (i < 0 || i >= layer_type_count() || i >= 64) return 0;
  const LayerType& type = layer_type(i);
  int n = 0;
  if (type.text_attribute) rows[i][n++] = {type.text_attribute, 0, 0, 0, 1};
  for (int j = 0; j < type.attribute_count; j++) {
    const Parameter& p = type.attributes[j];
    rows[i][n++] = {p.name, p.initial, p.low, p.high, 0};
  }
  if (attributes) *attributes = rows[i];
  return n;
}

gm_status gm_graph_create(int64_t features, gm_graph** graph, gm_error* e) {
  return create(features, false, graph, e);
}
gm_status gm_graph_create_sequence(int64_t features, gm_graph** graph, gm_error* e) {
  return create(features, true, graph, e);
}
void gm_graph_destroy(gm_graph* graph) { destroy(graph); }
gm_status gm_graph_add(gm_graph* graph, const char* type, const int* inputs, int input_count,
                       const gm_attribute* attributes, int attribute_count, int* node, gm_error* e) {
  return graph->graph.add(type, inputs, input_count, attributes, attribute_count, node, e);
}
int gm_graph_node_count(const gm_graph* graph) { return graph->graph.nodes.size; }
int64_t gm_graph_features(const gm_graph* graph, int node) {
  return node >= 0 && node < graph->graph.nodes.size ? graph->graph.nodes[node].features : -1;
}

int gm_graph_is_sequence(const gm_graph* graph, int node) {
  return node >= 0 && node < graph->graph.nodes.size ? graph->graph.nodes[node].sequence : -1;
}

gm_status gm_network_memory(const gm_graph* graph, gm_dtype dtype, int64_t batch, int64_t steps,
                            unsigned taps, gm_memory* memory, gm_error* e) {
  Graph copy;
  if (!copy.nodes.assign(graph->graph.nodes)) return out_of_memory(e, "graph", graph->graph.nodes.size);
  GM_TRY(copy.check_complete(e));
  if (batch < 1)
    return fail(e, GM_INVALID_ARGUMENT, "batch", "batch is %lld; expected 1 or more",
                static_cast<long long>(batch));
  GM_TRY(check_steps(copy, steps, e));
  memory->parameters = lay_out_tensors(&copy, dtype, &memory->state);
  if (memory->parameters < 0) return too_many(e);
  Plan plan;
  const Room room = room_of(batch, steps, taps);
  GM_TRY(lay_out_arena(copy, kernels(), dtype, room, threads(), &plan, e));
  memory->arena = plan.bytes;
  return ok(e);
}

gm_status gm_network_create(const gm_graph* graph, gm_dtype dtype, void* parameters, void* gradients,
                            void* state, gm_network** network, gm_error* e) {
  if (dtype != GM_FLOAT32 && dtype != GM_FLOAT64)
    return fail(e, GM_INVALID_ARGUMENT, "dtype", "dtype is %d; expected GM_FLOAT32 or GM_FLOAT64",
                static_cast<int>(dtype));
  GM_TRY(graph->graph.check_complete(e));
  gm_network* made = make<gm_network>();
  if (!made) return out_of_memory(e, "network", static_cast<long long>(sizeof(gm_network)));
  Network& net = made->network;
  net.dtype = dtype;
  bool whole = net.graph.nodes.assign(graph->graph.nodes);
  void** buffers[3] = {&net.parameters, &net.gradients, &net.state};
  void* given[3] = {parameters, gradients, state};
  if (whole) net.parameter_count = lay_out_tensors(&net.graph, dtype, &net.state_count);
  if (net.parameter_count < 0) {
    gm_network_destroy(made);
    return too_many(e);
  }
  for (int i = 0; i < 3 && whole; i++) {
    *buffers[i] =
        given[i] ? given[i] : allocate(bytes_of(net, i == 2 ? net.state_count : net.parameter_count));
    net.owns[i] = !given[i];
    whole = *buffers[i] != nullptr;
  }
  if (!whole) {
    long long bytes = bytes_of(net, 2 * net.parameter_count + net.state_count);
    gm_network_destroy(made);
    return out_of_memory(e, "network", bytes);
  }
  for (const Node& node : net.graph.nodes) {
    for (int i = 0; i < node.parameter_count && net.owns[0]; i++)
      reset(net, node.parameters[i], net.parameters);
    for (int i = 0; i < node.state_count && net.owns[2]; i++) reset(net, node.state[i], net.state);
  }
  *network = made;
  return ok(e);
}

void gm_network_destroy(gm_network* network) {
  if (!network) return;
  Network& net = network->network;
  void* buffers[3] = {net.parameters, net.gradients, net.state};
  for (int i = 0; i < 3; i++)
    if (net.owns[i]) free(buffers[i]);
  if (!net.lent) free(net.arena);
  destroy(network);
}

void gm_network_reset(gm_network* network) {
  Network& net = network->network;
  for (const Node& node : net.graph.nodes) {
    for (int i = 0; i < node.parameter_count; i++) reset(net, node.parameters[i], net.parameters);
    for (int i = 0; i < node.state_count; i++) reset(net, node.state[i], net.state);
  }
}

gm_status gm_network_reserve(gm_network* network, int64_t batch, int64_t steps, unsigned taps, gm_error* e) {
  GM_TRY(check_steps(network->network.graph, steps, e));
  GM_TRY(make_room(network->network, room_of(batch, steps, taps), e));
  return ok(e);
}

gm_status gm_network_arena(const gm_network* network, const gm_context* context, int64_t batch,
                           int64_t* bytes, gm_error* e) {
  GM_TRY(check_context(context, e));
  if (batch < 1)
    return fail(e, GM_INVALID_ARGUMENT, "batch", "batch is %lld; expected 1 or more",
                static_cast<long long>(batch));
  GM_TRY(check_steps(network->network.graph, context->steps, e));
  const int64_t needed = arena_bytes(network->network, room_of(*context, batch, nullptr), e);
  if (needed < 0) return GM_OUT_OF_MEMORY;
  *bytes = needed;
  return ok(e);
}

gm_status gm_network_limit_arena(gm_network* network, int64_t bytes, gm_error* e) {
  Network& net = network->network;
  if (bytes < 0)
    return fail(e, GM_INVALID_ARGUMENT, "bytes", "bytes is %lld; expected 0 or more",
                static_cast<long long>(bytes));
  if (net.lent)
    return fail(e, GM_INVALID_ARGUMENT, "network", "the arena was lent; expected one of the network's own");
  const int64_t most = bytes > 0 ? bytes : -1;
  if (net.most != most) forget_room(net);
  net.most = most;
  return ok(e);
}

gm_status gm_network_set_trainable(gm_network* network, int i, int trainable, gm_error* e) {
  Network& net = network->network;
  const int count = gm_network_parameter_count(network);
  if (i < 0 || i >= count)
    return fail(e, GM_INVALID_ARGUMENT, "i", "parameter %d; expected 0 to %d", i, count - 1);
  const Where w = find_tensor(net, false, i);
  Tensor* tensor = &net.graph.nodes[w.node].parameters[w.index];
  if (tensor->frozen != !trainable) {
    tensor->frozen = !trainable;
    forget_room(net);
  }
  return ok(e);
}
gm_status gm_network_set_taps(gm_network* network, int node, unsigned of_value, unsigned of_gradient,
                              gm_error* e) {
  Network& net = network->network;
  const int count = net.graph.nodes.size;
  if (node < 0 || node >= count)
    return fail(e, GM_INVALID_ARGUMENT, "node", "node is %d; expected 0 to %d", node, count - 1);
  Node* n = &net.graph.nodes[node];
  if (n->value_taps != of_value || n->gradient_taps != of_gradient) {
    n->value_taps = of_value;
    n->gradient_taps = of_gradient;
    forget_room(net);
  }
  return ok(e);
}

int gm_network_trainable(const gm_network* network, int i) {
  const Where w = find_tensor(network->network, false, i);
  return w.tensor && !w.tensor->frozen;
}

gm_status gm_network_lend_arena(gm_network* network, void* memory, int64_t bytes, gm_error* e) {
  Network& net = network->network;
  if (reinterpret_cast<uintptr_t>(memory) % kAlign != 0)
    return fail(e, GM_INVALID_ARGUMENT, "memory", "memory is not aligned; expected a multiple of %lld",
                static_cast<long long>(kAlign));
  if (memory && bytes < 1)
    return fail(e, GM_INVALID_ARGUMENT, "bytes", "bytes is %lld; expected 1 or more",
                static_cast<long long>(bytes));
  forget_room(net);
  net.arena = static_cast<char*>(memory);
  net.lent = memory != nullptr;
  net.most = memory ? bytes : -1;
  return ok(e);
}

int gm_network_parameter_count(const gm_network* network) {
  int n = 0;
  for (const Node& node : network->network.graph.nodes) n += node.parameter_count;
  return n;
}
int gm_network_state_count(const gm_network* network) {
  int n = 0;
  for (const Node& node : network->network.graph.nodes) n += node.state_count;
  return n;
}
void gm_network_parameter(const gm_network* network, int i, gm_tensor* tensor) {
  describe(find_tensor(network->network, false, i), tensor);
}
void gm_network_state(const gm_network* network, int i, gm_tensor* tensor) {
  describe(find_tensor(network->network, true, i), tensor);
}
void* gm_network_parameters(gm_network* network) { return network->network.parameters; }
void* gm_network_gradients(gm_network* network) { return network->network.gradients; }
void* gm_network_state_buffer(gm_network* network) { return network->network.state; }

gm_status gm_network_forward(gm_network* network, const gm_context* context, int64_t N, const void* x,
                             void* y, gm_error* e) {
  GM_TRY(check_context(context, e));
  Network& net = network->network;
  gm_context plain = *context;
  plain.taps = net.plan.taps;  // an arena with taps or segments serves as it is
  plain.segments = net.plan.segments;
  GM_TRY(check_batch(net, plain, N, e));
  GM_TRY(check_training(net, plain, N, e));
  if (N == 0) return ok(e);
  // Without batch statistics a sample has the same bits in any batch: the arena need not hold all of N.
  int64_t step = N;
  if (!plain.training) {
    const int64_t chunk = net.graph.sequences() ? 64 : 256;
    step = N < chunk ? N : chunk;
    if (net.plan.batch > step) step = N < net.plan.batch ? N : net.plan.batch;
    while (net.most >= 0 && step > 1 && step > net.plan.batch &&
           arena_bytes(net, room_of(plain, step, nullptr), e) > net.most)
      step = (step + 1) / 2;
  }
  GM_TRY(make_room(net, room_of(plain, step, nullptr), e));
  const auto sample = [&](const Node& node) { return node.features * (node.sequence ? plain.steps : 1); };
  const int64_t in = sample(net.graph.nodes[0]), out = sample(net.graph.nodes[net.graph.output()]);
  double asked = 0;
  for (int64_t r = 0; r < N; r += step) {
    PassArguments a = {};
    a.asked = &asked;
    a.context = &plain;
    a.N = N - r < step ? N - r : step;
    if (context->lengths) plain.lengths = context->lengths + r;
    a.x = static_cast<const char*>(x) + bytes_of(net, r * in);
    a.y = static_cast<char*>(y) + bytes_of(net, r * out);
    GM_TRY(run(net, a, e));
  }
  return ok(e);
}

gm_status gm_inference_create(const gm_network* network, gm_inference** inference, gm_error* e) {
  if (network->network.graph.sequences())
    return fail(e, GM_INVALID_ARGUMENT, "network",
                "the network takes sequences; an inference takes single rows (gm_network_forward evaluates "
                "sequences)");
  gm_inference* made = make<gm_inference>();
  if (!made) return out_of_memory(e, "inference", static_cast<long long>(sizeof(gm_inference)));
  const gm_status status = create_inference(network->network, &made->inference, e);
  if (status != GM_OK) {
    destroy(made);
    return status;
  }
  *inference = made;
  return ok(e);
}
void gm_inference_destroy(gm_inference* inference) { destroy(inference); }
int64_t gm_inference_workspace(const gm_inference* inference) { return inference->inference.workspace; }
gm_status gm_inference_forward(const gm_inference* inference, int64_t N, const void* x, void* y,
                               void* workspace, gm_error* e) {
  if (N < 0)
    return fail(e, GM_INVALID_ARGUMENT, "N", "N is %lld; expected 0 or more", static_cast<long long>(N));
  if (reinterpret_cast<uintptr_t>(workspace) % kAlign != 0)
    return fail(e, GM_INVALID_ARGUMENT, "workspace", "workspace is not aligned; expected a multiple of %lld",
                static_cast<long long>(kAlign));
  evaluate(inference->inference, N, x, y, workspace ? workspace : inference->inference.own);
  return ok(e);
}

gm_status gm_network_gradient(gm_network* network, const gm_context* context, int64_t N, const void* x,
                              int loss, const void* target, double* value, void* dx, gm_error* e) {
  PassArguments a = {};
  a.context = context;
  a.N = N;
  a.x = x;
  a.target = target;
  a.value = value;
  a.dx = dx;
  return gradient(network, a, loss, e);
}

gm_status gm_network_step(gm_network* network, const gm_context* context, int64_t N, const void* x, int loss,
                          const void* target, int optimizer, const double* params, void* slots, double* value,
                          gm_error* e) {
  GM_TRY(check_context(context, e));
  if (optimizer < 0 || optimizer >= kernels().optimizer_count)
    return fail(e, GM_INVALID_ARGUMENT, "optimizer", "optimizer is %d; expected 0 to %d", optimizer,
                kernels().optimizer_count - 1);
  const Optimizer& row = kernels().optimizers[optimizer];
  double p[kMaxParameters];
  GM_TRY(resolve(row, params, p, e));
  GM_TRY(check_rate(context->learning_rate, context->step, e));
  if (!(context->clip_value >= 0))
    return fail(e, GM_INVALID_ARGUMENT, "clip_value", "clip_value is %g; expected 0 or more",
                context->clip_value);
  if (!(context->clip_norm >= 0))
    return fail(e, GM_INVALID_ARGUMENT, "clip_norm", "clip_norm is %g; expected 0 or more",
                context->clip_norm);
  if (!slots && row.slot_count > 0)
    return fail(e, GM_INVALID_ARGUMENT, "slots", "slots is null; %s keeps %d vectors", row.name,
                row.slot_count);
  PassArguments a = {};
  a.context = context;
  a.N = N;
  a.x = x;
  a.target = target;
  a.value = value;
  a.optimizer = &row;
  a.params = p;
  a.slots = slots;
  return gradient(network, a, loss, e);
}

gm_status gm_network_tap(const gm_network* network, int node, gm_tap* tap, gm_error* e) {
  const Network& net = network->network;
  if (net.taps.size == 0)
    return fail(e, GM_INVALID_ARGUMENT, "network",
                "nothing was measured; expected a gradient with taps before");
  if (node < 0 || node >= net.taps.size)
    return fail(e, GM_INVALID_ARGUMENT, "node", "node is %d; expected 0 to %d", node, net.taps.size - 1);
  *tap = net.taps[node];
  return ok(e);
}

}  // extern "C"
