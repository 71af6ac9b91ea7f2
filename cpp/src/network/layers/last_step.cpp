// Of a sequence the last step, or, where a layer ran in reverse, the first: one row a sample.
#include "../layer_type.hpp"

namespace gradiometer {
namespace {

enum { kReverse };
const Parameter attributes[] = {{"reverse", 0, 0, 1}};

gm_status set_up(Node& node, gm_error*) {
  node.features = node.in_features[0];
  return GM_OK;
}

template <class T>
int64_t row(const Call<T>& c, int64_t n) {
  return n * c.steps + (c.node.attributes[kReverse] != 0 ? 0 : (c.lengths ? c.lengths[n] : c.steps) - 1);
}

template <class T>
void forward(const Call<T>& c, Range samples) {
  const int64_t C = c.node.features;
  for (int64_t n = samples.begin; n < samples.end; n++)
    __builtin_memcpy(c.y + n * C, c.x[0] + row(c, n) * C, static_cast<size_t>(C) * sizeof(T));
}

template <class T>
void backward(const Call<T>& c, Range samples) {
  const int64_t C = c.node.features;
  __builtin_memset(c.dx + samples.begin * c.steps * C, 0,
                   static_cast<size_t>(samples.size() * c.steps * C) * sizeof(T));
  for (int64_t n = samples.begin; n < samples.end; n++)
    __builtin_memcpy(c.dx + row(c, n) * C, c.dy + n * C, static_cast<size_t>(C) * sizeof(T));
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
  t.name = "last_step";
  t.take(attributes);
  t.set_up = set_up;
  t.flops = [](const Node& node) { return static_cast<double>(node.features); };
  t.time = Time::row;
  t.f32 = all<float>();
  t.f64 = all<double>();
  return t;
}

}  // namespace

extern const LayerType last_step_layer;
const LayerType last_step_layer = type();

}  // namespace gradiometer
