// What the network knows of a layer: a LayerType is a value, one a file in layers/, listed once in
// layers/all.cpp.
//
// A node's work is divided along one axis: rows (a team member takes some samples through node after node,
// without waiting) or columns (batch statistics: the plan puts a barrier before and after, a member takes
// some features of all samples). Work over all samples that nothing waits for, the gradients of weights, is
// deferred to one phase after the backward pass.
//
// A value is a row a sample or a sequence: a row a step, sample by sample (row n T + t). Most types know rows
// only and work on either; those that know time are divided by samples.
#pragma once
#include "../dispatch.hpp"
#include "../error.hpp"
#include "../loops/parallel.hpp"

namespace gradiometer {

constexpr int kMaxInputs = 2;
constexpr int kMaxTensors = 8;

// A parameter or state tensor of a node; offset in elements within the network's flat buffer.
struct Tensor {
  const char* name;  // torch.nn's
  int rank;
  int64_t shape[2];
  double initial;  // value after a reset
  int64_t offset;
  bool frozen = false;  // a parameter that no gradient is wanted for
  int64_t size() const { return rank == 1 ? shape[0] : shape[0] * shape[1]; }
};

struct LayerType;

// What a type knows of time: nothing (`rows`), or it makes of a sequence another, or one row a sample.
enum class Time { rows, sequence, row };

struct Node {
  const LayerType* type;
  int inputs[kMaxInputs];
  int input_count;
  int64_t features;  // of the output
  bool sequence;     // so is the output
  int64_t in_features[kMaxInputs];
  double attributes[kMaxParameters];
  int activation;  // row of the table of activations, or -1
  double activation_parameters[kMaxParameters];
  Tensor parameters[kMaxTensors];
  int parameter_count;
  Tensor state[kMaxTensors];
  int state_count;
  unsigned value_taps = ~0u, gradient_taps = ~0u;  // which of a pass's taps look at it
};

// One node at work on a batch. Pointers are to whole matrices; null where there is nothing to do.
template <class T>
struct Call {
  const Node& node;
  const KernelTable& table;
  const Kernels<T>& k;
  const gm_context& context;
  int id;
  int64_t N;  // rows; samples, for a type that knows time
  bool training, accumulate;
  bool backward_follows = false;
  int64_t steps = 0;                 // of a sequence
  const int64_t* lengths = nullptr;  // of the samples, or null for T
  int64_t first_row = 0;             // of a micro-batch within the batch, in rows of this node
  const T* x[kMaxInputs] = {};
  T* y = nullptr;
  const T* dy = nullptr;
  T* dx = nullptr;  // gradient by input `input`, to be overwritten
  int input = 0;
  T* parameters[kMaxTensors] = {};
  T* gradients[kMaxTensors] = {};  // null where frozen
  T* state[kMaxTensors] = {};
  double* cache =
      nullptr;             // written by forward (and by prepare, where the type knows time), read by backward
  T* packed = nullptr;     // written by prepare, read by forward; null where the node is shared by columns
  T* workspace = nullptr;  // a member's own, as big as workspace_size says
  double* seen = nullptr;  // where a measurement of steps is made, as big as seen_size says; or null
};

template <class T>
struct LayerFunctions {
  // Before the forward pass, by the whole team together (a barrier follows). May be null.
  void (*prepare)(const Call<T>&, Team) = nullptr;
  // y from x over a range of rows, or of columns where splits_columns or prefers_columns says so. What knows
  // time gets samples instead of rows, here and below.
  void (*forward)(const Call<T>&, Range) = nullptr;
  // dx of one input from dy over a range of its rows or columns. A layer that splits columns also writes its
  // parameters' gradients here, one that makes sequences what they are made of (dx may then be null).
  void (*backward)(const Call<T>&, Range) = nullptr;
  // Gradients of parameters over all rows, for a range of output features (16 or more, but at the end), after
  // the backward pass of the node's segment; not called where all are frozen. May be null.
  void (*parameter_gradient)(const Call<T>&, Range) = nullptr;
  // What a successful training pass leaves behind (running statistics), at its very end, by one thread. May
  // be null.
  void (*commit)(const Call<T>&) = nullptr;
  // What `seen` holds of the steps after the backward pass of all samples.
  void (*tap_steps)(const Call<T>&, gm_tap*) = nullptr;
};

// A layer's file sets what differs from these.
struct LayerType {
  const char* name = nullptr;
  int attribute_count = 0;
  const Parameter* attributes = nullptr;
  const char* text_attribute = nullptr;  // an attribute that names an activation, or null
  int input_count = 1;
  // Fills features, parameters and state from attributes and in_features; refuses what cannot be.
  gm_status (*set_up)(Node&, gm_error*) = nullptr;
  bool (*splits_columns)(bool training) = never;  // an output needs whole columns
  // Whether a team shares the node by columns although rows would do, and what workspace a member needs, in
  // elements, for a batch of up to N. Both may be null.
  bool (*prefers_columns)(const Node&, gm_dtype, int64_t N) = nullptr;
  int64_t (*workspace_size)(const Node&, const KernelTable&, gm_dtype, int64_t N) = nullptr;
  bool backward_in_place = false;                       // dx may be dy
  int64_t (*cache_size)(const Node&) = nullptr;         // doubles; null for none
  int64_t (*cache_size_of_row)(const Node&) = nullptr;  // doubles for every row of the batch; null for none
  int64_t (*packed_size)(const Node&, const KernelTable&, gm_dtype) = nullptr;  // elements; null for none
  double (*flops)(const Node&) = nullptr;                                       // of the forward pass, a row
  LayerFunctions<float> f32;
  LayerFunctions<double> f64;
  Time time = Time::rows;
  // Bytes of the cache over N samples of T steps, in place of the two above; null for none.
  int64_t (*cache_size_of_time)(const Node&, const KernelTable&, gm_dtype, int64_t N, int64_t T) = nullptr;
  // Doubles of what is seen of the steps; null for none.
  int64_t (*seen_size)(const Node&, const KernelTable&, gm_dtype, int64_t N, int64_t T) = nullptr;

  template <int n>
  constexpr void take(const Parameter (&all)[n]) {
    attribute_count = n;
    attributes = all;
  }
  static bool never(bool) { return false; }
};

template <class T>
const LayerFunctions<T>& functions(const LayerType& type);
template <>
inline const LayerFunctions<float>& functions<float>(const LayerType& type) {
  return type.f32;
}
template <>
inline const LayerFunctions<double>& functions<double>(const LayerType& type) {
  return type.f64;
}

int layer_type_count();
const LayerType& layer_type(int i);

}  // namespace gradiometer
