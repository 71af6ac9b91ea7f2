#include "run.hpp"

#include <math.h>
#include <string.h>

#include "../cancel.hpp"
#include "../losses.hpp"
#include "taps.hpp"

namespace gradiometer {
namespace {

// Work for which one more thread pays even beside a busy neighbour: a pass of 16 x 64 at batch 8 (5 MFLOP)
// takes 25 us on one thread, and a fork and join 1 us on an idle machine but a time slice of 4 to 8 ms on a
// shared one.
constexpr double kFlopsPerThread = 5e6;
template <class T>
class Pass {
 public:
  Pass(Network& net, const PassArguments& a)
      : net_(net),
        a_(a),
        context_(*a.context),
        k_(of<T>(*net.table)),
        cancel_(a.context->cancel, a.context->cancel_data, a.asked) {}

  gm_status run(gm_error* e) {
    const int size = team_size();
    alone_ = size == 1;
    parallel(size, patience_for(work()), [&](Team team) { member(team); });
    if (cancel_.stopped()) return fail(e, GM_CANCELLED, "cancel", "cancelled by the caller");
    if (a_.loss && a_.value)
      *a_.value =
          total_loss(*a_.loss, at<double>(net_.plan.row_loss), a_.N * rows_of(count() - 1), a_.mean_over);
    if (a_.loss && context_.training && !context_.freeze_statistics)
      for (int id = 1; id < count(); id++)
        if (layer(id).commit) layer(id).commit(call(id));
    return ok(e);
  }

 private:
  int count() const { return net_.graph.nodes.size; }
  const Node& node(int id) const { return net_.graph.nodes[id]; }
  const LayerFunctions<T>& layer(int id) const { return functions<T>(*node(id).type); }
  template <class E>
  E* at(int64_t offset) const {
    return offset < 0 ? nullptr : reinterpret_cast<E*>(net_.arena + offset);
  }

  // Rows of a node's value for each sample, and of what its work is divided into.
  int64_t rows_of(int id) const { return node(id).sequence ? context_.steps : 1; }
  int64_t parts_of(int id) const { return node(id).type->time == Time::rows ? rows_of(id) : 1; }
  static Range times(Range samples, int64_t n) { return {samples.begin * n, samples.end * n}; }
  int64_t length(int64_t n) const { return context_.lengths ? context_.lengths[n] : context_.steps; }

  double work() const {  // flops
    const double sample = net_.plan.flops + net_.plan.flops_step * static_cast<double>(context_.steps);
    return sample * static_cast<double>(a_.N) * (a_.loss ? 3 : 1);
  }
  int team_size() const {
    const double flops = work();
    int64_t most = threads();
    if (most > net_.plan.team && (net_.plan.taps || net_.plan.workspace_each)) most = net_.plan.team;
    if (most > a_.N) most = a_.N;
    return flops < 2 * kFlopsPerThread || most < 1
               ? 1
               : static_cast<int>(fmin(flops / kFlopsPerThread, static_cast<double>(most)));
  }

  T* workspace(Team team, int id) const {
    if (!node(id).type->workspace_size) return nullptr;
    return at<T>(net_.plan.workspace + team.rank * net_.plan.workspace_each);
  }
  T* value(int id) const {
    if (id == 0) return const_cast<T*>(static_cast<const T*>(a_.x));
    if (id == count() - 1 && a_.y) return static_cast<T*>(a_.y);
    return at<T>(net_.plan.nodes[id].value);
  }
  const Segment& segment(int s) const { return net_.plan.cut[s]; }
  int segments() const { return net_.plan.cut.size; }
  bool measures() const { return a_.loss && net_.plan.taps; }
  bool every_gradient() const { return a_.dx; }
  // Whether this pass makes the gradient by a node's value.
  bool wanted(int id) const { return every_gradient() || net_.plan.nodes[id].leads; }
  // Whether it makes that by parameter i of a node.
  bool trains(int id, int i) const { return net_.plan.every_parameter() || !node(id).parameters[i].frozen; }
  bool trains(int id) const {
    for (int i = 0; i < node(id).parameter_count; i++)
      if (trains(id, i)) return true;
    return false;
  }

  // Alone, a node's weights are packed where the last one's were: they stay in the nearest cache.
  T* packed(int id) const {
    const NodePlan& p = net_.plan.nodes[id];
    if (p.packed < 0) return nullptr;
    return at<T>(net_.plan.packed + (alone_ ? 0 : p.packed + p.group % 2 * net_.plan.packed_each));
  }

  T* gradient(int id) const {
    T* own = at<T>(net_.plan.nodes[id].gradient);
    return id == 0 && !own ? static_cast<T*>(a_.dx) : own;
  }

