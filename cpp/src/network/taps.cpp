#include "taps.hpp"

#include <math.h>

namespace gradiometer {
namespace {

// Largest |f'| on a grid of [-8, 8]; *flat: f' falls below 5 % of it far out on both sides.
double steepest(const Activation& f, const double* params, bool* flat) {
  constexpr int half = 128, points = 2 * half + 1;
  double x[points + 2], one[points + 2], slope[points + 2];
  for (int i = 0; i < points; i++) x[i] = (i - half) / 16.0;
  x[points] = -50;
  x[points + 1] = 50;
  for (double& v : one) v = 1;
  f.f64.backward(points + 2, x, one, slope, params);
  double most = 0;
  for (int i = 0; i < points; i++) most = fmax(most, fabs(slope[i]));
  *flat = fabs(slope[points]) < 0.05 * most && fabs(slope[points + 1]) < 0.05 * most;
  return most;
}

gm_moments copy(const Moments& m) {
  return {m.count, m.zeros, m.subnormals, m.nans, m.infs, m.sum, m.sum_squares, m.max_abs};
}

template <class T>
gm_moments moments_of(const Kernels<T>& k, int64_t n, const T* x) {
  Moments m;
  k.moments(n, x, &m);
  return copy(m);
}

}  // namespace

template <class T>
void tap(const Network& net, int id, int64_t N, const T* value, const T* gradient, const T* input,
         char* scratch, gm_tap* out) {
  const Node& node = net.graph.nodes[id];
  const NodePlan& p = net.plan.nodes[id];
  const Kernels<T>& k = of<T>(*net.table);
  const int64_t C = node.features;
  gm_tap t = {};
  t.struct_size = sizeof t;
  t.rows = N;
  t.features = C;
  t.spread = t.saturated = NAN;
  t.value = moments_of(k, N * C, value);
  if (gradient) t.gradient = moments_of(k, N * C, gradient);
  if (net.plan.taps & GM_TAP_ROWS) {
    double* rows = reinterpret_cast<double*>(net.arena + p.value_rows);
    k.row_squares(N, C, value, C, rows);
    t.value_row_squares = rows;
    if (gradient) {
      rows = reinterpret_cast<double*>(net.arena + p.gradient_rows);
      k.row_squares(N, C, gradient, C, rows);
      t.gradient_row_squares = rows;
    }
  }
  if (net.plan.taps & GM_TAP_COLUMNS) {
    double* mean = reinterpret_cast<double*>(scratch);
    double* var = mean + C;
    k.batch_norm_statistics(N, C, value, C, mean, var);
    double between = 0;
    for (int64_t c = 0; c < C; c++) between += var[c];
    double square = t.value.sum_squares / static_cast<double>(N);
    t.spread = t.value.nans || t.value.infs ? NAN : square > 0 ? sqrt(between / square) : 0;
    if (node.activation >= 0 && id > 0) {
      const Activation& f = net.table->activations[node.activation];
      bool flat;
      double most = steepest(f, node.activation_parameters, &flat);
      const int64_t panel = C > kTapPanel ? C : kTapPanel, step = panel / C;
      unsigned char* active = reinterpret_cast<unsigned char*>(net.arena + p.active);
      unsigned char* unused = reinterpret_cast<unsigned char*>(mean + 2 * net.plan.widest);
      T* ones = reinterpret_cast<T*>(scratch + align_up(2 * net.plan.widest * 8 + net.plan.widest, 8));
      T* slope = ones + panel;
      for (int64_t i = 0; i < step * C; i++) ones[i] = T(1);
      __builtin_memset(active, 0, static_cast<size_t>(C));
      int64_t steep = 0, nonzero = 0;
      for (int64_t r = 0; r < N; r += step) {
        int64_t rows = N - r < step ? N - r : step;
        of<T>(f).backward(rows * C, input + r * C, ones, slope, node.activation_parameters);
        k.above(rows, C, slope, C, 0.0, active, &nonzero);
        k.above(rows, C, slope, C, 0.05 * most, unused, &steep);
      }
      // f'(NaN) is neither 0 nor small, but nothing that can be compared.
      for (int64_t c = 0; c < C; c++)
        if (isnan(mean[c])) active[c] = 1;
      t.active = active;
      if (flat && N * C > 0 && !t.value.nans)
        t.saturated = 1 - static_cast<double>(steep) / static_cast<double>(N * C);
    }
  }
  *out = t;
}

template void tap<float>(const Network&, int, int64_t, const float*, const float*, const float*, char*,
                         gm_tap*);
template void tap<double>(const Network&, int, int64_t, const double*, const double*, const double*, char*,
                          gm_tap*);

}  // namespace gradiometer
