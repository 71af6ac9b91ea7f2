// One layer in one direction of an LSTM, a GRU or an RNN: a sequence from a sequence, from a state of 0. The
// walk through time is recurrent.hpp, of which this takes the pieces: a member takes its samples through all
// steps without waiting. Parameters are torch.nn's, without the layer's number.
#include "../../recurrent.hpp"

#include "../layer_type.hpp"

namespace gradiometer {
namespace {

// The fourth says which cell of two, or how an LSTM is projected; the fifth whether it has layer norm.
enum { kHidden, kReverse, kBias, kForm, kProjection = kForm, kNorm };
const Parameter lstm_attributes[] = {{"hidden", 1, 1, 1e9},
                                     {"reverse", 0, 0, 1},
                                     {"bias", 1, 0, 1},
                                     {"projection", 0, 0, 1e9},
                                     {"norm", 0, 0, 1}};
const Parameter gru_attributes[] = {
    {"hidden", 1, 1, 1e9}, {"reverse", 0, 0, 1}, {"bias", 1, 0, 1}, {"reset_after", 1, 0, 1}};
const Parameter rnn_attributes[] = {
    {"hidden", 1, 1, 1e9}, {"reverse", 0, 0, 1}, {"bias", 1, 0, 1}, {"relu", 0, 0, 1}};

template <gm_cell cell>
bool norms(const Node& node) {
  return cell == GM_LSTM && node.attributes[kNorm] != 0;
}
// Features of the projection, 0 for none, and which parameter its weight is, or the first of layer norm's.
template <gm_cell cell>
int64_t projection(const Node& node) {
  return cell == GM_LSTM ? static_cast<int64_t>(node.attributes[kProjection]) : 0;
}
int weight_hr(const Node& node) { return node.attributes[kBias] != 0 ? 4 : 2; }
int norm_weights(const Node& node) { return weight_hr(node); }

template <gm_cell cell>
gm_status set_up(Node& node, gm_error* e) {
  const int64_t H = static_cast<int64_t>(node.attributes[kHidden]), I = node.in_features[0];
  const int64_t rows = layout_of(cell).gates * H;
  const int64_t P = projection<cell>(node);
  if (P && norms<cell>(node))
    return fail(e, GM_INVALID_ARGUMENT, "projection", "projection is %lld of an lstm with norm; expected 0",
                static_cast<long long>(P));
  node.features = P ? P : H;
  node.parameters[0] = {"weight_ih", 2, {rows, I}, 0, 0};
  node.parameters[1] = {"weight_hh", 2, {rows, node.features}, 0, 0};
  node.parameters[2] = {"bias_ih", 1, {rows, 1}, 0, 0};
  node.parameters[3] = {"bias_hh", 1, {rows, 1}, 0, 0};
  node.parameter_count = node.attributes[kBias] != 0 ? 4 : 2;
  if (P) node.parameters[node.parameter_count++] = {"weight_hr", 2, {P, H}, 0, 0};
  if (norms<cell>(node)) {
    node.parameters[node.parameter_count++] = {"norm_weight_ih", 1, {rows, 1}, 1, 0};
    node.parameters[node.parameter_count++] = {"norm_weight_hh", 1, {rows, 1}, 1, 0};
    node.parameters[node.parameter_count++] = {"norm_weight_c", 1, {H, 1}, 1, 0};
    if (node.attributes[kBias] != 0)
      node.parameters[node.parameter_count++] = {"norm_bias_c", 1, {H, 1}, 0, 0};
  }
  return GM_OK;
}

template <gm_cell cell>
gm_recurrent layer_of(const Node& node, int64_t N, int64_t T) {
  gm_recurrent l = {};
  l.struct_size = sizeof l;
  l.cell = cell;
  if (norms<cell>(node)) l.cell = GM_LSTM_NORM;
  if (cell == GM_RNN_TANH && node.attributes[kForm] != 0) l.cell = GM_RNN_RELU;
  if (cell == GM_GRU && node.attributes[kForm] == 0) l.cell = GM_GRU_RESET_BEFORE;
  l.T = T;
  l.N = N;
  l.I = node.in_features[0];
  l.H = static_cast<int64_t>(node.attributes[kHidden]);
  l.P = projection<cell>(node);
  l.reverse = node.attributes[kReverse] != 0;
  l.batch_first = 1;
  return l;
}
template <gm_cell cell, class T>
gm_recurrent layer_of(const Call<T>& c) {
  gm_recurrent l = layer_of<cell>(c.node, c.N, c.steps);
  l.lengths = c.lengths;
  l.weight_ih = c.parameters[0];
  l.weight_hh = c.parameters[1];
  if (c.node.attributes[kBias] != 0) l.bias_ih = c.parameters[2], l.bias_hh = c.parameters[3];
  if (l.P) l.weight_hr = c.parameters[weight_hr(c.node)];
  if (norms<cell>(c.node)) {
    T* const* const p = c.parameters + norm_weights(c.node);
    l.norm_weight_ih = p[0], l.norm_weight_hh = p[1], l.norm_weight_c = p[2];
    if (l.bias_ih) l.norm_bias_c = p[3];
  }
  return l;
}

// With lengths, which take more; the walk's indices stay below 2^62.
template <gm_cell cell>
int64_t cache_size(const Node& node, const KernelTable& table, gm_dtype dtype, int64_t N, int64_t T) {
  gm_recurrent l = layer_of<cell>(node, N, T);
  static const int64_t some = 0;
  l.lengths = &some;
  const double features = static_cast<double>(l.I) + static_cast<double>(l.H) + static_cast<double>(l.P) + 64;
  if (static_cast<double>(N + 1) * static_cast<double>(T + 1) * features * 256 > 0x1p62 ||
      features * features * 256 > 0x1p62)
    return INT64_MAX;
  return dtype == GM_FLOAT32 ? Recurrent<float>(table, l).pass_bytes(true)
                             : Recurrent<double>(table, l).pass_bytes(true);
}

template <gm_cell cell, class T>
void prepare(const Call<T>& c, Team team) {
  const gm_recurrent l = layer_of<cell>(c);
  const Recurrent<T> walk(c.table, l);
  walk.prepare(walk.pass(c.cache, c.backward_follows), team, c.backward_follows);
}

template <gm_cell cell, class T>
void forward(const Call<T>& c, Range samples) {
  const gm_recurrent l = layer_of<cell>(c);
  const Recurrent<T> walk(c.table, l);
  walk.forward_samples(walk.pass(c.cache, c.backward_follows), samples, c.x[0], nullptr, nullptr, c.y,
                       nullptr, nullptr);
}

// Sums by time, then what the walk needs for them.
gm_recurrent_steps steps_of(gm_cell cell, int64_t T, double* at) {
  const int64_t all = T * layout_of(cell).gates;
  gm_recurrent_steps s = {};
  s.struct_size = sizeof s;
  double** const by_step[] = {&s.rows, &s.h, &s.c, &s.dh, &s.dc, &s.path, &s.rest};
  double** const by_gate[] = {&s.gate, &s.low, &s.high};
  for (double** sums : by_step) *sums = at, at += T;
  for (double** sums : by_gate) *sums = at, at += all;
  s.workspace = at;
  return s;
}

template <gm_cell cell>
int64_t seen_size(const Node& node, const KernelTable& table, gm_dtype dtype, int64_t N, int64_t T) {
  if (cache_size<cell>(node, table, dtype, N, T) == INT64_MAX) return INT64_MAX;
  gm_recurrent l = layer_of<cell>(node, N, T);
  static const int64_t some = 0;
  const int64_t* const both[] = {nullptr, &some};
  int64_t most = 0;
  for (const int64_t* lengths : both) {
    l.lengths = lengths;
    const int64_t bytes = dtype == GM_FLOAT32 ? Recurrent<float>(table, l).steps_bytes(true)
                                              : Recurrent<double>(table, l).steps_bytes(true);
    if (bytes > most) most = bytes;
  }
  return T * (7 + 3 * layout_of(cell).gates) + (most + 7) / 8;
}

// steps: as long as the result is used.
template <gm_cell cell, class T>
gm_recurrent_gradients gradients_of(const Call<T>& c, gm_recurrent_steps* steps) {
  gm_recurrent_gradients g = {};
  g.struct_size = sizeof g;
  g.dy = c.dy;
  g.dx = c.dx;
  g.dweight_ih = c.gradients[0];
  g.dweight_hh = c.gradients[1];
  if (c.node.attributes[kBias] != 0) g.dbias_ih = c.gradients[2], g.dbias_hh = c.gradients[3];
  if (projection<cell>(c.node)) g.dweight_hr = c.gradients[weight_hr(c.node)];
  if (norms<cell>(c.node)) {
    T* const* const p = c.gradients + norm_weights(c.node);
    g.dnorm_weight_ih = p[0], g.dnorm_weight_hh = p[1], g.dnorm_weight_c = p[2];
    if (c.node.attributes[kBias] != 0) g.dnorm_bias_c = p[3];
  }
  g.accumulate = c.accumulate;
  if (c.seen) {
    *steps = steps_of(cell, c.steps, c.seen);
    steps->from_end = layer_of<cell>(c).reverse;
    g.steps = steps;
  }
  return g;
}

template <gm_cell cell, class T>
void backward(const Call<T>& c, Range samples) {
  const gm_recurrent l = layer_of<cell>(c);
  const Recurrent<T> walk(c.table, l);
  gm_recurrent_steps steps;
  walk.backward_samples(walk.pass(c.cache, true), samples, c.x[0], nullptr, c.y,
                        gradients_of<cell>(c, &steps));
}

template <gm_cell cell, class T>
void tap_steps(const Call<T>& c, gm_tap* tap) {
  const gm_recurrent l = layer_of<cell>(c);
  const Recurrent<T> walk(c.table, l);
  walk.finish_steps(walk.pass(c.cache, true), {0, c.steps}, gradients_of<cell>(c, &tap->steps));
  tap->steps.workspace = nullptr;
  tap->T = c.steps;
  tap->gates = layout_of(cell).gates;
}

template <gm_cell cell, class T>
void parameter_gradient(const Call<T>& c, Range features) {
  const gm_recurrent l = layer_of<cell>(c);
  const Recurrent<T> walk(c.table, l);
  gm_recurrent_steps steps;
  const Range units = {features.begin * l.H / c.node.features, features.end * l.H / c.node.features};
  walk.weight_gradients(walk.pass(c.cache, true), units, c.x[0], gradients_of<cell>(c, &steps));
}

template <gm_cell cell>
double flops(const Node& node) {
  return 2.0 * node.attributes[kHidden] *
         (layout_of(cell).gates * static_cast<double>(node.in_features[0] + node.features) +
          static_cast<double>(projection<cell>(node)));
}

template <gm_cell cell, class T>
constexpr LayerFunctions<T> all() {
  LayerFunctions<T> f;
  f.prepare = prepare<cell, T>;
  f.forward = forward<cell, T>;
  f.backward = backward<cell, T>;
  f.parameter_gradient = parameter_gradient<cell, T>;
  f.tap_steps = tap_steps<cell, T>;
  return f;
}

template <gm_cell cell, int count>
constexpr LayerType type(const char* name, const Parameter (&attributes)[count]) {
  LayerType t;
  t.name = name;
  t.take(attributes);
  t.set_up = set_up<cell>;
  t.flops = flops<cell>;
  t.time = Time::sequence;
  t.cache_size_of_time = cache_size<cell>;
  t.seen_size = seen_size<cell>;
  t.f32 = all<cell, float>();
  t.f64 = all<cell, double>();
  return t;
}

}  // namespace

extern const LayerType lstm_layer, gru_layer, rnn_layer;
const LayerType lstm_layer = type<GM_LSTM>("lstm", lstm_attributes),
                gru_layer = type<GM_GRU>("gru", gru_attributes),
                rnn_layer = type<GM_RNN_TANH>("rnn", rnn_attributes);

}  // namespace gradiometer
