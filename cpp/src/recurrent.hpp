// A recurrent layer's walk through time, over the kernels of one table. Contract: gm_recurrent_* in
// gradiometer.h.
//
// Rows: all steps of all samples, a step's samples side by side. Without lengths and forwards they are the
// rows of x. Else samples are sorted by length, longest first, so that the samples still running are the
// first of each step; x is gathered into that order and dx scattered back.
//
// Time goes in segments. Forward: pre-activations of a segment from x by one product, then step by step the
// product with the state and the cell, which leaves what backward reads in the same row. Backward: step by
// step, then the gradients by weights and x of the segment by one product each. A member of the team takes
// some samples through all steps of a segment without waiting.
#pragma once
#include <string.h>

#include "dispatch.hpp"
#include "gradiometer/gradiometer.h"
#include "loops/parallel.hpp"
#include "memory.hpp"

namespace gradiometer {

// Planes of a row of H values each. W x goes to the planes of `part`, from weight rows `gate` H on; the
// product with the state, all gates of it, is added from plane `recurrent` on. A plane that W x does not
// reach starts with its bias.
struct CellPart {
  int plane, gate, planes;
};
struct CellLayout {
  int gates, width, derivatives, recurrent;
  bool memory, passes;  // c; the old h reaches the new one without a weight
  int bare, parts;      // bare: the plane that W x does not reach, or -1
  CellPart part[2];
};
inline const CellLayout& layout_of(gm_cell cell) {
  static constexpr CellLayout lstm = {4, 5, 4, 0, true, false, -1, 1, {{0, 0, 4}, {}}};
  static constexpr CellLayout gru = {3, 4, 4, 1, false, true, 3, 2, {{0, 2, 1}, {1, 0, 2}}};
  static constexpr CellLayout rnn = {1, 1, 1, 0, false, false, -1, 1, {{0, 0, 1}, {}}};
  return cell == GM_LSTM ? lstm : cell == GM_GRU ? gru : rnn;
}

// Hands out one block of memory, or measures how much it would take.
class Carver {
 public:
  explicit Carver(void* base)
      : base_(static_cast<char*>(base)), used_(base ? -reinterpret_cast<intptr_t>(base) & (kAlign - 1) : 0) {}
  template <class E>
  E* take(int64_t n) {
    E* p = base_ ? reinterpret_cast<E*>(base_ + used_) : nullptr;
    used_ += align_up(n * static_cast<int64_t>(sizeof(E)));
    return p;
  }
  int64_t bytes() const { return used_ + kAlign; }

 private:
  char* base_;
  int64_t used_;
};

// Which row is which step of which sample.
struct Steps {
  int64_t T, N;
  const int64_t* lengths;
  bool reverse;
  int64_t *first = nullptr, *order = nullptr;  // (T + 1), (N) where rows are not those of x

  Steps(const gm_recurrent& l, Carver& carver) : T(l.T), N(l.N), lengths(l.lengths), reverse(l.reverse != 0) {
    if (!gathered()) return;
    first = carver.take<int64_t>(T + 1);
    order = carver.take<int64_t>(N);
  }
  bool gathered() const { return lengths || reverse; }
  int64_t length(int64_t sample) const { return lengths ? lengths[sample] : T; }
  // Counting sort, stable.
  void sort() {
    if (!gathered()) return;
    for (int64_t t = 0; t <= T; t++) first[t] = 0;
    for (int64_t n = 0; n < N; n++) first[T - length(n)]++;
    for (int64_t t = 0, sum = 0; t <= T; t++) {
      const int64_t count = first[t];
      first[t] = sum;
      sum += count;
    }
    for (int64_t n = 0; n < N; n++) order[first[T - length(n)]++] = n;
    first[0] = 0;
    for (int64_t s = 0, running = N; s < T; s++) {
      while (running > 0 && length(order[running - 1]) <= s) running--;
      first[s + 1] = first[s] + running;
    }
  }
  int64_t row(int64_t s) const { return first ? first[s] : s * N; }
  int64_t running(int64_t s) const { return first ? first[s + 1] - first[s] : N; }
  int64_t sample(int64_t r) const { return order ? order[r] : r; }
  int64_t time(int64_t s, int64_t n) const { return reverse ? length(n) - 1 - s : s; }
  // Place among the rows of x, of step s of the sample that is the r-th.
  int64_t place(int64_t s, int64_t r) const { return time(s, sample(r)) * N + sample(r); }

