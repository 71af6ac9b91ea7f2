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

constexpr LayerType type(const char* name, LayerFunctions<float> f32, LayerFunctions<double> f64) {
  return {name,
          0,
          nullptr,
          nullptr,
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
          f32,
          f64};
}

}  // namespace

extern const LayerType softmax_layer, log_softmax_layer;
const LayerType softmax_layer = type("softmax", {nullptr, forward<float>, backward<float>, nullptr, nullptr},
                                     {nullptr, forward<double>, backward<double>, nullptr, nullptr});
const LayerType log_softmax_layer =
    type("log_softmax", {nullptr, log_forward<float>, log_backward<float>, nullptr, nullptr},
         {nullptr, log_forward<double>, log_backward<double>, nullptr, nullptr});

}  // namespace gradiometer