  Call<T> call(int id) const {
    const Node& n = node(id);
    const int64_t parts = parts_of(id);
    Call<T> c = {
        n, *net_.table, k_, context_, id, a_.N * parts, context_.training != 0, context_.accumulate != 0};
    c.backward_follows = a_.loss != nullptr;
    c.steps = context_.steps;
    c.lengths = context_.lengths;
    c.first_row = context_.first_row * parts;
    c.y = value(id);
    c.cache = at<double>(net_.plan.nodes[id].cache);
    if (measures()) c.seen = at<double>(net_.plan.nodes[id].seen);
    c.packed = packed(id);
    for (int i = 0; i < n.input_count; i++) c.x[i] = value(n.inputs[i]);
    for (int i = 0; i < n.parameter_count; i++) {
      c.parameters[i] = static_cast<T*>(net_.parameters) + n.parameters[i].offset;
      c.gradients[i] = trains(id, i) ? static_cast<T*>(net_.gradients) + n.parameters[i].offset : nullptr;
    }
    for (int i = 0; i < n.state_count; i++) c.state[i] = static_cast<T*>(net_.state) + n.state[i].offset;
    return c;
  }

  void member(Team team) {
    const Range rows = team.share(a_.N, net_.plan.taps ? tap_rows(a_.N) : 1);
    for (int s = 0; s < segments(); s++) {
      if (s > 0) team.barrier();  // the workspace is the next segment's
      forward(team, rows, s, false);
    }
    if (a_.y && node(count() - 1).sequence) clear_beyond(rows, static_cast<T*>(a_.y));
    if (a_.loss) {
      loss(rows);
      for (int s = segments() - 1; s >= 0; s--) {
        if (!every_gradient() && !segment(s).leads) continue;
        if (s < segments() - 1) {
          team.barrier();
          forward(team, rows, s, true);
        }
        for (Range group = {0, segment(s).end}; group.end > segment(s).begin; group.end = group.begin) {
          group.begin = group_begin(team, segment(s).begin, static_cast<int>(group.end));
          backward(team, rows, group);
          if (measures() && group.begin == 1) tap_gradient<T>(net_, 0, batch(), rows, gradient(0));
          team.barrier();
          parameter_gradients(team, group);
        }
      }
      if (measures()) taps(team);
      if (a_.optimizer) {
        team.barrier();  // all gradients are there; and `stop` is seen alike by everyone
        if (!cancel_.stopped()) step(team);
      }
    }
  }

  // The group of nodes that begins at `begin`, or ends at `end`: alone a member takes a node at a time.
  int group_end(Team team, int begin, int end) const {
    const int group = net_.plan.nodes[begin++].group;
    while (begin < end && team.size > 1 && net_.plan.nodes[begin].group == group) begin++;
    return begin;
  }
  int group_begin(Team team, int begin, int end) const {
    const int group = net_.plan.nodes[--end].group;
    while (end > begin && team.size > 1 && net_.plan.nodes[end - 1].group == group) end--;
    return end;
  }

  bool needs_columns(int id) const { return node(id).type->splits_columns(context_.training != 0); }
  // Whether a node's backward has to run for its parameters' sake, too, or for that of taps.
  bool backward_leaves_gradients(int id) const {
    return (measures() && net_.plan.nodes[id].seen >= 0) ||
           ((needs_columns(id) || node(id).type->time == Time::sequence) && trains(id));
  }
  bool by_columns(int id) const { return needs_columns(id) || net_.plan.nodes[id].by_columns; }

  SampleBatch batch() const { return {a_.N, context_.steps, context_.lengths}; }

  // f(range) in panels, each of which costs `flops` a row or column.
  template <class F>
  void panels(Team team, Range range, double flops, F f) {
    const int64_t step = flops * static_cast<double>(range.size()) <= kFlopsPerPanel
                             ? range.size()
                             : static_cast<int64_t>(fmax(1, kFlopsPerPanel / flops / 16)) * 16;
    for (int64_t r = range.begin; r < range.end; r += step) {
      if (cancel_.poll(team, flops * static_cast<double>(step))) return;
      f(Range{r, r + step < range.end ? r + step : range.end});
    }
  }

  // Of a node's forward pass, for each part of its work and for all of it.
  double flops_of_part(int id) const {
    const Node& n = node(id);
    return n.type->flops(n) * (n.type->time == Time::rows ? 1 : static_cast<double>(context_.steps));
  }
  double flops_of(int id) const { return flops_of_part(id) * static_cast<double>(a_.N * parts_of(id)); }

