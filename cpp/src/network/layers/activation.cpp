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
  return {nullptr, forward<T>, backward<T>, nullptr, nullptr};
}

}  // namespace

extern const LayerType activation_layer;
const LayerType activation_layer = {
    "activation",
    0,
    nullptr,
    "function",
    1,
    set_up,
    [](bool) { return false; },
    nullptr,
    nullptr,
    true,
    nullptr,
    nullptr,
    nullptr,
    [](const Node& node) { return 20.0 * static_cast<double>(node.features); },
    all<float>(),
    all<double>()};

}  // namespace gradiometer