  // f(row, s, r) for the rows from begin on.
  template <class F>
  void each(Range rows, F f) const {
    if (rows.size() <= 0) return;
    int64_t s = 0;
    for (int64_t after = T; after - s > 1;) {
      const int64_t middle = s + (after - s) / 2;
      (row(middle) <= rows.begin ? s : after) = middle;
    }
    for (int64_t at = rows.begin, r = at - row(s); at < rows.end; at++, r++) {
      while (r == running(s)) s++, r = 0;
      f(at, s, r);
    }
  }
  // f(place) for what lies beyond the length of some of the samples.
  template <class F>
  void each_beyond(Range samples, F f) const {
    for (int64_t r = samples.begin; lengths && r < samples.end; r++)
      for (int64_t t = length(sample(r)); t < T; t++) f(t * N + sample(r));
  }
  // Samples, in their order, whose steps add up to a member's share.
  Range share(Team team) const {
    if (!lengths) return team.share(N);
    const int64_t all = row(T);
    Range range = {N, N};
    for (int64_t r = 0, sum = 0; r < N; sum += length(sample(r)), r++) {
      if (range.begin == N && sum * team.size >= all * team.rank) range.begin = r;
      if (sum * team.size >= all * (team.rank + 1) && team.rank + 1 < team.size) {
        range.end = r;
        break;
      }
    }
    if (range.begin > range.end) range.begin = range.end;
    return range;
  }
};

template <class T>
void copy(T* to, const T* from, int64_t n) {
  memcpy(to, from, static_cast<size_t>(n) * sizeof(T));
}
template <class T>
void clear(T* to, int64_t n) {
  memset(to, 0, static_cast<size_t>(n) * sizeof(T));
}

// What forward, backward and their memory have in common.
template <class T>
class Recurrent {
 public:
  Recurrent(const KernelTable& table, const gm_recurrent& layer)
      : k_(of<T>(table)), cell_(k_.cells.at[layer.cell]), layout_(layout_of(layer.cell)), l_(layer) {}

  int64_t cache_size() const {
    return l_.recompute ? (layout_.memory ? (l_.T + l_.recompute - 1) / l_.recompute * l_.N * l_.H : 0)
                        : l_.T * l_.N * width();
  }
  int64_t forward_bytes() const {
    Carver kept(nullptr), thrown(nullptr);
    Steps(l_, kept), Steps(l_, thrown);
    ForwardMemory(*this, kept, false, segment(false));
    ForwardMemory(*this, thrown, true, segment(true));
    return kept.bytes() > thrown.bytes() ? kept.bytes() : thrown.bytes();
  }
  int64_t backward_bytes() const {
    Carver carver(nullptr);
    Steps steps(l_, carver);
    BackwardMemory(*this, carver, segment(false));
    return carver.bytes();
  }

