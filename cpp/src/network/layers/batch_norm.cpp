// Batch norm over (N, C): columns in training (a channel needs all its samples), rows in evaluation.
// cache: mean (C), biased variance (C), those used. num_batches_tracked counts as far as T has whole numbers.
#include "../../batch_norm.hpp"

#include "../layer_type.hpp"

namespace gradiometer {
namespace {

// cumulative: running statistics are means over all batches, whatever the momentum.
enum { kEps, kMomentum, kAffine, kCumulative };
const Parameter attributes[] = {
    {"eps", 1e-5, 1e-300, 1e300}, {"momentum", 0.1, 0, 1}, {"affine", 1, 0, 1}, {"cumulative", 0, 0, 1}};
enum { kMean, kVar, kBatches };

gm_status set_up(Node& node, gm_error*) {
  const int64_t C = node.in_features[0];
  node.features = C;
  node.parameters[0] = {"weight", 1, {C, 1}, 1, 0};
  node.parameters[1] = {"bias", 1, {C, 1}, 0, 0};
  node.parameter_count = node.attributes[kAffine] != 0 ? 2 : 0;
  node.state[kMean] = {"running_mean", 1, {C, 1}, 0, 0};
  node.state[kVar] = {"running_var", 1, {C, 1}, 1, 0};
  node.state[kBatches] = {"num_batches_tracked", 0, {1, 1}, 0, 0};
  node.state_count = 3;
  return GM_OK;
}

template <class T>
BatchNorm<T> norm(const Call<T>& c) {
  const bool affine = c.node.parameter_count != 0;
  const int64_t C = c.node.features;
  return {c.N,
          C,
          1,
          C,
          c.x[0],
          c.cache,
          c.cache + C,
          c.node.attributes[kEps],
          affine ? c.parameters[0] : nullptr,
          affine ? c.parameters[1] : nullptr};
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
  const BatchNorm<T> b = norm(c);
  const Range samples = c.training ? Range{0, c.N} : range;
  for_channel_blocks(c.training ? range : Range{0, b.C}, [&](Range block) {
    if (c.training)
      channel_statistics(c.k, b, block, false, c.cache + block.begin, c.cache + b.C + block.begin);
    c.k.batch_norm_forward(part(b, samples, block), part(b, samples, block, c.y), false);
  });
}

template <class T>
void backward(const Call<T>& c, Range range) {
  BatchNorm<T> b = norm(c);
  if (c.training)
    return batch_norm_backward(c.k, b, range, false, c.dy,
                               {c.dx, c.gradients[0], c.gradients[1], c.accumulate}, false);
  if (!c.dx) return;
  const Range all = {0, b.C};
  b = part(b, range, all);
  batch_norm_backward(c.k, b, all, true, c.dy + range.begin * b.ld,
                      {c.dx + range.begin * b.ld, nullptr, nullptr, false}, false);
}

template <class T>
void parameter_gradient(const Call<T>& c, Range channels) {
  if (c.training || c.node.parameter_count == 0) return;
  batch_norm_backward(c.k, norm(c), channels, true, c.dy,
                      {nullptr, c.gradients[0], c.gradients[1], c.accumulate}, false);
}

template <class T>
void commit(const Call<T>& c) {
  T& batches = *c.state[kBatches];
  batches += 1;
  const bool cumulative = c.node.attributes[kCumulative] != 0;
  update_running(c.node.features, c.N,
                 cumulative ? 1 / static_cast<double>(batches) : c.node.attributes[kMomentum], c.cache,
                 c.cache + c.node.features, c.state[kMean], c.state[kVar]);
}

template <class T>
constexpr LayerFunctions<T> all() {
  LayerFunctions<T> f;
  f.prepare = prepare<T>;
  f.forward = forward<T>;
  f.backward = backward<T>;
  f.parameter_gradient = parameter_gradient<T>;
  f.commit = commit<T>;
  return f;
}

constexpr LayerType type() {
  LayerType t;
  t.name = "batch_norm";
  t.take(attributes);
  t.set_up = set_up;
  t.splits_columns = [](bool training) { return training; };
  t.cache_size = [](const Node& node) { return 2 * node.features; };
  t.flops = [](const Node& node) { return 10.0 * static_cast<double>(node.features); };
  t.f32 = all<float>();
  t.f64 = all<double>();
  return t;
}

}  // namespace

extern const LayerType batch_norm_layer;
const LayerType batch_norm_layer = type();

}  // namespace gradiometer
