// Where everything of a run lies: the layout of the arena for a batch, and who writes which gradient first.
//
// The nodes are cut into segments, one after another. Within a pass time is counted in phases: forward of
// segment s is phase s, its backward phase 2 S - 2 - s; the last segment's two are one phase. What a segment
// alone needs lies in a workspace that all segments use in turn, and its values are made again before its
// backward; what is read across a cut is kept in a pool, where two pieces share memory if their phases do not
// meet. One segment is the plain pass: nothing is shared and nothing made again.
//
// Within a pass the nodes also go by groups, which a cache holds; a group lies in one segment. Groups use
// places in turn: packed weights two, as none is read after its group's forward; gradients by values three,
// where none is read after the next group's backward. Whoever is a group ahead meets nobody who still reads.
//
// An activation's gradient overwrites that of its output (backward_in_place).
#pragma once
#include "graph.hpp"
#include "slope.hpp"

namespace gradiometer {

struct NodePlan {
  int64_t value, gradient, cache;  // byte offsets in the arena, -1 where there is none
  int64_t packed;                  // within the group's packed weights, -1 where there are none
  // For taps: rows; and, of each block of them, sums, means of columns, which columns have a slope.
  int64_t value_rows, gradient_rows, value_parts, gradient_parts, columns, means, active;
  int64_t seen;  // for taps of steps, -1 where there is none
  unsigned value_taps, gradient_taps;
  int slope;              // in plan.slopes, -1 where nothing is measured of one
  bool adds[kMaxInputs];  // the gradient by this input has been written by a later node
  bool leads;             // the gradient by its value is on the way to a parameter's, or looked at
  bool kept;              // its value outlives its segment
  bool by_columns;        // though rows would do: its type prefers it
  int group;
};

struct Segment {
  int begin, end;  // nodes
  bool leads;      // one of them does: it has a backward
};

// What a pass wants of an arena.
struct Room {
  int64_t batch = 0;  // samples
  int64_t steps = 1;  // of a sequence
  unsigned taps = 0;
  bool every_gradient = false;  // not only those that lead to a parameter
  int segments = 1;             // at most; 1 with taps
  // Gradients by frozen parameters are made, too: a measurement sees them.
  bool every_parameter() const { return taps & ~static_cast<unsigned>(GM_TAP_STEPS); }
};

struct Plan : Room {
  int team = 0;        // members that scratch has room for
  int64_t widest = 0;  // features
  Array<NodePlan> nodes;
  Array<Segment> cut;
  Array<Range> trainable;               // of the flat buffers, neighbours joined
  Array<Slope> slopes;                  // for taps of columns
  int64_t packed = 0, packed_each = 0;  // two places for a group's packed weights
  int64_t row_loss = 0, norm_blocks = 0, temp = 0, scratch = 0, scratch_each = 0, workspace = 0,
          workspace_each = 0;  // byte offsets and size
  int64_t bytes = 0;
  double flops = 0, flops_step = 0;  // of the forward pass, of nodes with a row a sample and of a sequence
};

// Parameters whose squared gradients are summed together; the sums are added in order.
constexpr int64_t kNormBlock = 4096;

// Taps sum over blocks of rows: a sample's steps; else 16, or as many times 16 as make 64 blocks at most.
inline int64_t tap_rows(int64_t N) { return N <= 1024 ? 16 : (N + 1023) / 1024 * 16; }
inline int64_t tap_blocks(int64_t N) { return (N + tap_rows(N) - 1) / tap_rows(N); }
struct ColumnsPart {
  double scatter;  // sum of (x - mean of its column)²
  int64_t steep;   // elements that are not saturated
};

// Offsets within the flat buffers for every tensor of the graph; returns the elements they take, -1 (as
// *state) where that is more than kMostElements. Each tensor starts on a cache line.
constexpr int64_t kMostElements = int64_t(1) << 58;
int64_t lay_out_tensors(Graph* graph, gm_dtype dtype, int64_t* state);

// Needs the tensors' offsets.
gm_status lay_out_arena(const Graph& graph, const KernelTable& table, gm_dtype dtype, const Room& room,
                        int team, Plan* plan, gm_error* e);

}  // namespace gradiometer