  void forward(int members, const T* x, const T* h0, const T* c0, T* y, T* h_n, T* c_n, T* cache,
               void* workspace) {
    const bool kept = cache && !l_.recompute;
    const int64_t L = kept ? steps_or_1() : segment(true);
    Carver carver(workspace);
    Steps steps(l_, carver);
    steps.sort();
    const ForwardMemory m(*this, carver, !kept, L);
    add_biases(m.bias);
    parallel(members, [&](Team team) {
      const Range mine = steps.share(team);
      const bool stepwise = takes_steps(team);
      pack_forward(m, team);
      start(m.h, h0, steps, mine);
      if (layout_.memory) start(m.c, c0, steps, mine);
      for (int64_t s0 = 0; s0 < l_.T; s0 += L) {
        const int64_t s1 = s0 + L < l_.T ? s0 + L : l_.T, r0 = steps.row(s0);
        T* const rows = kept ? cache + r0 * width() : m.rows;
        if (!stepwise || s0 == 0) team.barrier();
        if (!stepwise) {
          input_product(m, steps, x, rows_of(steps, s0, s1, team), r0, rows);
          team.barrier();
        }
        if (cache && l_.recompute && layout_.memory && mine.size() > 0)
          copy(cache + s0 / L * l_.N * l_.H + mine.begin * l_.H, m.c + mine.begin * l_.H, mine.size() * l_.H);
        for (int64_t s = s0; s < s1; s++) {
          const int64_t n = running(steps, s, mine);
          if (n <= 0) break;
          const int64_t at = steps.row(s) + mine.begin;
          T* const row = rows + (at - r0) * width();
          if (stepwise) input_product(m, steps, x, {at, at + n}, r0, rows);
          state_product(m.packed_hh, n, m.h + mine.begin * l_.H, row);
          step(m, mine.begin, n, row);
          put(y, y_stride(), m.h, steps, s, mine.begin, n);
        }
      }
      steps.each_beyond(mine, [&](int64_t place) { clear(y + place * y_stride(), l_.H); });
      if (h_n) finish(h_n, m.h, steps, mine);
      if (c_n) finish(c_n, m.c, steps, mine);
    });
  }

