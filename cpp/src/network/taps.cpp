#include "taps.hpp"

#include <math.h>

namespace gradiometer {
namespace {

gm_moments copy(const Moments& m) {
  return {m.count, m.zeros,       m.subnormals, m.nans, m.infs,
          m.sum,   m.sum_squares, m.max_abs,    m.norm, m.deviation};
}

template <class E>
E* at(const Network& net, int64_t offset) {
  return offset < 0 ? nullptr : reinterpret_cast<E*>(net.arena + offset);
}

// Blocks of a node's rows.
struct Blocks {
  int64_t N, T, each;  // rows in all, steps of a sample's (0 where it has one row), rows of a block
  const int64_t* lengths;
  Blocks(const Network& net, int id, const SampleBatch& batch) {
    const bool sequence = net.graph.nodes[id].sequence;
    T = sequence ? batch.T : 0;
    N = sequence ? batch.N * T : batch.N;
    each = sequence ? T : tap_rows(N);
    lengths = sequence ? batch.lengths : nullptr;
  }
  int64_t count() const { return T ? N / T : tap_blocks(N); }
  Range operator[](int64_t b) const {
    const int64_t end = lengths ? b * each + lengths[b] : (b + 1) * each;
    return {b * each, end < N ? end : N};
  }
  int64_t rows() const {
    if (!lengths) return N;
    int64_t sum = 0;
    for (int64_t b = 0; b < count(); b++) sum += lengths[b];
    return sum;
  }
  // f(block, its rows) for those of some samples.
  template <class F>
  void of(Range samples, F f) const {
    for (int64_t b = T ? samples.begin : samples.begin / each; (T ? b : b * each) < samples.end; b++)
      f(b, (*this)[b]);
  }
};

// Norms of rows whose sum of squares has left float64: of the row scaled by a power of 2.
template <class T>
void mend_norms(const Kernels<T>& k, int64_t rows, int64_t C, const T* x, double* norms) {
  for (int64_t r = 0; r < rows; r++) {
    if ((norms[r] > 0x1p-450 && norms[r] < 0x1p500) || isnan(norms[r])) continue;
    Moments m;
    k.moments(C, x + r * C, &m);
    norms[r] = m.infs ? HUGE_VAL : m.norm;
  }
}

// Columns that have a NaN in some row.
template <class T>
void mark_nans(int64_t rows, int64_t C, const T* x, unsigned char* seen) {
  for (int64_t i = 0; i < rows * C; i++)
    if (isnan(x[i])) seen[i % C] = 1;
}

// Sum of squares of v(i), a number for each element, about the mean of the samples at the same step and
// column; nothing for a step that one sample has. About the first sample's, whose own deviation is part of
// the sum: so no more than the digits of N cancel, and samples that are alike have exactly 0. off, squares: C
// places each.
template <class V>
double between_samples(const Blocks& blocks, int64_t C, V v, double* off, double* squares) {
  const int64_t T = blocks.T ? blocks.T : 1, N = blocks.N / T;
  double between = 0;
  for (int64_t t = 0; t < T; t++) {
    int64_t first = -1, seen = 0;
    for (int64_t n = 0; n < N; n++) {
      if (blocks.lengths && blocks.lengths[n] <= t) continue;
      const int64_t at = (n * T + t) * C;
      if (seen++ == 0) {
        first = at;
        for (int64_t c = 0; c < C; c++) off[c] = squares[c] = 0;
        continue;
      }
      for (int64_t c = 0; c < C; c++) {
        const double d = v(at + c) - v(first + c);
        off[c] += d;
        squares[c] += d * d;
      }
    }
    for (int64_t c = 0; c < C && seen > 1; c++)
      between += squares[c] - off[c] / static_cast<double>(seen) * off[c];
  }
  return between > 0 ? between : 0;
}

// The columns' means over all rows from those of blocks of different lengths, about the first block's;
// returns the sum of squares of the blocks' about them.
double merge_columns(const Blocks& blocks, int64_t C, const double* means, double* mean) {
  double scatter = 0;
  const double rows = static_cast<double>(blocks.rows());
  for (int64_t c = 0; c < C; c++) {
    double s = 0, squares = 0;
    for (int64_t b = 1; b < blocks.count(); b++) {
      const double off = means[b * C + c] - means[c], weight = static_cast<double>(blocks[b].size());
      s += weight * off;
      squares += weight * off * off;
    }
    mean[c] = means[c] + s / rows;
    scatter += squares - s * s / rows;
  }
  return scatter;
}

template <class T>
void look_inside(const Kernels<T>& k, int64_t rows, int64_t C, const T* x, const Intervals& in,
                 unsigned char* seen, int64_t* count) {
  for (int i = 0; i < in.size; i++) k.inside(rows, C, x, C, in.low[i], in.high[i], seen, count);
}

}  // namespace

template <class T>
void tap_value(const Network& net, int id, const SampleBatch& batch, Range samples, const T* value,
               const T* input) {
  const NodePlan& p = net.plan.nodes[id];
  const Kernels<T>& k = of<T>(*net.table);
  const int64_t C = net.graph.nodes[id].features;
  if (!(p.value_taps & GM_TAP_NORMS)) return;
  Blocks(net, id, batch).of(samples, [&](int64_t b, Range block) {
    const int64_t rows = block.size();
    const T* y = value + block.begin * C;
    MomentsPart* moments = at<MomentsPart>(net, p.value_parts) + b;
    ColumnsPart* part = at<ColumnsPart>(net, p.columns) + b;
    double* norms = p.value_rows < 0 ? nullptr : at<double>(net, p.value_rows) + block.begin;
    if (p.means < 0) {
      k.moments_part(rows, C, y, p.value_taps & GM_TAP_MOMENTS, moments, norms);
    } else {
      part->scatter = k.columns_part(rows, C, y, moments, at<double>(net, p.means) + b * C);
      if (norms) {
        k.row_squares(rows, C, y, C, norms);
        for (int64_t r = 0; r < rows; r++) norms[r] = sqrt(norms[r]);
      }
    }
    if (norms) mend_norms(k, rows, C, y, norms);
    if (p.slope < 0) return;
    const Slope& s = net.plan.slopes[p.slope];
    unsigned char* active = at<unsigned char>(net, p.active) + b * C;
    __builtin_memset(active, 0, static_cast<size_t>(C));
    const T* x = input + block.begin * C;
    look_inside(k, rows, C, x, s.active, active, nullptr);
    // f'(NaN) is neither 0 nor small, but nothing that can be compared.
    if (moments->nans) mark_nans(rows, C, y, active);
    part->steep = 0;
    if (s.flat) look_inside(k, rows, C, x, s.steep, nullptr, &part->steep);
  });
}

template <class T>
void tap_gradient(const Network& net, int id, const SampleBatch& batch, Range samples, const T* gradient) {
  const NodePlan& p = net.plan.nodes[id];
  if (!p.gradient_taps) return;
  const Kernels<T>& k = of<T>(*net.table);
  const int64_t C = net.graph.nodes[id].features;
  Blocks(net, id, batch).of(samples, [&](int64_t b, Range block) {
    double* norms = p.gradient_rows < 0 ? nullptr : at<double>(net, p.gradient_rows) + block.begin;
    const T* dy = gradient + block.begin * C;
    k.moments_part(block.size(), C, dy, p.gradient_taps & GM_TAP_MOMENTS,
                   at<MomentsPart>(net, p.gradient_parts) + b, norms);
    if (norms) mend_norms(k, block.size(), C, dy, norms);
  });
}

template <class T>
void finish_tap(const Network& net, int id, const SampleBatch& batch, const T* value, double* mean,
                gm_tap* out) {
  const NodePlan& p = net.plan.nodes[id];
  const Kernels<T>& k = of<T>(*net.table);
  const Blocks all(net, id, batch);
  const int64_t C = net.graph.nodes[id].features, blocks = all.count(), rows = all.rows(), N = all.N;
  const auto moments_of = [&](int64_t parts) {
    if (parts < 0) return gm_moments{0, 0, 0, 0, 0, NAN, NAN, NAN, NAN, NAN};
    Moments m;
    k.merge_moments(blocks, at<MomentsPart>(net, parts), rows * C, &m);
    return copy(m);
  };
  gm_tap& t = *out;
  t = {};
  t.struct_size = sizeof t;
  t.rows = N;
  t.features = C;
  t.spread = t.saturated = NAN;
  t.value = moments_of(p.value_parts);
  t.gradient = moments_of(p.gradient_parts);
  t.value_row_norms = at<double>(net, p.value_rows);
  t.gradient_row_norms = at<double>(net, p.gradient_rows);
  const int64_t row_norms[] = {p.value_rows, p.gradient_rows};
  for (const int64_t norms : row_norms)
    for (int64_t b = 0; all.lengths && norms >= 0 && b < blocks; b++)
      for (int64_t r = all[b].end; r < (b + 1) * all.each; r++) at<double>(net, norms)[r] = 0;
  const ColumnsPart* part = at<ColumnsPart>(net, p.columns);
  if (p.means >= 0 && N > 0) {
    const double* means = at<double>(net, p.means);
    double between = all.lengths ? merge_columns(all, C, means, mean)
                                 : k.merge_columns(blocks, C, means, all.each, all[blocks - 1].size(), mean);
    for (int64_t b = 0; b < blocks; b++) between += part[b].scatter;
    const bool ordinary = t.value.sum_squares > 0x1p-900 && t.value.sum_squares < 0x1p1000;
    if (t.value.nans || t.value.infs)
      t.spread = NAN;
    else if (t.value.max_abs == 0)
      t.spread = 0;
    else if (ordinary && !all.T)
      t.spread = sqrt(between / t.value.sum_squares);
    else {
      const int power = ordinary ? 0 : -ilogb(t.value.max_abs);
      const auto plain = [&](int64_t i) { return static_cast<double>(value[i]); };
      const auto scaled = [&](int64_t i) { return ldexp(static_cast<double>(value[i]), power); };
      between = ordinary ? between_samples(all, C, plain, mean, mean + C)
                         : between_samples(all, C, scaled, mean, mean + C);
      t.spread = sqrt(between) / ldexp(t.value.norm, power);
    }
  }
  if (p.slope >= 0 && N > 0) {
    unsigned char* active = at<unsigned char>(net, p.active);
    int64_t steep = 0;
    for (int64_t b = 0; b < blocks; b++) {
      steep += part[b].steep;
      for (int64_t c = 0; b > 0 && c < C; c++) active[c] |= active[b * C + c];
    }
    t.active = active;
    if (net.plan.slopes[p.slope].flat && !t.value.nans)
      t.saturated = 1 - static_cast<double>(steep) / static_cast<double>(rows * C);
  }
}

template void tap_value<float>(const Network&, int, const SampleBatch&, Range, const float*, const float*);
template void tap_value<double>(const Network&, int, const SampleBatch&, Range, const double*, const double*);
template void tap_gradient<float>(const Network&, int, const SampleBatch&, Range, const float*);
template void tap_gradient<double>(const Network&, int, const SampleBatch&, Range, const double*);
template void finish_tap<float>(const Network&, int, const SampleBatch&, const float*, double*, gm_tap*);
template void finish_tap<double>(const Network&, int, const SampleBatch&, const double*, double*, gm_tap*);

}  // namespace gradiometer
