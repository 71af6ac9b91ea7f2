// A recurrent layer's walk through time, over the kernels of one table. Contract: gm_recurrent_* in
// gradiometer.h.
//
// Rows: all steps of all samples, a step's running samples side by side in the caller's order. Forwards,
// without lengths and with time first they are the rows of x; else x is gathered into that order where one
// product takes many steps. Which row is whose does not depend on how samples are shared.
//
// Time goes in segments. Forward: pre-activations of a segment from x by one product, then step by step the
// product with the state and the cell, which leaves what backward reads in the same row. Backward: step by
// step, then the gradients by weights and x of the segment by one product each. A member of the team takes
// some samples through all steps of a segment without waiting, or, where the state's weights are much to read
// for few samples, some units of all samples, and the team meets at every step. A layer norm takes all units
// of a sample at a time: there it is always samples.
//
// `forward` and `backward` begin a parallel region of their own. Whoever owns one already (a network) takes
// the pieces: `pass` carves what it needs out of memory of `pass_bytes`, then `prepare` by all members
// together, barrier, `forward_samples` and `backward_samples` for ranges of samples in any division, barrier,
// `weight_gradients` for ranges of units in any division.
#pragma once
#include <string.h>

#include "cancel.hpp"
#include "dispatch.hpp"
#include "gradiometer/gradiometer.h"
#include "loops/parallel.hpp"
#include "memory.hpp"

// The weights of forward in the layout of the table that made it and multiplies with it, and the biases.
struct gm_recurrent_packed {
  const gradiometer::KernelTable* table;
  gm_dtype dtype;
  gm_cell cell;
  int64_t I, H, P;
  void* data;
};

namespace gradiometer {

// Planes of a row of H values each. W x goes to the planes of `part`, from weight rows `gate` H on; the
// product of weight_hh with the state is added to those of `state`, the second, of r h, when r is known. A
// plane that W x does not reach starts with its bias.
struct CellPart {
  int plane, gate, planes;
};
struct CellLayout {
  int gates, width, derivatives;
  bool memory, passes;      // c; the old h reaches the new one without a weight
  int bare, parts, states;  // bare: the plane that W x does not reach, or -1
  CellPart part[2], state[2];
  bool norms = false;  // W x and U h are each normalised, so that the second is added to nothing
};
inline const CellLayout& layout_of(gm_cell cell) {
  static constexpr CellLayout lstm = {4, 5, 4, true, false, -1, 1, 1, {{0, 0, 4}, {}}, {{0, 0, 4}, {}}};
  static constexpr CellLayout lstm_norm = {
      4, 10, 8, true, false, -1, 1, 1, {{0, 0, 4}, {}}, {{4, 0, 4}, {}}, true};
  static constexpr CellLayout gru = {3, 4, 4, false, true, 3, 2, 1, {{0, 2, 1}, {1, 0, 2}}, {{1, 0, 3}, {}}};
  static constexpr CellLayout reset_before = {3,  3, 3, false,           true,
                                              -1, 1, 2, {{0, 0, 3}, {}}, {{0, 0, 2}, {2, 2, 1}}};
  static constexpr CellLayout rnn = {1, 1, 1, false, false, -1, 1, 1, {{0, 0, 1}, {}}, {{0, 0, 1}, {}}};
  switch (cell) {
    case GM_LSTM:
      return lstm;
    case GM_LSTM_NORM:
      return lstm_norm;
    case GM_GRU:
      return gru;
    case GM_GRU_RESET_BEFORE:
      return reset_before;
    default:
      return rnn;
  }
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
  bool reverse, batch_first;
  int64_t* first = nullptr;  // (T + 1), the first row of a step, where there are lengths

  Steps(const gm_recurrent& l, Carver& carver)
      : T(l.T), N(l.N), lengths(l.lengths), reverse(l.reverse != 0), batch_first(l.batch_first && l.N > 1) {
    if (lengths) first = carver.take<int64_t>(T + 1);
  }
  void count() const {
    if (!lengths) return;
    for (int64_t t = 0; t <= T; t++) first[t] = 0;
    for (int64_t n = 0; n < N; n++) first[lengths[n]]++;
    int64_t running = N - first[0];
    first[0] = 0;
    for (int64_t s = 0; s < T; s++) {
      const int64_t ended = first[s + 1];
      first[s + 1] = first[s] + running;
      running -= ended;
    }
  }
  // Whether the rows are those of x.
  bool in_place() const { return !lengths && !reverse && !batch_first; }
  int64_t length(int64_t n) const { return lengths ? lengths[n] : T; }
  int64_t row(int64_t s) const { return first ? first[s] : s * N; }
  int64_t running(int64_t s) const { return first && s >= 0 ? first[s + 1] - first[s] : N; }
  int64_t place_of(int64_t t, int64_t n) const { return batch_first ? n * T + t : t * N + n; }
  // Place among the rows of x, and from one sample to the next, where there are no lengths.
  int64_t place(int64_t s, int64_t n) const { return place_of(reverse ? length(n) - 1 - s : s, n); }
  int64_t stride() const { return batch_first ? T : 1; }

  // f(row, s, n) for some rows.
  template <class F>
  void each(Range rows, F f) const {
    if (rows.size() <= 0) return;
    int64_t s = 0;
    for (int64_t after = T; after - s > 1;) {
      const int64_t middle = s + (after - s) / 2;
      (row(middle) <= rows.begin ? s : after) = middle;
    }
    int64_t at = rows.begin, skip = at - row(s);
    for (; at < rows.end; s++)
      for (int64_t n = 0; n < N && at < rows.end; n++)
        if (length(n) > s && skip-- <= 0) f(at++, s, n);
  }
  // f(place) for what lies beyond the length of some samples.
  template <class F>
  void each_beyond(Range samples, F f) const {
    for (int64_t n = samples.begin; lengths && n < samples.end; n++)
      for (int64_t t = lengths[n]; t < T; t++) f(place_of(t, n));
  }
  // Samples whose steps add up to a member's share.
  Range share(Team team) const {
    if (!lengths) return team.share(N);
    const int64_t all = row(T);
    Range range = {N, N};
    for (int64_t n = 0, sum = 0; n < N; sum += lengths[n], n++) {
      if (range.begin == N && sum * team.size >= all * team.rank) range.begin = n;
      if (sum * team.size >= all * (team.rank + 1) && team.rank + 1 < team.size) {
        range.end = n;
        break;
      }
    }
    if (range.begin > range.end) range.begin = range.end;
    return range;
  }
};

// The samples of a range that run at a step, in order, side by side in the rows of a state.
class Runners {
 public:
  // At step -1, where all are there, or T, where none is. list: room for the samples if they have lengths.
  Runners(const Steps& steps, Range samples, int64_t* list, int64_t at)
      : steps_(steps), samples_(samples), list_(list), at_(at), n_(0), before_(samples.begin) {
    if (at < 0) n_ = samples.size();
    for (int64_t i = 0; steps.lengths && i < n_; i++) list_[i] = samples.begin + i;
  }
  int64_t count() const { return n_; }
  int64_t operator[](int64_t i) const { return steps_.lengths ? list_[i] : samples_.begin + i; }
  int64_t first() const { return samples_.begin; }
  // The first one's row among a step's.
  int64_t before() const { return before_; }
  // On to step s: leave(sample, row) for who has ended, move(to, from) for who closes up. Rows of a state go
  // up in order.
  template <class Leave, class Move>
  void on_to(int64_t s, Leave leave, Move move) {
    const bool same = steps_.running(s) == steps_.running(at_);
    at_ = s;
    if (same) return;
    int64_t kept = 0;
    for (int64_t i = 0; i < n_; i++) {
      if (steps_.length(list_[i]) <= s) {
        leave(list_[i], i);
        continue;
      }
      if (kept < i) move(kept, i);
      list_[kept++] = list_[i];
    }
    n_ = kept;
    count_before(s);
  }
  // Back to step s: join(sample, row) for who has ended with it, move(to, from) for who makes room. Rows of a
  // state go down in order.
  template <class Join, class Move>
  void back_to(int64_t s, Join join, Move move) {
    const int64_t was = at_;
    at_ = s;
    if (was < steps_.T && steps_.running(s) == steps_.running(was)) return;
    int64_t to = 0, from = n_;
    for (int64_t n = samples_.begin; n < samples_.end; n++) to += steps_.length(n) > s;
    n_ = to;
    for (int64_t n = samples_.end - 1; to > from; n--) {
      if (steps_.length(n) <= s) continue;
      to--;
      if (steps_.lengths) list_[to] = n;
      if (steps_.length(n) > was)
        move(to, --from);
      else
        join(n, to);
    }
    count_before(s);
  }