  void backward(int members, const T* x, const T* h0, const T* y, const T* cache,
                const gm_recurrent_gradients& g, void* workspace) {
    const int64_t L = segment(false), H = l_.H, segments = (steps_or_1() + L - 1) / L;
    const T* const dy = static_cast<const T*>(g.dy);
    T *const dh_all = static_cast<T*>(g.dh), *const dc_all = static_cast<T*>(g.dc);
    Carver carver(workspace);
    Steps steps(l_, carver);
    steps.sort();
    const BackwardMemory m(*this, carver, L);
    if (l_.recompute) add_biases(m.again.bias);
    parallel(members, [&](Team team) {
      const Range mine = steps.share(team);
      const bool stepwise = takes_steps(team);
      if (l_.recompute) pack_forward(m.again, team);
      const Range columns = team.share(H, k_.gemm_columns);
      if (columns.size() > 0)
        k_.gemm_pack(gates(), H, weight_hh(), H, 1, columns.begin, columns.end, m.packed_hh);
      start(m.dh, static_cast<const T*>(g.dh_n), steps, mine);
      if (layout_.memory) start(m.dc, static_cast<const T*>(g.dc_n), steps, mine);
      for (int64_t i = segments - 1; i >= 0; i--) {
        const int64_t s0 = i * L, s1 = s0 + L < l_.T ? s0 + L : l_.T, r0 = steps.row(s0), r1 = steps.row(s1);
        team.barrier();
        const Range share = rows_of(steps, s0, s1, team);
        steps.each(share, [&](int64_t row, int64_t s, int64_t r) {
          T* const to = m.h_old + (row - r0) * H;
          const T* const from = s > 0 ? y + steps.place(s - 1, r) * y_stride()
                                : h0  ? h0 + steps.sample(r) * H
                                      : nullptr;
          from ? copy(to, from, H) : clear(to, H);
        });
        if (l_.recompute) {
          input_product(m.again, steps, x, share, r0, m.again.rows);
          state_product(m.again.packed_hh, share.size(), m.h_old + (share.begin - r0) * H,
                        m.again.rows + (share.begin - r0) * width());
        } else if (steps.gathered()) {
          gather(m.again, steps, x, share, r0);
        }
        team.barrier();
        T* const rows = l_.recompute ? m.again.rows : const_cast<T*>(cache) + r0 * width();
        if (l_.recompute) {
          if (layout_.memory && mine.size() > 0)
            copy(m.again.c + mine.begin * H, cache + (i * l_.N + mine.begin) * H, mine.size() * H);
          for (int64_t s = s0; s < s1; s++) {
            const int64_t n = running(steps, s, mine);
            if (n <= 0) break;
            if (layout_.passes)
              copy(m.again.h + mine.begin * H, m.h_old + (steps.row(s) - r0 + mine.begin) * H, n * H);
            step(m.again, mine.begin, n, rows + (steps.row(s) - r0 + mine.begin) * width());
          }
        }
        for (int64_t s = s1 - 1; s >= s0; s--) {
          const int64_t n = running(steps, s, mine), at = steps.row(s) - r0 + mine.begin;
          if (n <= 0) continue;
          T* const dh = m.dh + mine.begin * H;
          if (dy) add(dh, dy, steps, s, mine.begin, n);
          if (dh_all) put(dh_all, H, m.dh, steps, s, mine.begin, n);
          T* const dc = layout_.memory ? m.dc + mine.begin * H : nullptr;
          T* const dc_total = layout_.memory && dc_all ? m.dc_total + mine.begin * H : nullptr;
          T* const drow = m.drow + at * m.ldd;
          cell_.backward(
              {n, H, rows + at * width(), width(), m.h_old + at * H, dh, dc, dc_total, drow, m.ldd});
          if (dc_total) put(dc_all, H, m.dc_total, steps, s, mine.begin, n);
          Gemm<T> p = {};
          p.M = n, p.N = H, p.K = gates();
          p.a = drow + layout_.recurrent * H, p.a_row = m.ldd, p.a_col = 1;
          p.packed = m.packed_hh;
          p.c = dh, p.ldc = H;
          p.accumulate = layout_.passes;
          k_.gemm(p);
          if (g.dx && stepwise) input_gradient(m, steps, {r0 + at, r0 + at + n}, r0, static_cast<T*>(g.dx));
        }
        team.barrier();
        weight_gradients(m, steps, x, r0, r1, g, g.accumulate || i + 1 < segments, team);
        if (g.dx && !stepwise) input_gradient(m, steps, share, r0, static_cast<T*>(g.dx));
      }
      steps.each_beyond(mine, [&](int64_t place) {
        if (g.dx) clear(static_cast<T*>(g.dx) + place * l_.I, l_.I);
        if (dh_all) clear(dh_all + place * H, H);
        if (dc_all) clear(dc_all + place * H, H);
      });
      if (g.dh0) finish(static_cast<T*>(g.dh0), m.dh, steps, mine);
      if (g.dc0) finish(static_cast<T*>(g.dc0), m.dc, steps, mine);
    });
  }

  void show(int members, const T* cache, T* gates_out, T* c, void* workspace) {
    Carver carver(workspace);
    Steps steps(l_, carver);
    steps.sort();
    parallel(members, [&](Team team) {
      steps.each(rows_of(steps, 0, l_.T, team), [&](int64_t row, int64_t s, int64_t r) {
        const int64_t place = steps.place(s, r);
        cell_.show({1, l_.H, const_cast<T*>(cache) + row * width(), width(), gates_out + place * gates(),
                    c ? c + place * l_.H : nullptr});
      });
      steps.each_beyond(steps.share(team), [&](int64_t place) {
        clear(gates_out + place * gates(), gates());
        if (c) clear(c + place * l_.H, l_.H);
      });
    });
  }

