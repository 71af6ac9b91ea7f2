// Softmax and log-softmax over the features; backward reads the node's own value.
#include "../layer_type.hpp"

namespace gradiometer {
namespace {

gm_status set_up(Node& node, gm_error*) {
  node.features = node.in_features[0];
  return GM_OK;
}

template <class T>
void forward(const Call<T>& c, Range rows) {
  const int64_t C = c.node.features, at = rows.begin * C;
  c.k.softmax_forward(rows.size(), C, c.x[0] + at, c.y + at);
}
template <class T>
void backward(const Call<T>& c, Range rows) {
  const int64_t C = c.node.features, at = rows.begin * C;
  c.k.softmax_backward(rows.size(), C, c.y + at, c.dy + at, c.dx + at);
}

template <class T>
void log_forward(const Call<T>& c, Range rows) {
  const int64_t C = c.node.features, at = rows.begin * C;
  c.k.log_softmax_forward(rows.size(), C, c.x[0] + at, c.y + at);
}
template <class T>
void log_backward(const Call<T>& c, Range rows) {
  const int64_t C = c.node.features, at = rows.begin * C;
  c.k.log_softmax_backward(rows.size(), C, c.y + at, c.dy + at, c.dx + at);
}

template <class T>
constexpr LayerFunctions<T> all(bool log) {
  LayerFunctions<T> f;
  f.forward = log ? log_forward<T> : forward<T>;
  f.backward = log ? log_backward<T> : backward<T>;
  return f;
}

constexpr LayerType type(const char* name, bool log) {
  LayerType t;
  t.name = name;
  t.set_up = set_up;
  t.backward_in_place = true;
  t.flops = [](const Node& node) { return 20.0 * static_cast<double>(node.features); };
  t.f32 = all<float>(log);
  t.f64 = all<double>(log);
  return t;
}

}  // namespace

extern const LayerType softmax_layer, log_softmax_layer;
const LayerType softmax_layer = type("softmax", false), log_softmax_layer = type("log_softmax", true);

}  // namespace gradiometer