 private:
  void count_before(int64_t s) {
    before_ = 0;
    for (int64_t n = 0; n < samples_.begin; n++) before_ += steps_.length(n) > s;
  }
  const Steps& steps_;
  Range samples_;
  int64_t *list_, at_, n_, before_;
};

// What a member of the team takes of every step: some samples, all units of them, without waiting; or some
// units of all samples, which meet at every step.
struct Part {
  Range samples, units;
};

// Where a call ends that its caller cancels: before a step that members who meet at every step all reach, or
// have all passed.
class Stop {
 public:
  explicit Stop(const gm_recurrent& l) : cancel_(l.cancel, l.cancel_data, nullptr) {}
  // Whether step k of the walk is not to be taken; it costs so much.
  bool before(int64_t k, Team team, double flops) {
    if (cancel_.poll(team, flops) && team.rank == 0 && end_ > k + 1)
      __atomic_store_n(&end_, k + 1, __ATOMIC_RELAXED);
    return k >= __atomic_load_n(&end_, __ATOMIC_RELAXED);
  }
  // f(range) in panels, each of which costs `flops` an item; the next step is then the last.
  template <class F>
  void panels(Team team, Range range, int64_t least, double flops, F f) {
    const double fits = kFlopsPerPanel / flops;
    const int64_t step = fits > static_cast<double>(range.size()) ? range.size()
                         : fits > static_cast<double>(least)      ? static_cast<int64_t>(fits) / least * least
                                                                  : least;
    for (int64_t i = range.begin; i < range.end; i += step) {
      if (cancel_.poll(team, flops * static_cast<double>(step))) return;
      f(Range{i, i + step < range.end ? i + step : range.end});
    }
  }
  bool asked() const { return cancel_.stopped(); }

 private:
  Cancel cancel_;
  int64_t end_ = INT64_MAX;
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
  struct Weights;
  struct ForwardMemory;
  struct BackwardMemory;

 public:
  Recurrent(const KernelTable& table, const gm_recurrent& layer)
      : k_(of<T>(table)), cell_(k_.cells.at[layer.cell]), layout_(layout_of(layer.cell)), l_(layer) {}

  int64_t cache_size() const {
    return l_.recompute ? (layout_.memory ? (l_.T + l_.recompute - 1) / l_.recompute * l_.N * l_.H : 0)
                        : l_.T * l_.N * width();
  }
  int64_t packed_bytes() const {
    Carver carver(nullptr);
    Weights(*this, carver);
    return carver.bytes();
  }
  void pack(int members, void* memory) const {
    Carver carver(memory);
    const Weights w(*this, carver);
    add_biases(w);
    parallel_apart(members, [&](Team team) { pack_forward(w, team); });
  }
  int64_t forward_bytes() const {
    Carver kept(nullptr), thrown(nullptr);
    Steps(l_, kept), Steps(l_, thrown);
    ForwardMemory(*this, kept, 0, segment(false));
    ForwardMemory(*this, thrown, segment(true), segment(true));
    return kept.bytes() > thrown.bytes() ? kept.bytes() : thrown.bytes();
  }
  int64_t backward_bytes() const {
    Carver carver(nullptr);
    Steps steps(l_, carver);
    BackwardMemory(*this, carver, segment(false), false);
    return carver.bytes();
  }

  // False where the caller cancelled it.
  bool forward(int members, const T* x, const T* h0, const T* c0, T* y, T* h_n, T* c_n, T* cache,
               void* workspace) {
    const bool kept = cache && !l_.recompute;
    const int64_t L = kept ? steps_or_1() : segment(true);
    Carver carver(workspace);
    Steps steps(l_, carver);
    steps.count();
    const ForwardMemory m(*this, carver, kept ? 0 : L, L);
    if (!l_.packed) add_biases(m);
    Stop stop(l_);
    parallel(members, patience_for(flops()), [&](Team team) {
      const Part mine = part(steps, team);
      const bool meets = mine.units.size() < l_.H, stepwise = takes_steps(team, meets);
      // Members who do not wait are in different segments, where lengths put their rows in one place.
      const bool own_rows = stepwise && !kept;
      if (!l_.packed) pack_forward(m, team);
      Runners runners = start(m, steps, mine, h0, c0);
      for (int64_t s0 = 0; s0 < l_.T; s0 += L) {
        const int64_t s1 = s0 + L < l_.T ? s0 + L : l_.T, r0 = steps.row(s0);
        T* const rows = kept ? cache + r0 * width() : m.rows;
        if (!stepwise || s0 == 0) team.barrier();
        if (!stepwise) input_product_together(m, steps, x, s0, s1, rows, mine, team, stop);
        for (int64_t s = s0; s < s1; s++) {
          if (stop.before(s, team, step_flops(mine))) break;
          go_on(m, runners, mine, s, h_n, c_n);
          if (s == s0 && cache && l_.recompute && layout_.memory)
            for (int64_t i = 0; i < runners.count(); i++)
              set(cache, s0 / L * l_.N + runners.before() + i, m.c, mine.samples.begin + i, mine.units);
          T* const row = rows + (own_rows ? mine.samples.begin : steps.row(s) + runners.before() - r0) * m.ld;
          if (stepwise) input_product(m, steps, runners, s, x, row);
          if (meets)
            step_together(m, steps, runners, mine, s, row, y, team);
          else
            step(m, steps, runners, mine, s, row, y);
        }
      }
      end(m, steps, runners, mine, h_n, c_n, y);
    });
    return !stop.asked();
  }

  bool backward(int members, const T* x, const T* h0, const T* y, const T* cache,
                const gm_recurrent_gradients& g, void* workspace) {
    const int64_t L = segment(false), segments = (steps_or_1() + L - 1) / L;
    Carver carver(workspace);
    Steps steps(l_, carver);
    steps.count();
    const BackwardMemory m(*this, carver, L, false);
    if (l_.recompute && !l_.packed) add_biases(m.again);
    if (!l_.recompute) take_norm(m.norm);
    Stop stop(l_);
    parallel(members, patience_for(2 * flops()), [&](Team team) {
      const Part mine = part(steps, team);
      const bool meets = mine.units.size() < l_.H, stepwise = takes_steps(team, meets);
      const StepsMemory seen = steps_memory(g, L);
      clear_norm(m, mine);
      if (l_.recompute && !l_.packed) pack_forward(m.again, team);
      pack_backward(m, team, g.dx != nullptr);
      Runners runners(steps, mine.samples, m.runners + mine.samples.begin, l_.T);
      for (int64_t i = segments - 1; i >= 0; i--) {
        const int64_t s0 = i * L, s1 = s0 + L < l_.T ? s0 + L : l_.T, r0 = steps.row(s0), r1 = steps.row(s1);
        team.barrier();
        const Range share = rows_of(steps, s0, s1, team);
        steps.each(share, [&](int64_t row, int64_t s, int64_t n) {
          copy_old(m.h_old + (row - r0) * outputs(), steps, s, n, h0, y);
        });
        if (l_.recompute) {
          stop.panels(team, share, 64, 2 * input_flops(), [&](Range r) {
            input_product(m.again, steps, x, r, r0, m.again.rows);
            state_products(m.again, r.size(), m.h_old + (r.begin - r0) * outputs(),
                           m.again.rows + (r.begin - r0) * m.again.ld, m.rh + (r.begin - r0) * l_.H);
          });
        } else if (!steps.in_place()) {
          gather(m.again, steps, x, share, r0);
        }
        team.barrier();
        const T* rows = cache + r0 * width();
        const int64_t ld = l_.recompute ? m.again.ld : width();
        if (l_.recompute) {
          if (!stop.asked()) step_again(m, steps, mine, s0, s1, cache + i * l_.N * l_.H);
          rows = m.again.rows;
        }
        for (int64_t s = s1 - 1; s >= s0; s--) {
          if (stop.before(l_.T - 1 - s, team, 2 * step_flops(mine))) break;
          const auto meet = [&](const CellPart& part) {
            if (!meets) return;
            team.barrier();
            fetch(l_.N, part.planes * l_.H, m.drow + (steps.row(s) - r0) * m.ldd + part.plane * l_.H, m.ldd);
          };
          make_room(m, seen, runners, mine, s, g);
          cells_back(m, seen, steps, runners, mine, s, r0, rows, ld, y, g);
          if (resets()) {
            meet(layout_.state[1]);
            reset_back(m, steps, runners, mine, s, r0, rows, ld);
          }
          meet(layout_.state[0]);
          state_gradient(m, steps, runners, mine, s, r0, 0, m.dh);
          if (g.dx && stepwise) input_gradient(m, steps, runners, s, r0, static_cast<T*>(g.dx));
        }
        team.barrier();
        stop.panels(team, team.share(gates(), 16), 8, weight_flops(r1 - r0), [&](Range out) {
          weight_gradients(m, steps, x, r0, r1, g, g.accumulate || i + 1 < segments, out);
        });
        if (l_.P)
          stop.panels(team, team.share(l_.H, k_.gemm_columns), k_.gemm_columns,
                      2.0 * static_cast<double>(r1 - r0) * static_cast<double>(l_.P), [&](Range units) {
                        projection_gradient(m, rows, ld, r1 - r0, g, g.accumulate || i + 1 < segments, units);
                      });
        if (i == 0) norm_gradients(m, g, g.accumulate != 0, team.share(l_.H));
        if (g.steps) sum_steps(seen, steps, team.share(l_.T), r0, r1, i + 1 == segments, *g.steps);
        if (g.dx && !stepwise)
          stop.panels(team, share, 64, input_flops(),
                      [&](Range r) { input_gradient(m, steps, r, r0, static_cast<T*>(g.dx)); });
      }
      end_back(m, seen, steps, runners, mine, g);
    });
    return !stop.asked();
  }