 private:
  struct ForwardMemory {
    T *bias, *packed_ih[2], *packed_hh, *h, *c, *x, *rows;
    ForwardMemory(const Recurrent& r, Carver& carver, bool own_rows, int64_t L) {
      const gm_recurrent& l = r.l_;
      bias = carver.take<T>(r.width());
      for (int i = 0; i < r.layout_.parts; i++)
        packed_ih[i] = carver.take<T>(r.k_.gemm_packed_size(l.I, r.layout_.part[i].planes * l.H));
      packed_hh = carver.take<T>(r.k_.gemm_packed_size(l.H, r.gates()));
      h = carver.take<T>(l.N * l.H);
      c = carver.take<T>(r.layout_.memory ? l.N * l.H : 0);
      x = carver.take<T>(l.lengths || l.reverse ? L * l.N * l.I : 0);
      rows = carver.take<T>(own_rows ? L * l.N * r.width() : 0);
    }
    ForwardMemory() = default;
  };
  struct BackwardMemory {
    T *packed_hh, *dh, *dc, *dc_total, *h_old, *drow, *dx;
    int64_t ldd;
    ForwardMemory again;  // of a recomputed segment; x of it also where rows are not those of x
    BackwardMemory(const Recurrent& r, Carver& carver, int64_t L) {
      const gm_recurrent& l = r.l_;
      const bool gathered = l.lengths || l.reverse;
      packed_hh = carver.take<T>(r.k_.gemm_packed_size(r.gates(), l.H));
      dh = carver.take<T>(l.N * l.H);
      dc = carver.take<T>(r.layout_.memory ? l.N * l.H : 0);
      dc_total = carver.take<T>(r.layout_.memory ? l.N * l.H : 0);
      h_old = carver.take<T>(L * l.N * l.H);
      ldd = r.layout_.derivatives * l.H;
      if (ldd * static_cast<int64_t>(sizeof(T)) % 4096 == 0) ldd += kAlign / static_cast<int64_t>(sizeof(T));
      drow = carver.take<T>(L * l.N * ldd);
      dx = carver.take<T>(gathered ? L * l.N * l.I : 0);
      again = {};
      if (l.recompute)
        again = ForwardMemory(r, carver, true, L);
      else
        again.x = carver.take<T>(gathered ? L * l.N * l.I : 0);
    }
  };

  int64_t width() const { return layout_.width * l_.H; }
  int64_t gates() const { return layout_.gates * l_.H; }
  int64_t y_stride() const { return l_.y_stride ? l_.y_stride : l_.H; }
  int64_t steps_or_1() const { return l_.T > 0 ? l_.T : 1; }
  const T* weight_ih() const { return static_cast<const T*>(l_.weight_ih); }
  const T* weight_hh() const { return static_cast<const T*>(l_.weight_hh); }
  // Steps of a segment. Without a cache: rows that stay in the L2 cache, but enough of them to make a
  // product.
  int64_t segment(bool forward) const {
    if (l_.recompute) return l_.recompute < steps_or_1() ? l_.recompute : steps_or_1();
    const int64_t step = l_.N * width() * static_cast<int64_t>(sizeof(T)) + 1;
    const int64_t least = kSegmentRows / (l_.N + 1) + 1;
    const int64_t fits = kSegmentBytes / step > least ? kSegmentBytes / step : least;
    return !forward || fits > steps_or_1() ? steps_or_1() : fits;
  }
  static constexpr int64_t kSegmentBytes = 512 << 10, kSegmentRows = 256;

  // Whether a member multiplies its own samples' x (and drow) step by step, while their rows are in its
  // cache, instead of sharing one product over a segment. Two threads, float32, AVX-512, 100 x 32 x 128:
  // forward 2.04 ms, shared 2.43; backward 4.14 and 4.48; 50 x 64 x 256 within 4 %. Few rows a step would
  // read all of W for little work.
  bool takes_steps(Team team) const { return l_.N >= 8 * team.size; }
  static int64_t running(const Steps& steps, int64_t s, Range mine) {
    const int64_t running = steps.running(s);
    return (mine.end < running ? mine.end : running) - mine.begin;
  }
  static Range rows_of(const Steps& steps, int64_t s0, int64_t s1, Team team) {
    const int64_t r0 = steps.row(s0);
    const Range share = team.share(steps.row(s1) - r0);
    return {r0 + share.begin, r0 + share.end};
  }

