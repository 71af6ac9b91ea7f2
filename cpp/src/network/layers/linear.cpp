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

// A weight that outgrows a core's L2 cache is shared by columns: a member reads its part alone, once, and
// packs it a tile at a time on the way to the products. Big batches repay packing it for all.
constexpr int64_t kWideBytes = 1 << 20, kWideBatch = 512;
bool prefers_columns(const Node& node, gm_dtype dtype, int64_t N) {
  const int64_t each = dtype == GM_FLOAT32 ? 4 : 8;
  return N <= kWideBatch && node.in_features[0] > kWideBytes / each / node.features;
}

int64_t packed_size(const Node& node, const KernelTable& table, gm_dtype dtype) {
  return dtype == GM_FLOAT32 ? table.f32.gemm_packed_size(node.in_features[0], node.features)
                             : table.f64.gemm_packed_size(node.in_features[0], node.features);
}

template <class T>
void prepare(const Call<T>& c, Team team) {
  const int64_t I = c.node.in_features[0], H = c.node.features;
  Range columns = team.share(H, c.k.gemm_columns);
  if (c.packed && columns.size() > 0)
    c.k.gemm_pack(I, H, c.parameters[0], 1, I, columns.begin, columns.end, c.packed);
}

template <class T>
Gemm<T> forward_product(const Call<T>& c, Range rows, Range columns) {
  const int64_t I = c.node.in_features[0], H = c.node.features;
  const T* bias = c.node.parameter_count == 2 ? c.parameters[1] + columns.begin : nullptr;
  return {rows.size(),
          columns.size(),
          I,
          c.x[0] + rows.begin * I,
          I,
          1,
          c.parameters[0] + columns.begin * I,
          1,
          I,
          c.packed,
          c.y + rows.begin * H + columns.begin,
          H,
          bias,
          false,
          c.workspace};
}
template <class T>
Gemm<T> backward_product(const Call<T>& c, Range rows, Range columns) {
  const int64_t I = c.node.in_features[0], H = c.node.features;
  return {rows.size(),
          columns.size(),
          H,
          c.dy + rows.begin * H,
          H,
          1,
          c.parameters[0] + columns.begin,
          I,
          1,
          nullptr,
          c.dx + rows.begin * I + columns.begin,
          I,
          nullptr,
          false,
          c.workspace};
}

template <class T>
Gemm<T> weight_product(const Call<T>& c, Range out) {
  const int64_t I = c.node.in_features[0], H = c.node.features;
  return {out.size(),
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
          c.workspace};
}

template <class T>
int64_t workspace_of(const Node& node, const Kernels<T>& k, bool by_columns, int64_t N) {
  const int64_t I = node.in_features[0], H = node.features;
  Gemm<T> forward = {}, backward = {}, weight = {};
  forward.N = backward.K = weight.M = weight.a_col = H;
  forward.K = backward.N = weight.N = I;
  weight.K = N;
  forward.a_row = forward.b_col = backward.b_row = weight.b_row = I;
  forward.a_col = forward.b_row = backward.a_col = backward.b_col = weight.a_row = weight.b_col = 1;
  backward.a_row = H;
  int64_t most = k.gemm_workspace(weight);
  // What is packed already is not null.
  static const T packed = 0;
  if (!by_columns) forward.packed = &packed;
  for (int64_t rows = N; rows > 0; rows = rows > 2 ? 2 : rows - 1) {
    forward.M = backward.M = rows;
    const int64_t a = k.gemm_workspace(forward), b = k.gemm_workspace(backward);
    if (a > most) most = a;
    if (b > most) most = b;
  }
  return most;
}
int64_t workspace_size(const Node& node, const KernelTable& table, gm_dtype dtype, int64_t N) {
  const bool by_columns = prefers_columns(node, dtype, N);
  return dtype == GM_FLOAT32 ? workspace_of<float>(node, table.f32, by_columns, N)
                             : workspace_of<double>(node, table.f64, by_columns, N);
}

template <class T>
void forward(const Call<T>& c, Range r) {
  c.k.gemm(c.packed ? forward_product(c, r, {0, c.node.features}) : forward_product(c, {0, c.N}, r));
}

template <class T>
void backward(const Call<T>& c, Range r) {
  c.k.gemm(c.packed ? backward_product(c, r, {0, c.node.in_features[0]}) : backward_product(c, {0, c.N}, r));
}

template <class T>
void parameter_gradient(const Call<T>& c, Range out) {
  const int64_t H = c.node.features;
  if (c.gradients[0]) c.k.gemm(weight_product(c, out));
  if (c.gradients[1])
    c.k.column_sum(c.N, out.size(), c.dy + out.begin, H, c.gradients[1] + out.begin, c.accumulate);
}

template <class T>
constexpr LayerFunctions<T> all() {
  LayerFunctions<T> f;
  f.prepare = prepare<T>;
  f.forward = forward<T>;
  f.backward = backward<T>;
  f.parameter_gradient = parameter_gradient<T>;
  return f;
}

constexpr LayerType type() {
  LayerType t;
  t.name = "linear";
  t.take(attributes);
  t.set_up = set_up;
  t.prefers_columns = prefers_columns;
  t.workspace_size = workspace_size;
  t.packed_size = packed_size;
  t.flops = [](const Node& node) {
    return 2.0 * static_cast<double>(node.in_features[0]) * static_cast<double>(node.features);
  };
  t.f32 = all<float>();
  t.f64 = all<double>();
  return t;
}

}  // namespace

extern const LayerType linear_layer;
const LayerType linear_layer = type();

}  // namespace gradiometer
