// y = x Wᵀ + b; dx = dy W; dW = dyᵀ x, db = sum over samples of dy. weight (H, I), bias (H).
#include "../layer_type.hpp"

namespace gradiometer {
namespace {

enum { kFeatures, kBias };
const Parameter attributes[] = {{"features", 1, 1, 1e9}, {"bias", 1, 0, 1}};

gm_status set_up(Node& node, gm_error*) {
  int64_t H = static_cast<int64_t>(node.attributes[kFeatures]), I = node.in_features[0];
  node.features = H;
  node.parameters[0] = {"weight", 2, {H, I}, 0, 0};
  node.parameters[1] = {"bias", 1, {H, 1}, 0, 0};
  node.parameter_count = node.attributes[kBias] != 0 ? 2 : 1;
  return GM_OK;
}

int64_t packed_size(const Node& node, const KernelTable& table, gm_dtype dtype) {
  return dtype == GM_FLOAT32 ? table.f32.gemm_packed_size(node.in_features[0], node.features)
                             : table.f64.gemm_packed_size(node.in_features[0], node.features);
}

template <class T>
void prepare(const Call<T>& c, Team team) {
  const int64_t I = c.node.in_features[0], H = c.node.features;
  Range columns = team.share(H, c.k.gemm_columns);
  if (columns.size() > 0) c.k.gemm_pack(I, H, c.parameters[0], 1, I, columns.begin, columns.end, c.packed);
}

template <class T>
void forward(const Call<T>& c, Range rows) {
  const int64_t I = c.node.in_features[0], H = c.node.features;
  Gemm<T> g = {rows.size(),
               H,
               I,
               c.x[0] + rows.begin * I,
               I,
               1,
               nullptr,
               0,
               0,
               c.packed,
               c.y + rows.begin * H,
               H,
               c.node.parameter_count == 2 ? c.parameters[1] : nullptr,
               false,
               nullptr};
  c.k.gemm(g);
}

template <class T>
void backward(const Call<T>& c, Range rows) {
  const int64_t I = c.node.in_features[0], H = c.node.features;
  Gemm<T> g = {rows.size(), I, H,       c.dy + rows.begin * H, H, 1,       c.parameters[0],
               I,           1, nullptr, c.dx + rows.begin * I, I, nullptr, false,
               nullptr};
  c.k.gemm(g);
}

template <class T>
void parameter_gradient(const Call<T>& c, Range out) {
  const int64_t I = c.node.in_features[0], H = c.node.features;
  if (c.gradients[0]) {
    Gemm<T> g = {out.size(),
                 I,
                 c.N,
                 c.dy + out.begin,
                 1,
                 H,
                 c.x[0],
                 I,
                 1,
                 nullptr,
                 c.gradients[0] + out.begin * I,
                 I,
                 nullptr,
                 c.accumulate,
                 nullptr};
    c.k.gemm(g);
  }
  if (c.gradients[1])
    c.k.column_sum(c.N, out.size(), c.dy + out.begin, H, c.gradients[1] + out.begin, c.accumulate);
}

template <class T>
constexpr LayerFunctions<T> all() {
  return {prepare<T>, forward<T>, backward<T>, parameter_gradient<T>, nullptr};
}

}  // namespace

extern const LayerType linear_layer;
const LayerType linear_layer = {"linear",
                                2,
                                attributes,
                                nullptr,
                                1,
                                set_up,
                                [](bool) { return false; },
                                false,
                                nullptr,
                                nullptr,
                                packed_size,
                                [](const Node& node) {
                                  return 2.0 * static_cast<double>(node.in_features[0]) *
                                         static_cast<double>(node.features);
                                },
                                all<float>(),
                                all<double>()};

}  // namespace gradiometer
