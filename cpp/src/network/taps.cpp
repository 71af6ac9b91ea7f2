#include "taps.hpp"

#include <math.h>

#include "../batch_norm.hpp"

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
  return {m.count, m.zeros,       m.subnormals, m.nans, m.infs,
          m.sum,   m.sum_squares, m.max_abs,    m.norm, m.deviation};
}

template <class T>
gm_moments moments_of(const Kernels<T>& k, int64_t n, const T* x) {
  Moments m;
  k.moments(n, x, &m);
  return copy(m);
}

// Norms of the rows; where a sum of squares leaves float64, of the row scaled by a power of 2.
template <class T>
void row_norms(const Kernels<T>& k, int64_t N, int64_t C, const T* x, double* norms) {
  k.row_squares(N, C, x, C, norms);
  for (int64_t r = 0; r < N; r++) {
    const bool in_range = (norms[r] > 0x1p-900 && norms[r] < 0x1p1000) || isnan(norms[r]);
    norms[r] = in_range                           ? sqrt(norms[r])
               : moments_of(k, C, x + r * C).infs ? HUGE_VAL
                                                  : moments_of(k, C, x + r * C).norm;
  }
}

// sqrt(mean_j Var_n v_nj / mean_nj v_nj²) of finite numbers whose squares leave float64: of v 2^power. mean:
// C places.
template <class T>
double scaled_spread(int64_t N, int64_t C, const T* x, const gm_moments& value, double* mean) {
  const int power = -ilogb(value.max_abs);
  const double rows = static_cast<double>(N);
  for (int64_t c = 0; c < C; c++) mean[c] = 0;
  for (int64_t i = 0; i < N * C; i++) mean[i % C] += ldexp(static_cast<double>(x[i]), power) / rows;
  double between = 0;
  for (int64_t i = 0; i < N * C; i++) {
    const double d = ldexp(static_cast<double>(x[i]), power) - mean[i % C];
    between += d * d / rows;
  }
  const double norm = ldexp(value.norm, power);
  return sqrt(between) / (norm / sqrt(rows));
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
    row_norms(k, N, C, value, rows);
    t.value_row_norms = rows;
    if (gradient) {
      rows = reinterpret_cast<double*>(net.arena + p.gradient_rows);
      row_norms(k, N, C, gradient, rows);
      t.gradient_row_norms = rows;
    }
  }
  if (net.plan.taps & GM_TAP_COLUMNS) {
    double* mean = reinterpret_cast<double*>(scratch);
    double* var = mean + C;
    const BatchNorm<T> columns = {N, C, 1, C, value, mean, var, 0, nullptr, nullptr};
    for_channel_blocks({0, C}, [&](Range block) {
      channel_statistics(k, columns, block, false, mean + block.begin, var + block.begin);
    });
    double between = 0;
    for (int64_t c = 0; c < C; c++) between += var[c];
    double square = t.value.sum_squares / static_cast<double>(N);
    if (t.value.nans || t.value.infs)
      t.spread = NAN;
    else if (t.value.max_abs == 0)
      t.spread = 0;
    else if (t.value.sum_squares > 0x1p-900 && t.value.sum_squares < 0x1p1000)
      t.spread = sqrt(between / square);
    else
      t.spread = scaled_spread(N, C, value, t.value, mean);
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
