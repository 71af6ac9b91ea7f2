// y = [a, b], features side by side: a dense skip (Huang et al. 2016, arXiv:1608.06993).
#include "../layer_type.hpp"

namespace gradiometer {
namespace {

gm_status set_up(Node& node, gm_error*) {
  node.features = node.in_features[0] + node.in_features[1];
  return GM_OK;
}

template <class T>
void copy_rows(int64_t N, int64_t C, const T* from, int64_t from_ld, T* to, int64_t to_ld) {
  for (int64_t r = 0; r < N; r++)
    __builtin_memcpy(to + r * to_ld, from + r * from_ld, static_cast<size_t>(C) * sizeof(T));
}

template <class T>
void forward(const Call<T>& c, Range rows) {
  const int64_t C = c.node.features, A = c.node.in_features[0], B = c.node.in_features[1];
  copy_rows(rows.size(), A, c.x[0] + rows.begin * A, A, c.y + rows.begin * C, C);
  copy_rows(rows.size(), B, c.x[1] + rows.begin * B, B, c.y + rows.begin * C + A, C);
}

template <class T>
void backward(const Call<T>& c, Range rows) {
  const int64_t C = c.node.features, I = c.node.in_features[c.input];
  const int64_t from = c.input == 0 ? 0 : c.node.in_features[0];
  copy_rows(rows.size(), I, c.dy + rows.begin * C + from, C, c.dx + rows.begin * I, I);
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
  t.name = "concat";
  t.input_count = 2;
  t.set_up = set_up;
  t.flops = [](const Node& node) { return static_cast<double>(node.features); };
  t.f32 = all<float>();
  t.f64 = all<double>();
  return t;
}

}  // namespace

extern const LayerType concat_layer;
const LayerType concat_layer = type();

}  // namespace gradiometer