  // One step at a time of N samples, in memory of stepper_bytes that keeps the packed weights.
  int64_t stepper_bytes() const {
    Carver carver(nullptr);
    ForwardMemory(*this, carver, 1, 0);
    return carver.bytes();
  }
  void pack_steps(void* memory) const {
    Carver carver(memory);
    const ForwardMemory m(*this, carver, 1, 0);
    add_biases(m);
    pack_forward(m, {0, 1, nullptr});
  }
  // h and c: the old state, overwritten by the new.
  void step(void* memory, const T* x, T* h, T* c) const {
    Carver carver(memory);
    const ForwardMemory m(*this, carver, 1, 0);
    input_product(m, l_.N, x, l_.I, m.rows);
    state_products(m, l_.N, h, m.rows, m.rh);
    cell_.forward({l_.N, l_.H, l_.H, m.rows, m.ld, l_.P ? m.hidden : h, c, m.norm});
    if (l_.P) project(m, l_.N, m.hidden, h);
  }

  // One pass for the owner of a parallel region. y and dy have rows y_stride apart; recompute is not looked
  // at. The memory is a pass's own from `prepare` to its last call.
  struct Pass {
    Steps steps;
    BackwardMemory m;
  };
  int64_t pass_bytes(bool training) const {
    Carver carver(nullptr);
    Steps steps(l_, carver);
    BackwardMemory(*this, carver, training ? steps_or_1() : 1, true);
    return carver.bytes();
  }
  Pass pass(void* memory, bool training) const {
    Carver carver(memory);
    const Steps steps(l_, carver);
    return {steps, BackwardMemory(*this, carver, training ? steps_or_1() : 1, true)};
  }
  // By the whole team; a barrier follows.
  void prepare(const Pass& p, Team team, bool backward_follows) const {
    if (team.rank == 0) {
      p.steps.count();
      add_biases(p.m.again);
    }
    pack_forward(p.m.again, team);
    if (backward_follows) pack_backward(p.m, team, true);
  }
  // h0, c0 may be null for 0; h_n, c_n where they are not wanted.
  void forward_samples(const Pass& p, Range samples, const T* x, const T* h0, const T* c0, T* y, T* h_n,
                       T* c_n) const {
    const ForwardMemory& m = p.m.again;
    const Part mine = {samples, all_units()};
    Runners runners = start(m, p.steps, mine, h0, c0);
    for (int64_t s = 0; s < l_.T; s++) {
      go_on(m, runners, mine, s, h_n, c_n);
      T* const row = m.rows + (p.m.steps > 1 ? p.steps.row(s) + runners.before() : samples.begin) * m.ld;
      input_product(m, p.steps, runners, s, x, row);
      step(m, p.steps, runners, mine, s, row, y);
    }
    end(m, p.steps, runners, mine, h_n, c_n, y);
  }
  // After forward_samples of these samples, whose rows it overwrites. Of g, all but the gradients by weights
  // and biases; g.steps needs a workspace of steps_bytes and, after all samples, finish_steps.
  void backward_samples(const Pass& p, Range samples, const T* x, const T* h0, const T* y,
                        const gm_recurrent_gradients& g) const {
    const BackwardMemory& m = p.m;
    const Part mine = {samples, all_units()};
    const StepsMemory seen = steps_memory(g, m.steps);
    clear_norm(m, mine);
    Runners runners(p.steps, samples, m.runners + samples.begin, l_.T);
    for (int64_t s = l_.T - 1; s >= 0; s--) {
      make_room(m, seen, runners, mine, s, g);
      const int64_t at = p.steps.row(s) + runners.before();
      for (int64_t i = 0; i < runners.count(); i++) {
        copy_old(m.h_old + (at + i) * outputs(), p.steps, s, runners[i], h0, y);
        if (!p.steps.in_place())
          copy(m.again.x + (at + i) * l_.I, x + p.steps.place(s, runners[i]) * l_.I, l_.I);
      }
      cells_back(m, seen, p.steps, runners, mine, s, 0, m.again.rows, m.again.ld, y, g);
      if (resets()) reset_back(m, p.steps, runners, mine, s, 0, m.again.rows, m.again.ld);
      state_gradient(m, p.steps, runners, mine, s, 0, 0, m.dh);
      if (g.dx) input_gradient(m, p.steps, runners, s, 0, static_cast<T*>(g.dx));
    }
    end_back(m, seen, p.steps, runners, mine, g);
  }
  // After backward_samples of all, for some of the H units: those rows of every gate. Of g, gradients by
  // weights and biases and `accumulate`.
  void weight_gradients(const Pass& p, Range units, const T* x, const gm_recurrent_gradients& g) const {
    for (int64_t gate = 0; gate < layout_.gates; gate++)
      weight_gradients(p.m, p.steps, x, 0, p.steps.row(l_.T), g, g.accumulate != 0,
                       {gate * l_.H + units.begin, gate * l_.H + units.end});
    projection_gradient(p.m, p.m.again.rows, p.m.again.ld, p.steps.row(l_.T), g, g.accumulate != 0, units);
    norm_gradients(p.m, g, g.accumulate != 0, units);
  }

  // The sums of some of the T entries.
  void finish_steps(const Pass& p, Range entries, const gm_recurrent_gradients& g) const {
    sum_steps(steps_memory(g, p.m.steps), p.steps, entries, 0, p.steps.row(l_.T), true, *g.steps);
  }
  int64_t steps_bytes(bool pass) const {
    Carver carver(nullptr);
    StepsMemory(*this, carver, pass ? steps_or_1() : segment(false));
    return carver.bytes();
  }

  void show(int members, const T* cache, T* gates_out, T* c, void* workspace) {
    Carver carver(workspace);
    Steps steps(l_, carver);
    steps.count();
    const Weights w = Weights::of(*this, carver);
    if (!l_.packed) take_norm(w.norm);
    parallel_apart(members, [&](Team team) {
      steps.each(rows_of(steps, 0, l_.T, team), [&](int64_t row, int64_t s, int64_t n) {
        const int64_t place = steps.place(s, n);
        cell_.show({1, l_.H, const_cast<T*>(cache) + row * width(), width(), gates_out + place * gates(),
                    c ? c + place * l_.H : nullptr, w.norm});
      });
      steps.each_beyond(steps.share(team), [&](int64_t place) {
        clear(gates_out + place * gates(), gates());
        if (c) clear(c + place * l_.H, l_.H);
      });
    });
  }

