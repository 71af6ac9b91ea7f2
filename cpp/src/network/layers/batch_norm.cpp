// Batch norm over (N, C): columns in training (a channel needs all its samples), rows in evaluation.
// cache: mean (C), biased variance (C), those used.
#include "../../running.hpp"
#include "../layer_type.hpp"

namespace gradiometer {
namespace {

enum { kEps, kMomentum, kAffine };
const Parameter attributes[] = {{"eps", 1e-5, 1e-300, 1e300}, {"momentum", 0.1, 0, 1}, {"affine", 1, 0, 1}};
enum { kMean, kVar };

gm_status set_up(Node& node, gm_error*) {
  const int64_t C = node.in_features[0];
  node.features = C;
  node.parameters[0] = {"weight", 1, {C, 1}, 1, 0};
  node.parameters[1] = {"bias", 1, {C, 1}, 0, 0};
  node.parameter_count = node.attributes[kAffine] != 0 ? 2 : 0;
  node.state[kMean] = {"running_mean", 1, {C, 1}, 0, 0};
  node.state[kVar] = {"running_var", 1, {C, 1}, 1, 0};
  node.state_count = 2;
  return GM_OK;
}

template <class T>
const T* at(const T* p, int64_t i) {
  return p ? p + i : nullptr;
}

template <class T>
void apply(const Call<T>& c, Range rows, Range columns) {
  const int64_t C = c.node.features, from = rows.begin * C + columns.begin;
  const T* gamma = c.node.parameter_count ? c.parameters[0] : nullptr;
  const T* beta = c.node.parameter_count ? c.parameters[1] : nullptr;
  c.k.batch_norm_forward(rows.size(), columns.size(), c.x[0] + from, C, c.cache + columns.begin,
                         c.cache + C + columns.begin, c.node.attributes[kEps], at(gamma, columns.begin),
                         at(beta, columns.begin), c.y + from, C);
}

// Evaluation: the running statistics take the place of the batch's, once for all rows.
template <class T>
void prepare(const Call<T>& c, Team team) {
  if (c.training) return;
  const int64_t C = c.node.features;
  Range columns = team.share(C, 16);
  for (int64_t i = columns.begin; i < columns.end; i++) {
    c.cache[i] = static_cast<double>(c.state[kMean][i]);
    c.cache[C + i] = static_cast<double>(c.state[kVar][i]);
  }
}

template <class T>
void forward(const Call<T>& c, Range range) {
  const int64_t C = c.node.features;
  if (!c.training) return apply(c, range, {0, C});
  if (range.size() == 0) return;
  c.k.batch_norm_statistics(c.N, range.size(), c.x[0] + range.begin, C, c.cache + range.begin,
                            c.cache + C + range.begin);
  apply(c, {0, c.N}, range);
}

template <class T>
void backward_columns(const Call<T>& c, Range rows, Range columns, T* dgamma, T* dbeta) {
  const int64_t C = c.node.features, from = rows.begin * C + columns.begin;
  auto run = c.training ? c.k.batch_norm_backward : c.k.batch_norm_backward_evaluated;
  const T* gamma = c.node.parameter_count ? c.parameters[0] : nullptr;
  run(rows.size(), columns.size(), c.x[0] + from, C, c.cache + columns.begin, c.cache + C + columns.begin,
      c.node.attributes[kEps], at(gamma, columns.begin), c.dy + from, C, c.dx ? c.dx + from : nullptr, C,
      dgamma ? dgamma + columns.begin : nullptr, dbeta ? dbeta + columns.begin : nullptr, c.accumulate);
}

template <class T>
void backward(const Call<T>& c, Range range) {
  if (!c.training) {
    if (c.dx) backward_columns<T>(c, range, {0, c.node.features}, nullptr, nullptr);
    return;
  }
  if (range.size() == 0) return;
  backward_columns<T>(c, {0, c.N}, range, c.gradients[0], c.gradients[1]);
}

template <class T>
void parameter_gradient(const Call<T>& c, Range columns) {
  if (c.training || c.node.parameter_count == 0) return;
  Call<T> no_dx = c;
  no_dx.dx = nullptr;
  backward_columns<T>(no_dx, {0, c.N}, columns, c.gradients[0], c.gradients[1]);
}

template <class T>
void commit(const Call<T>& c) {
  update_running(c.node.features, c.N, c.node.attributes[kMomentum], c.cache, c.cache + c.node.features,
                 c.state[kMean], c.state[kVar]);
}

template <class T>
constexpr LayerFunctions<T> all() {
  return {prepare<T>, forward<T>, backward<T>, parameter_gradient<T>, commit<T>};
}

}  // namespace

extern const LayerType batch_norm_layer;
const LayerType batch_norm_layer = {
    "batch_norm",
    3,
    attributes,
    nullptr,
    1,
    set_up,
    [](bool training) { return training; },
    false,
    [](const Node& node) { return 2 * node.features; },
    nullptr,
    nullptr,
    [](const Node& node) { return 10.0 * static_cast<double>(node.features); },
    all<float>(),
    all<double>()};

}  // namespace gradiometer
