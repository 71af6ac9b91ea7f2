#include "inference.hpp"

namespace gradiometer {
namespace {

// Rows that go through all nodes before the next do: the values of two layers of 256 stay in the L1 cache.
constexpr int64_t kRows = 16;

int64_t size_of(gm_dtype dtype) { return dtype == GM_FLOAT32 ? 4 : 8; }

// A place in the workspace that values take one after another, once the last reader of one is through.
struct Place {
  int64_t at, bytes;
  int until;
};

gm_status full(const Graph& graph, gm_error* e) {
  return out_of_memory(e, "plan", graph.nodes.size * static_cast<long long>(sizeof(InferencePlace)));
}

bool lay_out_workspace(Inference* made) {
  const Graph& graph = made->graph;
  const int64_t each = size_of(made->dtype);
  const int count = graph.nodes.size;
  Array<int> last, place_of;
  Array<Place> places;
  if (!last.reserve(count) || !place_of.reserve(count)) return false;
  for (int id = 0; id < count; id++) last.push(id);
  for (int id = 1; id < count; id++)
    for (int i = 0; i < graph.nodes[id].input_count; i++) last[graph.nodes[id].inputs[i]] = id;
  place_of.push(-1);
  for (int id = 1; id < count; id++) {
    const LayerType& type = *graph.nodes[id].type;
    const int64_t value = align_up(kRows * graph.nodes[id].features * each);
    const int64_t cache = type.cache_size_of_row ? 8 * kRows * type.cache_size_of_row(graph.nodes[id]) : 0;
    int p = 0;
    while (p < places.size && places[p].until >= id) p++;
    if (p == places.size && !places.push({0, 0, 0})) return false;
    places[p].until = last[id];
    if (places[p].bytes < value + align_up(cache)) places[p].bytes = value + align_up(cache);
    place_of.push(p);
    made->nodes[id].cache_of_row = cache ? value : -1;
  }
  for (Place& p : places) {
    p.at = made->workspace;
    made->workspace += p.bytes;
  }
  for (int id = 1; id < count; id++) {
    made->nodes[id].value = places[place_of[id]].at;
    if (made->nodes[id].cache_of_row >= 0) made->nodes[id].cache_of_row += places[place_of[id]].at;
  }
  return true;
}

// A node at work on N rows of x, its output in y; both null for one that is prepared.
template <class T>
Call<T> call(const Inference& in, int id, int64_t N, const T* x, T* y, char* workspace) {
  static const gm_context plain = {};
  const Node& n = in.graph.nodes[id];
  const InferencePlace& place = in.nodes[id];
  char* cache = place.cache >= 0          ? in.prepared + place.cache
                : place.cache_of_row >= 0 ? workspace + place.cache_of_row
                                          : nullptr;
  Call<T> c = {n, *in.table, of<T>(*in.table), plain, id, N, false, false};
  c.y = id == in.graph.output() ? y : reinterpret_cast<T*>(workspace + place.value);
  c.cache = reinterpret_cast<double*>(cache);
  if (place.packed >= 0) c.packed = reinterpret_cast<T*>(in.prepared + place.packed);
  for (int i = 0; i < n.input_count; i++)
    c.x[i] = n.inputs[i] == 0 ? x : reinterpret_cast<T*>(workspace + in.nodes[n.inputs[i]].value);
  for (int i = 0; i < n.parameter_count; i++)
    c.parameters[i] = static_cast<T*>(in.parameters) + n.parameters[i].offset;
  for (int i = 0; i < n.state_count; i++) c.state[i] = static_cast<T*>(in.state) + n.state[i].offset;
  return c;
}

template <class T>
void prepare(const Inference& in) {
  for (int id = 1; id < in.graph.nodes.size; id++) {
    const LayerFunctions<T>& layer = functions<T>(*in.graph.nodes[id].type);
    if (layer.prepare) layer.prepare(call<T>(in, id, 0, nullptr, nullptr, in.own), Team{0, 1, nullptr});
  }
}

template <class T>
void evaluate(const Inference& in, int64_t N, const T* x, T* y, char* workspace) {
  const int count = in.graph.nodes.size;
  const int64_t I = in.graph.nodes[0].features, O = in.graph.nodes[in.graph.output()].features;
  for (int64_t r = 0; r < N; r += kRows) {
    const int64_t rows = N - r < kRows ? N - r : kRows;
    for (int id = 1; id < count; id++)
      functions<T>(*in.graph.nodes[id].type)
          .forward(call<T>(in, id, rows, x + r * I, y + r * O, workspace), {0, rows});
  }
}

void* copy_of(const void* from, int64_t bytes) {
  void* p = allocate_raw(bytes);
  if (p && bytes > 0) __builtin_memcpy(p, from, static_cast<size_t>(bytes));
  return p;
}

}  // namespace

Inference::~Inference() {
  free(parameters);
  free(state);
  free(prepared);
  free(own);
}

gm_status create_inference(const Network& net, Inference* made, gm_error* e) {
  made->dtype = net.dtype;
  made->table = &kernels();
  if (!made->graph.nodes.assign(net.graph.nodes) || !made->nodes.reserve(net.graph.nodes.size))
    return full(net.graph, e);
  const int64_t each = size_of(net.dtype);
  int64_t prepared = 0;
  for (int id = 0; id < net.graph.nodes.size; id++) {
    const Node& node = net.graph.nodes[id];
    made->nodes.push({-1, -1, -1, -1});
    if (id > 0 && node.type->cache_size) {
      made->nodes[id].cache = prepared;
      prepared += align_up(node.type->cache_size(node) * 8);
    }
    if (id > 0 && node.type->packed_size) {
      made->nodes[id].packed = prepared;
      prepared += align_up(node.type->packed_size(node, *made->table, net.dtype) * each);
    }
  }
  if (!lay_out_workspace(made)) return full(net.graph, e);
  made->parameters = copy_of(net.parameters, net.parameter_count * each);
  made->state = copy_of(net.state, net.state_count * each);
  made->prepared = static_cast<char*>(allocate_raw(prepared));
  made->own = static_cast<char*>(allocate_raw(made->workspace));
  if (!made->parameters || !made->state || !made->prepared || !made->own)
    return out_of_memory(e, "inference",
                         prepared + made->workspace + (net.parameter_count + net.state_count) * each);
  net.dtype == GM_FLOAT32 ? prepare<float>(*made) : prepare<double>(*made);
  return GM_OK;
}

void evaluate(const Inference& in, int64_t N, const void* x, void* y, void* workspace) {
  if (in.dtype == GM_FLOAT32)
    evaluate(in, N, static_cast<const float*>(x), static_cast<float*>(y), static_cast<char*>(workspace));
  else
    evaluate(in, N, static_cast<const double*>(x), static_cast<double*>(y), static_cast<char*>(workspace));
}

}  // namespace gradiometer