 private:
  struct Weights {
    T *bias, *norm, *packed_ih[2], *packed_hh[2], *packed_hr;
    Weights(const Recurrent& r, Carver& carver) {
      bias = carver.take<T>(r.width());
      norm = carver.take<T>(r.norm_size());
      for (int i = 0; i < r.layout_.parts; i++)
        packed_ih[i] = carver.take<T>(r.k_.gemm_packed_size(r.l_.I, r.layout_.part[i].planes * r.l_.H));
      for (int i = 0; i < r.layout_.states; i++)
        packed_hh[i] = carver.take<T>(r.k_.gemm_packed_size(r.outputs(), r.layout_.state[i].planes * r.l_.H));
      packed_hr = carver.take<T>(r.l_.P ? r.k_.gemm_packed_size(r.l_.H, r.l_.P) : 0);
    }
    Weights() = default;
    static Weights of(const Recurrent& r, Carver& carver) {
      if (!r.l_.packed) return Weights(r, carver);
      Carver given(r.l_.packed->data);
      return Weights(r, given);
    }
  };
  struct ForwardMemory : Weights {
    T *h, *c, *rh, *x, *rows, *hidden;  // hidden: what is projected to h
    int64_t ld;                         // from row to row
    int64_t* runners;
    // Rows of `own` steps, 0 where they are the caller's; x of L where it is gathered.
    ForwardMemory(const Recurrent& r, Carver& carver, int64_t own, int64_t L)
        : Weights(Weights::of(r, carver)) {
      const gm_recurrent& l = r.l_;
      h = carver.take<T>(l.N * r.outputs());
      c = carver.take<T>(r.layout_.memory ? l.N * l.H : 0);
      hidden = carver.take<T>(l.P ? l.N * l.H : 0);
      rh = carver.take<T>(r.resets() ? l.N * l.H : 0);
      x = carver.take<T>(r.gathers() ? L * l.N * l.I : 0);
      ld = own ? r.apart(r.width()) : r.width();
      rows = carver.take<T>(own * l.N * ld);
      runners = carver.take<int64_t>(l.N);
    }
    ForwardMemory() = default;
  };
  struct BackwardMemory {
    T *packed_ih[2], *packed_hh[2], *dh, *dc, *dc_total, *drh, *h_old, *rh, *drow, *dx;
    T *packed_hr, *dh_rows, *dhidden;  // of a projection; dh_rows: dh of every row
    // Of a cell with layer norm: its parameters, and the derivatives by them of each sample, those of the
    // last steps and of all before.
    T *norm, *scratch, *sums;
    double* totals;
    int64_t ldd, steps;
    int64_t* runners;
    ForwardMemory again;  // of a recomputed segment, or of a pass; x also where rows are not those of x
    // In a pass, drow lies where the rows do.
    BackwardMemory(const Recurrent& r, Carver& carver, int64_t L, bool pass) {
      const gm_recurrent& l = r.l_;
      steps = L;
      for (int i = 0; i < r.layout_.parts; i++)
        packed_ih[i] = r.packs_input()
                           ? carver.take<T>(r.k_.gemm_packed_size(r.layout_.part[i].planes * l.H, l.I))
                           : nullptr;
      for (int i = 0; i < r.layout_.states; i++)
        packed_hh[i] = carver.take<T>(r.k_.gemm_packed_size(r.layout_.state[i].planes * l.H, r.outputs()));
      packed_hr = carver.take<T>(l.P ? r.k_.gemm_packed_size(l.P, l.H) : 0);
      dh_rows = carver.take<T>(L * l.N * l.P);
      dhidden = carver.take<T>(l.P ? l.N * l.H : 0);
      dh = carver.take<T>(l.N * r.outputs());
      dc = carver.take<T>(r.layout_.memory ? l.N * l.H : 0);
      dc_total = carver.take<T>(r.layout_.memory ? l.N * l.H : 0);
      drh = carver.take<T>(r.resets() ? l.N * l.H : 0);
      h_old = carver.take<T>(L * l.N * r.outputs());
      rh = carver.take<T>(r.resets() ? L * l.N * l.H : 0);
      dx = carver.take<T>(r.gathers() ? L * l.N * l.I : 0);
      runners = carver.take<int64_t>(l.N);
      again = {};
      if (pass || l.recompute)
        again = ForwardMemory(r, carver, L, L);
      else
        again.x = carver.take<T>(r.gathers() ? L * l.N * l.I : 0);
      norm = pass || l.recompute ? again.norm : carver.take<T>(r.norm_size());
      scratch = carver.take<T>(r.layout_.norms ? l.N * kNormScratch * l.H : 0);
      sums = carver.take<T>(l.N * r.norm_size());
      totals = carver.take<double>(l.N * r.norm_size());
      ldd = pass ? again.ld : r.apart(r.layout_.derivatives * l.H);
      drow = pass ? again.rows : carver.take<T>(L * l.N * ldd);
    }
  };

  // What a measurement of steps needs: per row what was seen; own and path as in CellBackward, own before the
  // projection.
  struct StepsMemory {
    double* seen = nullptr;
    T *own = nullptr, *path = nullptr, *own_hidden = nullptr;
    StepsMemory() = default;
    StepsMemory(const Recurrent& r, Carver& carver, int64_t L) {
      seen = carver.take<double>(L * r.l_.N * r.seen_of_row());
      own = carver.take<T>(r.l_.N * r.outputs());
      path = carver.take<T>(r.l_.N * r.l_.H);
      own_hidden = carver.take<T>(r.l_.P ? r.l_.N * r.l_.H : 0);
    }
  };
  StepsMemory steps_memory(const gm_recurrent_gradients& g, int64_t L) const {
    if (!g.steps) return {};
    Carver carver(g.steps->workspace);
    return StepsMemory(*this, carver, L);
  }
  // Sums are by blocks of units that no two members share.
  int64_t seen_units() const { return shares_units() ? kUnits : l_.H; }
  int64_t seen_of_block() const { return kSeen + 3 * layout_.gates; }
  int64_t seen_of_row() const { return l_.H / seen_units() * seen_of_block(); }

  // Of h. Where it is a projection, a row of the cache has what is projected in a plane after the cell's.
  int64_t outputs() const { return l_.P ? l_.P : l_.H; }
  int64_t width() const {
    return (layout_.width + (l_.P ? 1 : 0)) * l_.H +
           (layout_.norms ? kNormStatistics * static_cast<int64_t>(sizeof(double) / sizeof(T)) : 0);
  }
  int64_t norm_size() const { return layout_.norms ? kNormPlanes * l_.H : 0; }
  int64_t gates() const { return layout_.gates * l_.H; }
  bool resets() const { return layout_.states > 1; }
  double input_flops() const { return 2.0 * static_cast<double>(gates()) * static_cast<double>(l_.I); }
  double step_flops(const Part& mine) const {
    return static_cast<double>(mine.samples.size()) * static_cast<double>(mine.units.size()) * 2.0 *
           (layout_.gates * static_cast<double>(l_.I + outputs()) + static_cast<double>(l_.P));
  }
  // Of a forward pass.
  double flops() const { return static_cast<double>(l_.T) * step_flops({{0, l_.N}, all_units()}); }
  double weight_flops(int64_t rows) const {
    return 2.0 * static_cast<double>(rows) * static_cast<double>(l_.I + l_.H);
  }
  int64_t y_stride() const { return l_.y_stride ? l_.y_stride : outputs(); }
  int64_t steps_or_1() const { return l_.T > 0 ? l_.T : 1; }
  bool gathers() const { return l_.lengths || l_.reverse || (l_.batch_first && l_.N > 1); }
  // Rows 4 KiB apart would collide in the cache.
  static int64_t apart(int64_t ld) {
    return ld * static_cast<int64_t>(sizeof(T)) % 4096 ? ld : ld + kAlign / static_cast<int64_t>(sizeof(T));
  }
  const T* weight_ih() const { return static_cast<const T*>(l_.weight_ih); }
  const T* weight_hh() const { return static_cast<const T*>(l_.weight_hh); }
  const T* weight_hr() const { return static_cast<const T*>(l_.weight_hr); }
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

  double input_bytes() const {
    return static_cast<double>(gates()) * static_cast<double>(l_.I) * static_cast<double>(sizeof(T));
  }
  // Whether a member multiplies its own samples' x (and drow) step by step, while their rows are in its
  // cache, instead of sharing one product over a segment. Two threads, float32, AVX-512, 100 x 32 x 128:
  // forward 2.04 ms, shared 2.43; backward 4.14 and 4.48; 50 x 64 x 256 within 4 %. Few rows a step would
  // read all of W for little work: with half-width AVX-512 and one thread the product with x of 50 x 16 x
  // 1024 runs at 84 GF/s, shared at 90.
  bool takes_steps(Team team, bool meets) const {
    return !meets && l_.N >= (input_bytes() < (2 << 20) ? 8 : 64) * team.size;
  }
  // Whether backward packs W for dx. The same machine: dx of 50 x 16 x 1024, whose rows of W collide, step by
  // step 160 ms, shared and packed 64; 25 x 64 x 512 32.4 and 30.6; level at 50 x 64 x 256.
  bool packs_input() const { return input_bytes() >= (1 << 20) && steps_or_1() * l_.N >= 128; }
  Range all_units() const { return {0, l_.H}; }
  Part part(const Steps& steps, Team team) const {
    return meets(team) ? Part{{0, l_.N}, team.share(l_.H, kUnits)} : Part{steps.share(team), all_units()};
  }
  // Whether the members share units instead of samples: each then reads its share of the state's weights
  // alone. LSTM training, float32, AVX-512, two threads, by samples and by units: 100 x 1 x 256 2.09 ms and
  // 1.22, 100 x 4 x 512 17.4 and 12.7, 14 x 16 x 1024 60 and 31, 8 x 64 x 1024 80 and 65; level at 100 x 16 x
  // 256 and 29 x 32 x 512, slower at 100 x 8 x 128 (1.47 and 1.59).
  static constexpr int64_t kUnits = 64;  // a multiple of gemm_columns
  bool shares_units() const {
    return !l_.lengths && !l_.P && !layout_.norms && l_.H % kUnits == 0 && kUnits % k_.gemm_columns == 0;
  }
  bool meets(Team team) const {
    const int64_t bytes = gates() * l_.H * static_cast<int64_t>(sizeof(T));
    return team.size > 1 && l_.H > kUnits && shares_units() &&
           (bytes >= (8 << 20) || (bytes >= (512 << 10) && l_.N <= 8 * team.size) ||
            (bytes >= (128 << 10) && l_.N < team.size));
  }
  static Range rows_of(const Steps& steps, int64_t s0, int64_t s1, Team team) {
    const int64_t r0 = steps.row(s0);
    const Range share = team.share(steps.row(s1) - r0);
    return {r0 + share.begin, r0 + share.end};
  }