  // f(range) over one member's share of a node: its samples' rows, or of `width` columns its own, between two
  // barriers.
  template <class F>
  void divide(Team team, Range samples, int id, int64_t width, F f) {
    if (!by_columns(id)) return panels(team, times(samples, parts_of(id)), flops_of_part(id), f);
    team.barrier();
    panels(team, team.share(width, 16), flops_of(id) / static_cast<double>(width), f);
    team.barrier();
  }

  // Steps beyond the samples' lengths.
  void clear_beyond(Range samples, T* rows) const {
    const int64_t C = node(count() - 1).features, steps = context_.steps;
    for (int64_t n = samples.begin; context_.lengths && n < samples.end; n++)
      __builtin_memset(rows + (n * steps + length(n)) * C, 0,
                       static_cast<size_t>((steps - length(n)) * C) * sizeof(T));
  }

  // A segment's nodes; `again`: those whose values the workspace has lost.
  void forward(Team team, Range rows, int s, bool again) {
    int prepared = segment(s).begin;
    if (measures() && segment(s).begin <= 1) tap_value<T>(net_, 0, batch(), rows, value(0), nullptr);
    for (int id = segment(s).begin; id < segment(s).end; id++) {
      if (id == prepared) {
        prepared = group_end(team, id, segment(s).end);
        for (int p = id; p < prepared; p++)
          if (layer(p).prepare && !(again && net_.plan.nodes[p].kept)) layer(p).prepare(call(p), team);
        team.barrier();
      }
      if (again && net_.plan.nodes[id].kept) continue;
      Call<T> c = call(id);
      c.workspace = workspace(team, id);
      divide(team, rows, id, node(id).features, [&](Range r) { layer(id).forward(c, r); });
      if (measures()) tap_value(net_, id, batch(), rows, value(id), c.x[0]);
    }
  }

  // Of every row; of a sequence's steps beyond the sample's length there is none.
  void loss(Range samples) {
    const int last = count() - 1;
    if (!node(last).sequence) return loss_of(samples);
    for (int64_t n = samples.begin; n < samples.end; n++) {
      const int64_t begin = n * context_.steps, end = begin + length(n);
      loss_of({begin, end});
      for (int64_t r = end; r < begin + context_.steps; r++) at<double>(net_.plan.row_loss)[r] = 0;
    }
    clear_beyond(samples, gradient(last));
  }
  void loss_of(Range rows) {
    const int last = count() - 1;
    const int64_t C = node(last).features;
    const char* target = static_cast<const char*>(a_.target);
    int64_t row = a_.loss->target == Target::classes ? static_cast<int64_t>(sizeof(int64_t))
                                                     : C * static_cast<int64_t>(sizeof(T));
    LossArgs<T> args = {rows.size(),
                        C,
                        value(last) + rows.begin * C,
                        target + rows.begin * row,
                        a_.loss->mean_over_rows ? 1 / a_.mean_over : 1,
                        at<double>(net_.plan.row_loss) + rows.begin,
                        gradient(last) + rows.begin * C,
                        a_.loss_params,
                        context_.class_weights};
    run_loss(*a_.loss, args);
  }

  void backward(Team team, Range rows, Range group) {
    for (int id = static_cast<int>(group.end) - 1; id >= group.begin; id--) {
      const Node& n = node(id);
      if (measures()) tap_gradient<T>(net_, id, batch(), rows, gradient(id));
      for (int i = 0; i < n.input_count; i++) {
        T* to = wanted(n.inputs[i]) ? gradient(n.inputs[i]) : nullptr;
        const bool columns = by_columns(id);
        if (!to && !backward_leaves_gradients(id)) continue;
        Call<T> c = call(id);
        c.workspace = workspace(team, id);
        c.input = i;
        c.dy = gradient(id);
        const bool adds = to && net_.plan.nodes[id].adds[i];
        const int64_t C = n.in_features[i], each = rows_of(n.inputs[i]) / parts_of(id);
        // Rows of the shared temporary are as far apart as the widest node's, so that members never meet in
        // it.
        T* temp = at<T>(net_.plan.temp);
        c.dx = !adds     ? to
               : columns ? temp
                         : temp + rows.begin * rows_of(n.inputs[i]) * (net_.plan.widest - C);
        divide(team, rows, id, C, [&](Range r) {
          layer(id).backward(c, r);
          if (!adds) return;
          if (columns)
            for (int64_t row = 0; row < c.N; row++)
              k_.add_scaled(r.size(), to + row * C + r.begin, c.dx + row * C + r.begin, 1,
                            to + row * C + r.begin);
          else
            k_.add_scaled(r.size() * each * C, to + r.begin * each * C, c.dx + r.begin * each * C, 1,
                          to + r.begin * each * C);
        });
      }
    }
  }

