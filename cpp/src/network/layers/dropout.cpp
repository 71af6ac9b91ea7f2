// Dropout in training, the identity in evaluation. Elements are counted over the whole batch, from
// context.first_row on.
#include "../layer_type.hpp"

namespace gradiometer {
namespace {

enum { kP };
const Parameter attributes[] = {{"p", 0.5, 0, 1}};

gm_status set_up(Node& node, gm_error*) {
  node.features = node.in_features[0];
  return GM_OK;
}

template <class T>
void apply(const Call<T>& c, Range rows, const T* from, T* to) {
  const int64_t C = c.node.features, at = rows.begin * C;
  if (c.training && c.node.attributes[kP] > 0) {
    const DropoutKey key = {c.node.attributes[kP], c.context.seed, static_cast<uint32_t>(c.context.step),
                            static_cast<uint32_t>(c.id)};
    c.k.dropout(rows.size() * C, c.first_row * C + at, key, from + at, to + at);
  } else if (from != to) {
    __builtin_memcpy(to + at, from + at, static_cast<size_t>(rows.size() * C) * sizeof(T));
  }
}

template <class T>
void forward(const Call<T>& c, Range rows) {
  apply(c, rows, c.x[0], c.y);
}

template <class T>
void backward(const Call<T>& c, Range rows) {
  apply(c, rows, c.dy, c.dx);
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
  t.name = "dropout";
  t.take(attributes);
  t.set_up = set_up;
  t.backward_in_place = true;
  t.flops = [](const Node& node) { return 20.0 * static_cast<double>(node.features); };
  t.f32 = all<float>();
  t.f64 = all<double>();
  return t;
}

}  // namespace

extern const LayerType dropout_layer;
const LayerType dropout_layer = type();

}  // namespace gradiometer