  // Of a plane: the sum of the biases of what is added up there.
  void add_biases(const Weights& w) const {
    if (layout_.norms) return take_norm(w.norm);
    T* const bias = w.bias;
    clear(bias, width());
    const T *ih = static_cast<const T*>(l_.bias_ih), *hh = static_cast<const T*>(l_.bias_hh);
    for (int p = 0; ih && p < layout_.parts; p++)
      copy(bias + layout_.part[p].plane * l_.H, ih + layout_.part[p].gate * l_.H,
           layout_.part[p].planes * l_.H);
    for (int p = 0; hh && p < layout_.states; p++) {
      const CellPart& part = layout_.state[p];
      for (int64_t j = 0; j < part.planes * l_.H; j++)
        bias[part.plane * l_.H + j] += hh[part.gate * l_.H + j];
    }
  }
  void take_norm(T* norm) const {
    if (!layout_.norms) return;
    const int64_t H = l_.H;
    const auto fill = [&](int plane, int planes, const void* from, T other) {
      T* const to = norm + plane * H;
      for (int64_t j = 0; j < planes * H; j++) to[j] = from ? static_cast<const T*>(from)[j] : other;
    };
    fill(kNormBias, 4, l_.bias_ih, T(0));
    for (int64_t j = 0; l_.bias_hh && j < 4 * H; j++)
      norm[kNormBias * H + j] += static_cast<const T*>(l_.bias_hh)[j];
    fill(kNormX, 4, l_.norm_weight_ih, T(1));
    fill(kNormH, 4, l_.norm_weight_hh, T(1));
    fill(kNormC, 1, l_.norm_weight_c, T(1));
    fill(kNormShift, 1, l_.norm_bias_c, T(0));
  }
  void pack_forward(const Weights& w, Team team) const {
    const auto pack = [&](const CellPart& part, const T* weight, int64_t inputs, T* packed) {
      const int64_t n = part.planes * l_.H;
      const Range columns = team.share(n, k_.gemm_columns);
      if (columns.size() > 0)
        k_.gemm_pack(inputs, n, weight + part.gate * l_.H * inputs, 1, inputs, columns.begin, columns.end,
                     packed);
    };
    for (int p = 0; p < layout_.parts; p++) pack(layout_.part[p], weight_ih(), l_.I, w.packed_ih[p]);
    for (int p = 0; p < layout_.states; p++) pack(layout_.state[p], weight_hh(), outputs(), w.packed_hh[p]);
    const Range projected = team.share(l_.P, k_.gemm_columns);
    if (projected.size() > 0)
      k_.gemm_pack(l_.H, l_.P, weight_hr(), 1, l_.H, projected.begin, projected.end, w.packed_hr);
  }
  void pack_backward(const BackwardMemory& m, Team team, bool dx) const {
    const auto pack = [&](const CellPart& part, const T* weight, int64_t inputs, T* packed) {
      const Range columns = team.share(inputs, k_.gemm_columns);
      if (columns.size() > 0)
        k_.gemm_pack(part.planes * l_.H, inputs, weight + part.gate * l_.H * inputs, inputs, 1, columns.begin,
                     columns.end, packed);
    };
    for (int p = 0; p < layout_.parts && dx && packs_input(); p++)
      pack(layout_.part[p], weight_ih(), l_.I, m.packed_ih[p]);
    for (int p = 0; p < layout_.states; p++) pack(layout_.state[p], weight_hh(), outputs(), m.packed_hh[p]);
    const Range units = team.share(l_.H, k_.gemm_columns);
    if (l_.P && units.size() > 0)
      k_.gemm_pack(l_.P, l_.H, weight_hr(), l_.H, 1, units.begin, units.end, m.packed_hr);
  }
  void gather(const ForwardMemory& m, const Steps& steps, const T* x, Range share, int64_t r0) const {
    steps.each(share, [&](int64_t row, int64_t s, int64_t n) {
      copy(m.x + (row - r0) * l_.I, x + steps.place(s, n) * l_.I, l_.I);
    });
  }
  // Pre-activations of rows from x: of any rows, and of the samples that run at a step.
  void input_product(const ForwardMemory& m, const Steps& steps, const T* x, Range share, int64_t r0,
                     T* rows) const {
    if (!steps.in_place()) gather(m, steps, x, share, r0);
    const T* const from = steps.in_place() ? x + share.begin * l_.I : m.x + (share.begin - r0) * l_.I;
    input_product(m, share.size(), from, l_.I, rows + (share.begin - r0) * m.ld);
  }
  // Of a segment by the whole team, which divides the weights where it divides units (25 x 1 x 512 has 12
  // rows for each of two members).
  void input_product_together(const ForwardMemory& m, const Steps& steps, const T* x, int64_t s0, int64_t s1,
                              T* rows, const Part& mine, Team team, Stop& stop) const {
    const int64_t r0 = steps.row(s0);
    const Range share = rows_of(steps, s0, s1, team);
    if (mine.units.size() == l_.H) {
      stop.panels(team, share, 64, input_flops(), [&](Range r) { input_product(m, steps, x, r, r0, rows); });
      team.barrier();
      return;
    }
    if (!steps.in_place()) {
      gather(m, steps, x, share, r0);
      team.barrier();
    }
    const T* const from = steps.in_place() ? x + r0 * l_.I : m.x;
    stop.panels(team, {0, steps.row(s1) - r0}, 64, input_flops(), [&](Range r) {
      input_product(m, r.size(), from + r.begin * l_.I, l_.I, rows + r.begin * m.ld, mine.units);
    });
  }
  void input_product(const ForwardMemory& m, const Steps& steps, const Runners& runners, int64_t s,
                     const T* x, T* row) const {
    if (runners.count() == 0) return;
    if (!steps.lengths)
      return input_product(m, runners.count(), x + steps.place(s, runners[0]) * l_.I, steps.stride() * l_.I,
                           row);
    T* const to = m.x + runners.first() * l_.I;
    for (int64_t i = 0; i < runners.count(); i++)
      copy(to + i * l_.I, x + steps.place(s, runners[i]) * l_.I, l_.I);
    input_product(m, runners.count(), to, l_.I, row);
  }
  void input_product(const ForwardMemory& m, int64_t n, const T* x, int64_t apart, T* row) const {
    input_product(m, n, x, apart, row, all_units());
  }
  void input_product(const ForwardMemory& m, int64_t n, const T* x, int64_t apart, T* row,
                     Range units) const {
    const bool whole = units.size() == l_.H;
    for (int p = 0; p < layout_.parts; p++) {
      const CellPart& part = layout_.part[p];
      const int64_t columns = part.planes * l_.H;
      Gemm<T> g = {};
      g.M = n, g.N = whole ? columns : units.size(), g.K = l_.I;
      g.a = x, g.a_row = apart, g.a_col = 1;
      g.ldc = m.ld;
      for (int64_t begin = units.begin; begin < columns; begin += whole ? columns : l_.H) {
        g.packed = m.packed_ih[p] + begin * l_.I;
        g.c = row + part.plane * l_.H + begin;
        g.bias = layout_.norms ? nullptr : m.bias + part.plane * l_.H + begin;
        k_.gemm(g);
      }
    }
    if (layout_.norms) cell_.enter({n, l_.H, row, m.ld});
    for (int64_t i = 0; layout_.bare >= 0 && i < n; i++)
      copy(row + i * m.ld + layout_.bare * l_.H + units.begin, m.bias + layout_.bare * l_.H + units.begin,
           units.size());
  }
  // Of some rows, with the state of all: the first product, r h where there is a second, and that.
  void state_products(const ForwardMemory& m, int64_t n, const T* h, T* rows, T* rh) const {
    state_product(m, 0, n, h, outputs(), all_units(), rows);
    if (!resets()) return;
    cell_.reset({n, l_.H, l_.H, rows, m.ld, h, rh});
    state_product(m, 1, n, rh, l_.H, all_units(), rows);
  }
  void state_product(const ForwardMemory& m, int of, int64_t n, const T* h, int64_t apart, Range units,
                     T* rows) const {
    const CellPart& part = layout_.state[of];
    const int64_t columns = part.planes * l_.H;
    const bool whole = units.size() == l_.H;
    Gemm<T> g = {};
    g.M = n, g.N = whole ? columns : units.size(), g.K = outputs();
    g.a = h, g.a_row = apart, g.a_col = 1;
    g.ldc = m.ld;
    g.accumulate = !layout_.norms;
    for (int64_t begin = units.begin; begin < columns; begin += whole ? columns : l_.H) {
      g.packed = m.packed_hh[of] + begin * outputs();
      g.c = rows + part.plane * l_.H + begin;
      k_.gemm(g);
    }
  }