  // Of a plane: the sum of the biases of what is added up there.
  void add_biases(T* bias) const {
    clear(bias, width());
    const T *ih = static_cast<const T*>(l_.bias_ih), *hh = static_cast<const T*>(l_.bias_hh);
    for (int p = 0; ih && p < layout_.parts; p++)
      copy(bias + layout_.part[p].plane * l_.H, ih + layout_.part[p].gate * l_.H,
           layout_.part[p].planes * l_.H);
    for (int64_t j = 0; hh && j < gates(); j++) bias[layout_.recurrent * l_.H + j] += hh[j];
  }
  void pack_forward(const ForwardMemory& m, Team team) const {
    for (int p = 0; p < layout_.parts; p++) {
      const int64_t n = layout_.part[p].planes * l_.H;
      const Range columns = team.share(n, k_.gemm_columns);
      if (columns.size() > 0)
        k_.gemm_pack(l_.I, n, weight_ih() + layout_.part[p].gate * l_.H * l_.I, 1, l_.I, columns.begin,
                     columns.end, m.packed_ih[p]);
    }
    const Range columns = team.share(gates(), k_.gemm_columns);
    if (columns.size() > 0)
      k_.gemm_pack(l_.H, gates(), weight_hh(), 1, l_.H, columns.begin, columns.end, m.packed_hh);
  }
  void gather(const ForwardMemory& m, const Steps& steps, const T* x, Range share, int64_t r0) const {
    steps.each(share, [&](int64_t row, int64_t s, int64_t r) {
      copy(m.x + (row - r0) * l_.I, x + steps.place(s, r) * l_.I, l_.I);
    });
  }
  void input_product(const ForwardMemory& m, const Steps& steps, const T* x, Range share, int64_t r0,
                     T* rows) const {
    if (steps.gathered()) gather(m, steps, x, share, r0);
    for (int p = 0; p < layout_.parts; p++) {
      const CellPart& part = layout_.part[p];
      Gemm<T> g = {};
      g.M = share.size(), g.N = part.planes * l_.H, g.K = l_.I;
      g.a = steps.gathered() ? m.x + (share.begin - r0) * l_.I : x + share.begin * l_.I;
      g.a_row = l_.I, g.a_col = 1;
      g.packed = m.packed_ih[p];
      g.c = rows + (share.begin - r0) * width() + part.plane * l_.H, g.ldc = width();
      g.bias = m.bias + part.plane * l_.H;
      k_.gemm(g);
    }
    for (int64_t row = share.begin; layout_.bare >= 0 && row < share.end; row++)
      copy(rows + (row - r0) * width() + layout_.bare * l_.H, m.bias + layout_.bare * l_.H, l_.H);
  }
  void state_product(const T* packed, int64_t n, const T* h, T* rows) const {
    Gemm<T> g = {};
    g.M = n, g.N = gates(), g.K = l_.H;
    g.a = h, g.a_row = l_.H, g.a_col = 1;
    g.packed = packed;
    g.c = rows + layout_.recurrent * l_.H, g.ldc = width();
    g.accumulate = true;
    k_.gemm(g);
  }
  void step(const ForwardMemory& m, int64_t begin, int64_t n, T* row) const {
    cell_.forward({n, l_.H, row, width(), m.h + begin * l_.H, layout_.memory ? m.c + begin * l_.H : nullptr});
  }