  void parameter_gradients(Team team, Range group) {
    for (int id = static_cast<int>(group.begin); id < group.end; id++) {
      if (!layer(id).parameter_gradient || !trains(id)) continue;
      Call<T> c = call(id);
      c.dy = gradient(id);
      c.workspace = workspace(team, id);
      const Range mine = team.share(node(id).features, 16);
      const double flops = flops_of(id) / static_cast<double>(node(id).features);
      panels(team, mine, flops, [&](Range r) { layer(id).parameter_gradient(c, r); });
    }
  }

  // f over what is not frozen of a range of the flat vectors.
  template <class F>
  void trainable(Range r, F f) {
    for (const Range& t : net_.plan.trainable) {
      const Range part = {t.begin > r.begin ? t.begin : r.begin, t.end < r.end ? t.end : r.end};
      if (part.begin < part.end) f(part);
    }
  }

  // A member's share of the flat vectors: gradients clipped, then the optimiser.
  void step(Team team) {
    const int64_t n = net_.parameter_count;
    const Range mine = team.share(n, kNormBlock);
    T* g = static_cast<T*>(net_.gradients);
    if (context_.clip_value > 0)
      trainable(mine, [&](Range r) { k_.clamp(r.size(), g + r.begin, context_.clip_value, g + r.begin); });
    if (context_.clip_norm > 0) {
      double* squares = at<double>(net_.plan.norm_blocks);
      for (int64_t i = mine.begin; i < mine.end; i += kNormBlock) {
        double part, sum = 0;
        trainable({i, i + kNormBlock < n ? i + kNormBlock : n}, [&](Range r) {
          k_.row_squares(1, r.size(), g + r.begin, n, &part);
          sum += part;
        });
        squares[i / kNormBlock] = sum;
      }
      team.barrier();
      double sum = 0;
      for (int64_t b = 0; b < (n + kNormBlock - 1) / kNormBlock; b++) sum += squares[b];
      const double norm = sqrt(sum);
      if (!(norm <= context_.clip_norm))
        trainable(mine, [&](Range r) {
          k_.scale(r.size(), g + r.begin, context_.clip_norm / (norm + 1e-6), g + r.begin);
        });
    }
    if (!context_.decay_matrices_only) return trainable(mine, [&](Range r) { step(r, a_.params); });
    double without[kMaxParameters];
    for (int i = 0; i < a_.optimizer->parameter_count; i++)
      without[i] = strcmp(a_.optimizer->parameters[i].name, "weight_decay") ? a_.params[i] : 0;
    for (int id = 1; id < count(); id++)
      for (int i = 0; i < node(id).parameter_count; i++) {
        const Tensor& t = node(id).parameters[i];
        const Range r = {t.offset > mine.begin ? t.offset : mine.begin,
                         t.offset + t.size() < mine.end ? t.offset + t.size() : mine.end};
        if (!t.frozen && r.begin < r.end) step(r, t.rank > 1 ? a_.params : without);
      }
  }
  void step(Range r, const double* params) {
    step_range(*a_.optimizer, r, net_.parameter_count, static_cast<T*>(net_.parameters),
               static_cast<const T*>(net_.gradients), static_cast<T*>(a_.slots), context_.learning_rate,
               context_.step, params);
  }

  // What is left of taps when all rows have been seen, a node a member.
  void taps(Team team) {
    double* mean = at<double>(net_.plan.scratch + team.rank * net_.plan.scratch_each);
    for (int id = team.rank; id < count() && !cancel_.stopped(); id += team.size) {
      finish_tap<T>(net_, id, batch(), value(id), mean, &net_.taps[id]);
      if (net_.plan.nodes[id].seen >= 0) layer(id).tap_steps(call(id), &net_.taps[id]);
    }
    if (a_.dx && team.rank == 0 && a_.dx != gradient(0))
      __builtin_memcpy(a_.dx, gradient(0),
                       static_cast<size_t>(a_.N * rows_of(0) * node(0).features) * sizeof(T));
  }

  Network& net_;
  const PassArguments& a_;
  const gm_context& context_;
  const Kernels<T>& k_;
  Cancel cancel_;
  bool alone_ = true;
};

}  // namespace

gm_status run(Network& net, const PassArguments& a, gm_error* e) {
  return net.dtype == GM_FLOAT32 ? Pass<float>(net, a).run(e) : Pass<double>(net, a).run(e);
}

}  // namespace gradiometer