  // h of some samples, and back: their derivative by what is projected.
  void project(const ForwardMemory& m, int64_t n, const T* hidden, T* h) const {
    Gemm<T> g = {};
    g.M = n, g.N = l_.P, g.K = l_.H;
    g.a = hidden, g.a_row = l_.H, g.a_col = 1;
    g.packed = m.packed_hr;
    g.c = h, g.ldc = l_.P;
    k_.gemm(g);
  }
  void project_back(const BackwardMemory& m, int64_t n, const T* dh, T* dhidden) const {
    Gemm<T> g = {};
    g.M = n, g.N = l_.H, g.K = l_.P;
    g.a = dh, g.a_row = l_.P, g.a_col = 1;
    g.packed = m.packed_hr;
    g.c = dhidden, g.ldc = l_.H;
    k_.gemm(g);
  }

  // h is (N, outputs), c (N, H); of a range of samples those that run lie side by side from its begin on.
  Runners start(const ForwardMemory& m, const Steps& steps, const Part& mine, const T* h0,
                const T* c0) const {
    for (int64_t n = mine.samples.begin; n < mine.samples.end; n++) {
      set_h(m.h, n, h0, n, mine.units);
      if (layout_.memory) set(m.c, n, c0, n, mine.units);
    }
    return Runners(steps, mine.samples, m.runners + mine.samples.begin, -1);
  }
  void go_on(const ForwardMemory& m, Runners& runners, const Part& mine, int64_t s, T* h_n, T* c_n) const {
    const int64_t first = mine.samples.begin;
    runners.on_to(
        s, [&](int64_t n, int64_t i) { leave(m, n, first + i, h_n, c_n, mine.units); },
        [&](int64_t to, int64_t from) {
          set_h(m.h, first + to, m.h, first + from, mine.units);
          if (layout_.memory) set(m.c, first + to, m.c, first + from, mine.units);
        });
  }
  void leave(const ForwardMemory& m, int64_t n, int64_t at, T* h_n, T* c_n, Range units) const {
    if (h_n) set_h(h_n, n, m.h, at, units);
    if (c_n) set(c_n, n, m.c, at, units);
  }
  void step(const ForwardMemory& m, const Steps& steps, const Runners& runners, const Part& mine, int64_t s,
            T* row, T* y) const {
    if (runners.count() == 0) return;
    T* const h = m.h + mine.samples.begin * outputs();
    state_products(m, runners.count(), h, row, m.rh + mine.samples.begin * l_.H);
    cells(m, runners, mine, row);
    if (l_.P) project(m, runners.count(), m.hidden + mine.samples.begin * l_.H, h);
    put(y, y_stride(), m.h, outputs(), steps, runners, mine, s);
  }
  // The others' old h is read from y, so that a member may write its new one into the state.
  void step_together(const ForwardMemory& m, const Steps& steps, const Runners& runners, const Part& mine,
                     int64_t s, T* row, T* y, Team team) const {
    if (s == 0) {
      state_product(m, 0, l_.N, m.h, l_.H, mine.units, row);
      team.barrier();
    } else {
      const T* const h = y + steps.place(s - 1, 0) * y_stride();
      fetch(l_.N, l_.H, h, steps.stride() * y_stride());
      state_product(m, 0, l_.N, h, steps.stride() * y_stride(), mine.units, row);
    }
    if (resets()) {
      const int64_t unit = mine.units.begin;
      cell_.reset({l_.N, l_.H, mine.units.size(), row + unit, m.ld, m.h + unit, m.rh + unit});
      team.barrier();
      fetch(l_.N, l_.H, m.rh, l_.H);
      state_product(m, 1, l_.N, m.rh, l_.H, mine.units, row);
    }
    cells(m, runners, mine, row);
    put(y, y_stride(), m.h, l_.H, steps, runners, mine, s);
    team.barrier();
  }
  // Few rows that others have just written, asked of their caches all at once.
  static void fetch(int64_t n, int64_t columns, const T* rows, int64_t apart) {
    constexpr int64_t kLine = 64 / static_cast<int64_t>(sizeof(T));
    for (int64_t i = 0; i < n && n <= 4; i++)
      for (int64_t j = 0; j < columns; j += kLine) __builtin_prefetch(rows + i * apart + j);
  }
  void cells(const ForwardMemory& m, const Runners& runners, const Part& mine, T* row) const {
    const int64_t at = mine.samples.begin * l_.H + mine.units.begin;
    cell_.forward({runners.count(), l_.H, mine.units.size(), row + mine.units.begin, m.ld,
                   (l_.P ? m.hidden : m.h) + at, layout_.memory ? m.c + at : nullptr, m.norm});
    for (int64_t i = 0; l_.P && i < runners.count(); i++)
      copy(row + i * m.ld + layout_.width * l_.H, m.hidden + at + i * l_.H, l_.H);
  }
  void end(const ForwardMemory& m, const Steps& steps, const Runners& runners, const Part& mine, T* h_n,
           T* c_n, T* y) const {
    for (int64_t i = 0; i < runners.count(); i++)
      leave(m, runners[i], mine.samples.begin + i, h_n, c_n, mine.units);
    steps.each_beyond(mine.samples, [&](int64_t place) { clear(y + place * y_stride(), outputs()); });
  }
  // A recomputed segment's cells, from c of its first step.
  void step_again(const BackwardMemory& m, const Steps& steps, const Part& mine, int64_t s0, int64_t s1,
                  const T* c) const {
    const int64_t first = mine.samples.begin;
    Runners runners(steps, mine.samples, m.again.runners + first, l_.T);
    if (s0 < s1)
      runners.back_to(
          s0, [](int64_t, int64_t) {}, [](int64_t, int64_t) {});
    for (int64_t i = 0; layout_.memory && i < runners.count(); i++)
      set(m.again.c, first + i, c, runners.before() + i, mine.units);
    for (int64_t s = s0; s < s1; s++) {
      runners.on_to(
          s, [](int64_t, int64_t) {},
          [&](int64_t to, int64_t from) {
            if (layout_.memory) set(m.again.c, first + to, m.again.c, first + from, mine.units);
          });
      const int64_t at = steps.row(s) - steps.row(s0) + runners.before();
      for (int64_t i = 0; layout_.passes && i < runners.count(); i++)
        set(m.again.h, first + i, m.h_old, at + i, mine.units);
      cells(m.again, runners, mine, m.again.rows + at * m.again.ld);
    }
  }

