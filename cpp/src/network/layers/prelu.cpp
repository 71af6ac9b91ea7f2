// PReLU: a slope for x <= 0 that is learned, one for all features or one each.
#include "../layer_type.hpp"

namespace gradiometer {
namespace {

enum { kCount, kInit };
const Parameter attributes[] = {{"num_parameters", 1, 1, 1e9}, {"init", 0.25, -1000, 1000}};

gm_status set_up(Node& node, gm_error* e) {
  const int64_t C = node.in_features[0], count = static_cast<int64_t>(node.attributes[kCount]);
  if (count != 1 && count != C)
    return fail(e, GM_INVALID_ARGUMENT, "num_parameters",
                "num_parameters is %lld; expected 1 or %lld features", static_cast<long long>(count),
                static_cast<long long>(C));
  node.features = C;
  node.parameters[0] = {"weight", 1, {count, 1}, node.attributes[kInit], 0};
  node.parameter_count = 1;
  return GM_OK;
}

bool shared(const Node& node) { return node.parameters[0].shape[0] == 1; }

template <class T>
void forward(const Call<T>& c, Range rows) {
  const int64_t C = c.node.features, at = rows.begin * C;
  c.k.prelu_forward(rows.size(), C, shared(c.node), c.x[0] + at, c.parameters[0], c.y + at);
}

template <class T>
void backward(const Call<T>& c, Range rows) {
  const int64_t C = c.node.features, at = rows.begin * C;
  c.k.prelu_backward(rows.size(), C, shared(c.node), c.x[0] + at, c.parameters[0], c.dy + at, c.dx + at);
}

template <class T>
void parameter_gradient(const Call<T>& c, Range columns) {
  c.k.prelu_parameters(c.N, c.node.features, shared(c.node), c.x[0], c.dy, columns.begin, columns.end,
                       c.gradients[0], c.accumulate);
}

template <class T>
constexpr LayerFunctions<T> all() {
  LayerFunctions<T> f;
  f.forward = forward<T>;
  f.backward = backward<T>;
  f.parameter_gradient = parameter_gradient<T>;
  return f;
}

constexpr LayerType type() {
  LayerType t;
  t.name = "prelu";
  t.take(attributes);
  t.set_up = set_up;
  t.backward_in_place = false;  // its parameter's gradient wants dy after the backward pass
  t.flops = [](const Node& node) { return 2.0 * static_cast<double>(node.features); };
  t.f32 = all<float>();
  t.f64 = all<double>();
  return t;
}

}  // namespace

extern const LayerType prelu_layer;
const LayerType prelu_layer = type();

}  // namespace gradiometer
