// y = a + scale b: a residual connection (a the skip, b the branch).
#include "../layer_type.hpp"

namespace gradiometer {
namespace {

enum { kScale };
const Parameter attributes[] = {{"scale", 1, -1e30, 1e30}};

gm_status set_up(Node& node, gm_error* e) {
  node.features = node.in_features[0];
  if (node.in_features[1] == node.features) return GM_OK;
  return fail(e, GM_INVALID_ARGUMENT, "inputs", "add of %lld and %lld features; expected equal widths",
              static_cast<long long>(node.in_features[0]), static_cast<long long>(node.in_features[1]));
}

template <class T>
void forward(const Call<T>& c, Range rows) {
  const int64_t C = c.node.features, at = rows.begin * C;
  c.k.add_scaled(rows.size() * C, c.x[0] + at, c.x[1] + at, c.node.attributes[kScale], c.y + at);
}

template <class T>
void backward(const Call<T>& c, Range rows) {
  const int64_t C = c.node.features, at = rows.begin * C;
  c.k.scale(rows.size() * C, c.dy + at, c.input == 0 ? 1.0 : c.node.attributes[kScale], c.dx + at);
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
  t.name = "add";
  t.take(attributes);
  t.input_count = 2;
  t.set_up = set_up;
  t.flops = [](const Node& node) { return 2.0 * static_cast<double>(node.features); };
  t.f32 = all<float>();
  t.f64 = all<double>();
  return t;
}

}  // namespace

extern const LayerType add_layer;
const LayerType add_layer = type();

}  // namespace gradiometer