  void make_room(const BackwardMemory& m, const StepsMemory& seen, Runners& runners, const Part& mine,
                 int64_t s, const gm_recurrent_gradients& g) const {
    const int64_t first = mine.samples.begin;
    runners.back_to(
        s,
        [&](int64_t n, int64_t i) {
          set_h(m.dh, first + i, static_cast<const T*>(g.dh_n), n, mine.units);
          if (layout_.memory) set(m.dc, first + i, static_cast<const T*>(g.dc_n), n, mine.units);
          if (!seen.seen) return;
          set_h(seen.own, first + i, static_cast<const T*>(g.dh_n), n, mine.units);
          set(seen.path, first + i, layout_.memory ? static_cast<const T*>(g.dc_n) : nullptr, n, mine.units);
        },
        [&](int64_t to, int64_t from) {
          set_h(m.dh, first + to, m.dh, first + from, mine.units);
          if (layout_.memory) set(m.dc, first + to, m.dc, first + from, mine.units);
          if (!seen.seen) return;
          set_h(seen.own, first + to, nullptr, 0, mine.units);
          set(seen.path, first + to, seen.path, first + from, mine.units);
        });
  }
  // A part's cells of step s, after make_room: drow. rows, h_old and drow begin with row r0.
  void cells_back(const BackwardMemory& m, const StepsMemory& seen, const Steps& steps,
                  const Runners& runners, const Part& mine, int64_t s, int64_t r0, const T* rows, int64_t ld,
                  const T* y, const gm_recurrent_gradients& g) const {
    const int64_t H = l_.H, out = outputs(), begin = mine.samples.begin, n = runners.count(),
                  row = steps.row(s) - r0 + runners.before(), unit = mine.units.begin,
                  at = mine.samples.begin * H + unit;
    if (n == 0) return;
    if (g.dy) add(m.dh, static_cast<const T*>(g.dy), steps, runners, mine, s);
    if (g.dh) put(static_cast<T*>(g.dh), out, m.dh, out, steps, runners, mine, s);
    if (l_.P) {
      copy(m.dh_rows + row * out, m.dh + begin * out, n * out);
      project_back(m, n, m.dh + begin * out, m.dhidden + begin * H);
    }
    T* const dh = l_.P ? m.dhidden : m.dh;
    T* const dc_total = layout_.memory && g.dc ? m.dc_total : nullptr;
    const auto cells = [&](int64_t units, int64_t j) {
      return CellBackward<T>{n,
                             H,
                             units,
                             const_cast<T*>(rows) + row * ld + unit + j,
                             ld,
                             m.h_old + row * out + unit + j,
                             dh + at + j,
                             layout_.memory ? m.dc + at + j : nullptr,
                             dc_total ? dc_total + at + j : nullptr,
                             m.drow + row * m.ldd + unit + j,
                             m.ldd,
                             nullptr,
                             0,
                             nullptr,
                             nullptr,
                             m.norm,
                             nullptr,
                             nullptr};
    };
    if (!seen.seen) {
      backward_of(m, runners, g, cells(mine.units.size(), 0));
    } else {
      if (g.dy) add(seen.own, static_cast<const T*>(g.dy), steps, runners, mine, s);
      if (l_.P) project_back(m, n, seen.own + begin * out, seen.own_hidden + begin * H);
      const int64_t block = seen_units();
      for (int64_t j = 0; j < mine.units.size(); j += block) {
        CellBackward<T> c = cells(block, j);
        c.seen = seen.seen + row * seen_of_row() + (unit + j) / block * seen_of_block();
        c.seen_ld = seen_of_row();
        c.own = (l_.P ? seen.own_hidden : seen.own) + at + j, c.path = seen.path + at + j;
        backward_of(m, runners, g, c);
      }
      for (int64_t i = 0; l_.P && i < n; i++) {
        double* const squares = seen.seen + (row + i) * seen_of_row();
        squares[kSeenH] = square(y + steps.place(s, runners[i]) * y_stride(), out);
        squares[kSeenDh] = square(m.dh_rows + (row + i) * out, out);
      }
      for (int64_t i = 0; i < n; i++)
        clear(seen.own + (begin + i) * out + unit, l_.P ? out : mine.units.size());
    }
    if (dc_total) put(static_cast<T*>(g.dc), H, dc_total, H, steps, runners, mine, s);
    if (layout_.norms && s % kNormSteps == 0)
      for (int64_t i = 0; i < n; i++) add_up(m, runners[i]);
  }
  // All samples at once, or, where each adds to its own derivatives by the parameters of norms, one by one.
  void backward_of(const BackwardMemory& m, const Runners& runners, const gm_recurrent_gradients& g,
                   CellBackward<T> c) const {
    if (!layout_.norms) return cell_.backward(c);
    const int64_t n = c.N;
    c.N = 1;
    c.scratch = m.scratch + runners.first() * kNormScratch * l_.H;
    for (int64_t i = 0; i < n; i++) {
      c.sums = wants_norm(g) ? m.sums + runners[i] * norm_size() : nullptr;
      cell_.backward(c);
      c.row += c.ld, c.drow += c.ldd, c.dh += l_.H, c.dc += l_.H;
      if (c.dc_total) c.dc_total += l_.H;
      if (c.seen) c.seen += c.seen_ld, c.own += l_.H, c.path += l_.H;
    }
  }
  // Derivatives by the parameters of norms, and by biases there: a sample's are summed from 0 over blocks of
  // so many steps, these in float64, and then the samples'. In no order that depends on the team.
  static constexpr int64_t kNormSteps = 64;
  static bool wants_norm(const gm_recurrent_gradients& g) {
    return g.dbias_ih || g.dbias_hh || g.dnorm_weight_ih || g.dnorm_weight_hh || g.dnorm_weight_c ||
           g.dnorm_bias_c;
  }
  void clear_norm(const BackwardMemory& m, const Part& mine) const {
    clear(m.sums + mine.samples.begin * norm_size(), mine.samples.size() * norm_size());
    clear(m.totals + mine.samples.begin * norm_size(), mine.samples.size() * norm_size());
  }
  void add_up(const BackwardMemory& m, int64_t sample) const {
    T* const sums = m.sums + sample * norm_size();
    double* const totals = m.totals + sample * norm_size();
    for (int64_t j = 0; j < norm_size(); j++) totals[j] += static_cast<double>(sums[j]);
    clear(sums, norm_size());
  }
  // Of some units.
  void norm_gradients(const BackwardMemory& m, const gm_recurrent_gradients& g, bool accumulate,
                      Range units) const {
    if (!layout_.norms) return;
    const struct {
      int plane, planes;
      void* to;
    } all[] = {{kNormBias, 4, g.dbias_ih},     {kNormBias, 4, g.dbias_hh},
               {kNormX, 4, g.dnorm_weight_ih}, {kNormH, 4, g.dnorm_weight_hh},
               {kNormC, 1, g.dnorm_weight_c},  {kNormShift, 1, g.dnorm_bias_c}};
    constexpr int64_t kBlock = 64;
    for (const auto& each : all)
      for (int64_t p = 0; each.to && p < each.planes; p++)
        for (int64_t j = units.begin; j < units.end; j += kBlock) {
          double sum[kBlock] = {};
          const int64_t wide = units.end - j < kBlock ? units.end - j : kBlock;
          for (int64_t n = 0; n < l_.N; n++)
            for (int64_t i = 0; i < wide; i++)
              sum[i] += m.totals[n * norm_size() + (each.plane + p) * l_.H + j + i];
          T* const to = static_cast<T*>(each.to) + p * l_.H + j;
          for (int64_t i = 0; i < wide; i++)
            to[i] = static_cast<T>((accumulate ? static_cast<double>(to[i]) : 0) + sum[i]);
        }
  }
  static double square(const T* v, int64_t n) {
    double sum = 0;
    for (int64_t j = 0; j < n; j++) sum += static_cast<double>(v[j]) * static_cast<double>(v[j]);
    return sum;
  }
  // After the cells of all units, where the state has two products: a part's derivatives by r h, and from
  // these those by r and, through r h, by h.
  void reset_back(const BackwardMemory& m, const Steps& steps, const Runners& runners, const Part& mine,
                  int64_t s, int64_t r0, const T* rows, int64_t ld) const {
    const int64_t H = l_.H, row = steps.row(s) - r0 + runners.before(), unit = mine.units.begin,
                  at = mine.samples.begin * H + unit;
    state_gradient(m, steps, runners, mine, s, r0, 1, m.drh);
    cell_.reset_back({runners.count(), H, mine.units.size(), rows + row * ld + unit, ld,
                      m.h_old + row * H + unit, m.rh + row * H + unit, m.drh + at, m.dh + at,
                      m.drow + row * m.ldd + unit, m.ldd});
  }
  // After the cells of all units: a part's derivatives by what entered a product with the state.
  void state_gradient(const BackwardMemory& m, const Steps& steps, const Runners& runners, const Part& mine,
                      int64_t s, int64_t r0, int of, T* to) const {
    const CellPart& part = layout_.state[of];
    Gemm<T> p = {};
    p.M = runners.count(), p.N = l_.P ? l_.P : mine.units.size(), p.K = part.planes * l_.H;
    p.a = m.drow + (steps.row(s) - r0 + runners.before()) * m.ldd + part.plane * l_.H;
    p.a_row = m.ldd, p.a_col = 1;
    p.packed = m.packed_hh[of] + mine.units.begin * p.K;
    p.c = to + mine.samples.begin * outputs() + mine.units.begin, p.ldc = outputs();
    p.accumulate = of == 0 && layout_.passes;
    k_.gemm(p);
  }
  void end_back(const BackwardMemory& m, const StepsMemory& seen, const Steps& steps, Runners& runners,
                const Part& mine, const gm_recurrent_gradients& g) const {
    make_room(m, seen, runners, mine, -1, g);
    for (int64_t i = 0; i < runners.count(); i++) {
      if (g.dh0) set_h(static_cast<T*>(g.dh0), runners[i], m.dh, mine.samples.begin + i, mine.units);
      if (g.dc0) set(static_cast<T*>(g.dc0), runners[i], m.dc, mine.samples.begin + i, mine.units);
    }
    steps.each_beyond(mine.samples, [&](int64_t place) {
      if (g.dx) clear(static_cast<T*>(g.dx) + place * l_.I, l_.I);
      if (g.dh) clear(static_cast<T*>(g.dh) + place * outputs(), outputs());
      if (g.dc) clear(static_cast<T*>(g.dc) + place * l_.H, l_.H);
    });
  }

