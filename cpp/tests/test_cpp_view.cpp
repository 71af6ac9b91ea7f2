// The C++ view: a network trained through it, the gradient checked by central differences, an error thrown.
#include <math.h>
#include <string.h>

#include <gradiometer/gradiometer.hpp>
#include <type_traits>
#include <utility>

#include "check.h"

namespace gm = gradiometer;

namespace {

static_assert(!std::is_copy_constructible_v<gm::Graph> && std::is_move_constructible_v<gm::Graph>);
static_assert(!std::is_copy_constructible_v<gm::Network<float>>);

const double x[] = {-1, -1, -1, 1, 1, -1, 1, 1};
const int64_t target[] = {1, 0, 0, 1};
constexpr int64_t N = 4;

gm::Graph two_layers() {
  gm::Graph graph(2);
  graph.add("linear", {{"features", 8}});
  graph.add("activation", {{"function", "tanh"}});
  graph.add("linear", {{"features", 2}});
  return graph;
}

template <class T>
void fill(gm::Network<T>& net) {
  double phase = 0;
  for (const gm_tensor& t : net.parameters())
    for (T& w : net.parameter(t)) w = static_cast<T>(sin(phase += 1.7) / 2);
}

void graph_knows_its_nodes() {
  gm::Graph graph = two_layers();
  CHECK(graph.node_count() == 4);
  CHECK(graph.features(0) == 2 && graph.features(1) == 8 && graph.features(3) == 2);
  int sum = graph.add("add", std::vector<int>{0, 3});
  CHECK(sum == 4 && graph.features(sum) == 2);
}

void gradient_is_the_derivative() {
  gm::Network<double> net(two_layers());
  fill(net);
  const int loss = gm_loss_find("cross_entropy");
  const gm_context run = gm::context();
  net.gradient(run, N, x, loss, target);
  for (const gm_tensor& t : net.parameters())
    for (int64_t i = 0; i < t.size; i++) {
      const double exact = net.gradient(t)[i], h = 1e-5;
      double& w = net.parameter(t)[i];
      const double at = w;
      w = at + h;
      const double above = net.gradient(run, N, x, loss, target);
      w = at - h;
      const double below = net.gradient(run, N, x, loss, target);
      w = at;
      net.gradient(run, N, x, loss, target);
      CHECK(fabs((above - below) / (2 * h) - exact) < 1e-8);
    }
}

void learns_and_shows_its_gradient() {
  gm::Network<double> net(two_layers());
  fill(net);
  const int loss = gm_loss_find("cross_entropy"), sgd = gm_optimizer_find("sgd");
  int64_t size = 0;
  for (const gm_tensor& t : net.parameters()) size += t.size;
  std::vector<double> slots(static_cast<size_t>(gm_optimizer_slots(sgd) * size) + 1);
  gm_context run = gm::context();
  run.training = 1;
  run.learning_rate = 0.5;
  run.taps = GM_TAP_MOMENTS;
  double value = 0;
  for (run.step = 1; run.step <= 300; run.step++)
    value = net.step(run, N, x, loss, target, sgd, nullptr, slots.data());
  CHECK(value < 0.05);

  gm_tap tap = net.tap(1);
  CHECK(tap.rows == N && tap.features == 8 && tap.gradient.count == N * 8 && tap.gradient.sum_squares > 0);

  double y[N * 2];
  net.forward(gm::context(), N, x, y);
  for (int n = 0; n < N; n++) CHECK((y[2 * n + 1] > y[2 * n]) == (target[n] == 1));
}

void frozen_parameters_and_the_arena() {
  gm::Network<double> net(two_layers());
  fill(net);
  gm_context run = gm::context();
  const int64_t all = net.arena(run, N);
  const gm_tensor first = net.parameters()[0];
  const double weight = net.parameter(first)[0];
  net.set_trainable(0, false);
  CHECK(!net.trainable(0) && net.trainable(1));
  net.gradient(first)[0] = 7;
  net.limit_arena(all);
  net.gradient(run, N, x, gm_loss_find("cross_entropy"), target);
  CHECK(net.gradient(first)[0] == 7 && net.parameter(first)[0] == weight);
}

void error_names_the_argument() {
  gm::Graph graph(2);
  bool thrown = false;
  try {
    graph.add("abacus");
  } catch (const gm::Error& e) {
    thrown = true;
    CHECK(e.status == GM_INVALID_ARGUMENT);
    CHECK(!e.argument.empty() && strstr(e.what(), "abacus"));
  }
  CHECK(thrown);
  CHECK(graph.node_count() == 1);
}

// An LSTM: its gradient by one weight is the difference of sums of y; packed, and a step at a time, it has
// the bits of forward.
void a_recurrent_layer() {
  constexpr int64_t T = 5, samples = 3, I = 2, H = 4;
  std::vector<double> w_ih(4 * H * I), w_hh(4 * H * H), bias(4 * H), input(T * samples * I),
      y(T * samples * H), other(T * samples * H), dy(T * samples * H, 1.0), dw_hh(4 * H * H);
  double phase = 0;
  for (auto* all : {&w_ih, &w_hh, &bias, &input})
    for (double& v : *all) v = sin(phase += 1.7);
  gm_recurrent layer = gm::recurrent(GM_LSTM, T, samples, I, H);
  layer.weight_ih = w_ih.data(), layer.weight_hh = w_hh.data(), layer.bias_ih = bias.data();
  gm::Recurrent<double> lstm(layer);
  lstm.forward(true, input.data(), y.data());
  gm_recurrent_gradients g = gm::recurrent_gradients();
  g.dy = dy.data(), g.dweight_hh = dw_hh.data();
  lstm.backward(input.data(), y.data(), g);
  const auto sum = [&] {
    lstm.forward(false, input.data(), other.data());
    double s = 0;
    for (double v : other) s += v;
    return s;
  };
  for (size_t i = 0; i < w_hh.size(); i += 7) {
    const double at = w_hh[i], h = 1e-5;
    w_hh[i] = at + h;
    const double above = sum();
    w_hh[i] = at - h;
    const double below = sum();
    w_hh[i] = at;
    CHECK(fabs((above - below) / (2 * h) - dw_hh[i]) < 1e-8);
  }

  gm::PackedRecurrent<double> packed(layer);
  lstm.layer.weight_ih = lstm.layer.weight_hh = lstm.layer.bias_ih = nullptr;
  lstm.layer.packed = packed.get();
  lstm.forward(false, input.data(), other.data());
  CHECK(memcmp(y.data(), other.data(), y.size() * sizeof(double)) == 0);

  gm::RecurrentStepper<double> stepper(layer);
  double h[samples * H] = {}, c[samples * H] = {};
  for (int64_t t = 0; t < T; t++) {
    stepper.step(&input[static_cast<size_t>(t * samples * I)], h, c);
    CHECK(memcmp(h, &y[static_cast<size_t>(t * samples * H)], sizeof h) == 0);
  }
  bool thrown = false;
  try {
    stepper.step(input.data(), h);
  } catch (const gm::Error& e) {
    thrown = e.argument == "c";
  }
  CHECK(thrown);
}

void a_graph_moves() {
  gm::Graph graph = two_layers();
  gm::Graph other = std::move(graph);
  CHECK(other.node_count() == 4);
}

}  // namespace

int main() {
  graph_knows_its_nodes();
  gradient_is_the_derivative();
  learns_and_shows_its_gradient();
  frozen_parameters_and_the_arena();
  error_names_the_argument();
  a_recurrent_layer();
  a_graph_moves();
  return failures;
}