  // A state (N, H) in the order of the walk from one in the caller's, and back.
  void start(T* state, const T* from, const Steps& steps, Range mine) const {
    for (int64_t r = mine.begin; r < mine.end; r++)
      from ? copy(state + r * l_.H, from + steps.sample(r) * l_.H, l_.H) : clear(state + r * l_.H, l_.H);
  }
  void finish(T* to, const T* state, const Steps& steps, Range mine) const {
    for (int64_t r = mine.begin; r < mine.end; r++) copy(to + steps.sample(r) * l_.H, state + r * l_.H, l_.H);
  }
  void put(T* all, int64_t stride, const T* state, const Steps& steps, int64_t s, int64_t begin,
           int64_t n) const {
    if (!steps.gathered() && stride == l_.H) {
      copy(all + (s * l_.N + begin) * l_.H, state + begin * l_.H, n * l_.H);
      return;
    }
    for (int64_t r = begin; r < begin + n; r++)
      copy(all + steps.place(s, r) * stride, state + r * l_.H, l_.H);
  }
  void add(T* dh, const T* dy, const Steps& steps, int64_t s, int64_t begin, int64_t n) const {
    if (!steps.gathered() && y_stride() == l_.H) {
      k_.add_scaled(n * l_.H, dh, dy + (s * l_.N + begin) * l_.H, 1, dh);
      return;
    }
    for (int64_t r = 0; r < n; r++)
      k_.add_scaled(l_.H, dh + r * l_.H, dy + steps.place(s, begin + r) * y_stride(), 1, dh + r * l_.H);
  }

  void weight_gradients(const BackwardMemory& m, const Steps& steps, const T* x, int64_t r0, int64_t r1,
                        const gm_recurrent_gradients& g, bool accumulate, Team team) const {
    // C (rows of a weight, columns) from planes of drow and b, and the sums of those planes.
    auto product = [&](int plane, int planes, const T* b, int64_t columns, T* dweight, T* dbias) {
      const Range share = team.share(planes * l_.H, 16);
      if (share.size() <= 0) return;
      const T* const a = m.drow + plane * l_.H + share.begin;
      if (dweight) {
        Gemm<T> p = {};
        p.M = share.size(), p.N = columns, p.K = r1 - r0;
        p.a = a, p.a_row = 1, p.a_col = m.ldd;
        p.b = b, p.b_row = columns, p.b_col = 1;
        p.c = dweight + share.begin * columns, p.ldc = columns;
        p.accumulate = accumulate;
        k_.gemm(p);
      }
      if (dbias) k_.column_sum(r1 - r0, share.size(), a, m.ldd, dbias + share.begin, accumulate);
    };
    T *const dw = static_cast<T*>(g.dweight_ih), *const db = static_cast<T*>(g.dbias_ih);
    for (int p = 0; p < layout_.parts; p++) {
      const CellPart& part = layout_.part[p];
      product(part.plane, part.planes, steps.gathered() ? m.again.x : x + r0 * l_.I, l_.I,
              dw ? dw + part.gate * l_.H * l_.I : nullptr, db ? db + part.gate * l_.H : nullptr);
    }
    product(layout_.recurrent, layout_.gates, m.h_old, l_.H, static_cast<T*>(g.dweight_hh),
            static_cast<T*>(g.dbias_hh));
  }
  void input_gradient(const BackwardMemory& m, const Steps& steps, Range share, int64_t r0, T* dx) const {
    T* const to = steps.gathered() ? m.dx + (share.begin - r0) * l_.I : dx + share.begin * l_.I;
    for (int p = 0; p < layout_.parts; p++) {
      const CellPart& part = layout_.part[p];
      Gemm<T> g = {};
      g.M = share.size(), g.N = l_.I, g.K = part.planes * l_.H;
      g.a = m.drow + (share.begin - r0) * m.ldd + part.plane * l_.H, g.a_row = m.ldd, g.a_col = 1;
      g.b = weight_ih() + part.gate * l_.H * l_.I, g.b_row = l_.I, g.b_col = 1;
      g.c = to, g.ldc = l_.I;
      g.accumulate = p > 0;
      k_.gemm(g);
    }
    if (steps.gathered())
      steps.each(share, [&](int64_t row, int64_t s, int64_t r) {
        copy(dx + steps.place(s, r) * l_.I, m.dx + (row - r0) * l_.I, l_.I);
      });
  }

  const Kernels<T>& k_;
  const CellKernels<T>& cell_;
  const CellLayout& layout_;
  const gm_recurrent& l_;
};

}  // namespace gradiometer