  // What was seen in the rows r0 to r1, summed in their order into some entries, which begin with 0 where no
  // later rows were added before.
  void sum_steps(const StepsMemory& m, const Steps& steps, Range entries, int64_t r0, int64_t r1, bool begin,
                 const gm_recurrent_steps& out) const {
    double* const squares[kSeen] = {out.h, out.dh, out.c, out.dc, out.path, out.rest};
    double* const gate[3] = {out.gate, out.low, out.high};
    const int64_t G = layout_.gates, blocks = l_.H / seen_units(), first = entries.begin;
    if (begin) {
      if (out.rows) clear(out.rows + first, entries.size());
      for (double* sums : squares)
        if (sums) clear(sums + first, entries.size());
      for (double* sums : gate)
        if (sums) clear(sums + first * G, entries.size() * G);
    }
    steps.each({r0, r1}, [&](int64_t row, int64_t s, int64_t n) {
      const int64_t e = out.from_end ? steps.length(n) - 1 - s : s;
      if (e < first || e >= entries.end) return;
      if (out.rows) out.rows[e]++;
      const double* block = m.seen + (row - r0) * seen_of_row();
      for (int64_t b = 0; b < blocks; b++, block += seen_of_block()) {
        for (int i = 0; i < kSeen; i++)
          if (squares[i]) squares[i][e] += block[i];
        for (int64_t k = 0; k < G; k++)
          for (int i = 0; i < 3; i++)
            if (gate[i]) gate[i][e * G + k] += block[kSeen + 3 * k + i];
      }
    });
  }

  // Row `to` of a state (N, H), and of one as h is, from one of another, null for 0.
  void set(T* state, int64_t to, const T* from, int64_t row, Range units) const {
    set(state, to, from, row, units, l_.H);
  }
  void set_h(T* state, int64_t to, const T* from, int64_t row, Range units) const {
    set(state, to, from, row, l_.P ? Range{0, l_.P} : units, outputs());
  }
  static void set(T* state, int64_t to, const T* from, int64_t row, Range columns, int64_t width) {
    T* const at = state + to * width + columns.begin;
    from ? copy(at, from + row * width + columns.begin, columns.size()) : clear(at, columns.size());
  }
  // The state before step s of sample n.
  void copy_old(T* to, const Steps& steps, int64_t s, int64_t n, const T* h0, const T* y) const {
    const T* const from = s > 0 ? y + steps.place(s - 1, n) * y_stride() : h0 ? h0 + n * outputs() : nullptr;
    set_h(to, 0, from, 0, all_units());
  }
  // A part's rows of a step of (T, N, width), or (N, T, width), from a state, and added to one.
  Range columns_of(const Part& mine, int64_t width) const {
    return width == l_.H ? mine.units : Range{0, width};
  }
  bool side_by_side(const Steps& steps, int64_t stride, int64_t width, Range columns) const {
    return !steps.lengths && !steps.batch_first && stride == width && columns.size() == width;
  }
  void put(T* all, int64_t stride, const T* state, int64_t width, const Steps& steps, const Runners& runners,
           const Part& mine, int64_t s) const {
    const Range columns = columns_of(mine, width);
    const T* const from = state + mine.samples.begin * width + columns.begin;
    if (side_by_side(steps, stride, width, columns))
      return copy(all + steps.place(s, runners[0]) * width, from, runners.count() * width);
    for (int64_t i = 0; i < runners.count(); i++)
      copy(all + steps.place(s, runners[i]) * stride + columns.begin, from + i * width, columns.size());
  }
  void add(T* state, const T* dy, const Steps& steps, const Runners& runners, const Part& mine,
           int64_t s) const {
    const int64_t width = outputs();
    const Range columns = columns_of(mine, width);
    T* const to = state + mine.samples.begin * width + columns.begin;
    if (side_by_side(steps, y_stride(), width, columns))
      return k_.add_scaled(runners.count() * width, to, dy + steps.place(s, runners[0]) * width, 1, to);
    for (int64_t i = 0; i < runners.count(); i++)
      k_.add_scaled(columns.size(), to + i * width,
                    dy + steps.place(s, runners[i]) * y_stride() + columns.begin, 1, to + i * width);
  }

  // Gradients of some rows of the weights, 0 to G H, over the rows r0 to r1.
  void weight_gradients(const BackwardMemory& m, const Steps& steps, const T* x, int64_t r0, int64_t r1,
                        const gm_recurrent_gradients& g, bool accumulate, Range out) const {
    // Of a part's rows.
    auto product = [&](const CellPart& part, const T* b, int64_t columns, void* weight, void* bias) {
      const int64_t begin = part.gate * l_.H, end = begin + part.planes * l_.H;
      const Range share = {out.begin > begin ? out.begin : begin, out.end < end ? out.end : end};
      if (share.size() <= 0) return;
      const T* const a = m.drow + part.plane * l_.H + share.begin - begin;
      if (weight) {
        Gemm<T> p = {};
        p.M = share.size(), p.N = columns, p.K = r1 - r0;
        p.a = a, p.a_row = 1, p.a_col = m.ldd;
        p.b = b, p.b_row = columns, p.b_col = 1;
        p.c = static_cast<T*>(weight) + share.begin * columns, p.ldc = columns;
        p.accumulate = accumulate;
        k_.gemm(p);
      }
      if (bias)
        k_.column_sum(r1 - r0, share.size(), a, m.ldd, static_cast<T*>(bias) + share.begin, accumulate);
    };
    for (int p = 0; p < layout_.parts; p++)
      product(layout_.part[p], steps.in_place() ? x + r0 * l_.I : m.again.x, l_.I, g.dweight_ih,
              layout_.norms ? nullptr : g.dbias_ih);
    T* const ih = layout_.norms ? nullptr : static_cast<T*>(g.dbias_ih);
    T* const hh = layout_.norms ? nullptr : static_cast<T*>(g.dbias_hh);
    // Where both biases are added to the same planes, their gradients are one.
    const bool same = ih && hh && !accumulate && layout_.parts == 1 && layout_.states == 1;
    for (int p = 0; p < layout_.states; p++)
      product(layout_.state[p], p == 0 ? m.h_old : m.rh, outputs(), g.dweight_hh, same ? nullptr : hh);
    if (same) copy(hh + out.begin, ih + out.begin, out.size());
  }
  // Some units' columns of the projection's, over n rows.
  void projection_gradient(const BackwardMemory& m, const T* rows, int64_t ld, int64_t n,
                           const gm_recurrent_gradients& g, bool accumulate, Range units) const {
    if (!l_.P || !g.dweight_hr || units.size() <= 0) return;
    Gemm<T> p = {};
    p.M = l_.P, p.N = units.size(), p.K = n;
    p.a = m.dh_rows, p.a_row = 1, p.a_col = l_.P;
    p.b = rows + layout_.width * l_.H + units.begin, p.b_row = ld, p.b_col = 1;
    p.c = static_cast<T*>(g.dweight_hr) + units.begin, p.ldc = l_.H;
    p.accumulate = accumulate;
    k_.gemm(p);
  }
  // dx of any rows, and of the samples that run at a step.
  void input_gradient(const BackwardMemory& m, const Steps& steps, Range share, int64_t r0, T* dx) const {
    T* const to = steps.in_place() ? dx + share.begin * l_.I : m.dx + (share.begin - r0) * l_.I;
    input_gradient(m, share.size(), share.begin - r0, to, l_.I);
    if (!steps.in_place())
      steps.each(share, [&](int64_t row, int64_t s, int64_t n) {
        copy(dx + steps.place(s, n) * l_.I, m.dx + (row - r0) * l_.I, l_.I);
      });
  }
  void input_gradient(const BackwardMemory& m, const Steps& steps, const Runners& runners, int64_t s,
                      int64_t r0, T* dx) const {
    const int64_t n = runners.count(), at = steps.row(s) - r0 + runners.before();
    if (n == 0) return;
    if (!steps.lengths)
      return input_gradient(m, n, at, dx + steps.place(s, runners[0]) * l_.I, steps.stride() * l_.I);
    T* const to = m.dx + at * l_.I;
    input_gradient(m, n, at, to, l_.I);
    for (int64_t i = 0; i < n; i++) copy(dx + steps.place(s, runners[i]) * l_.I, to + i * l_.I, l_.I);
  }
  void input_gradient(const BackwardMemory& m, int64_t n, int64_t at, T* dx, int64_t apart) const {
    for (int p = 0; p < layout_.parts; p++) {
      const CellPart& part = layout_.part[p];
      Gemm<T> g = {};
      g.M = n, g.N = l_.I, g.K = part.planes * l_.H;
      g.a = m.drow + at * m.ldd + part.plane * l_.H, g.a_row = m.ldd, g.a_col = 1;
      g.b = weight_ih() + part.gate * l_.H * l_.I, g.b_row = l_.I, g.b_col = 1;
      g.packed = m.packed_ih[p];
      g.c = dx, g.ldc = apart;
      g.accumulate = p > 0;
      k_.gemm(g);
    }
  }

  const Kernels<T>& k_;
  const CellKernels<T>& cell_;
  const CellLayout& layout_;
  const gm_recurrent& l_;
};

}  // namespace gradiometer
