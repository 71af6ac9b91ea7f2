// y = f(x), f a row of the table of activations; its parameters are attributes of the node.
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
  of<T>(c.table.activations[c.node.activation])
      .forward(rows.size() * C, c.x[0] + at, c.y + at, c.node.activation_parameters);
}

template <class T>
void backward(const Call<T>& c, Range rows) {
  const int64_t C = c.node.features, at = rows.begin * C;
  of<T>(c.table.activations[c.node.activation])
      .backward(rows.size() * C, c.x[0] + at, c.dy + at, c.dx + at, c.node.activation_parameters);
}

template <class T>
constexpr LayerFunctions<T> all() {
  LayerFunctions<T> f;
  f.forward = forward<T>;
  f.backward = backward<T>;
  return f;
}

constexpr LayerType type() {
  LayerType t;
  t.name = "activation";
  t.text_attribute = "function";
  t.set_up = set_up;
  t.backward_in_place = true;
  t.flops = [](const Node& node) { return 20.0 * static_cast<double>(node.features); };
  t.f32 = all<float>();
  t.f64 = all<double>();
  return t;
}

}  // namespace

extern const LayerType activation_layer;
const LayerType activation_layer = type();

}  // namespace gradiometer
