// The kernels of one ISA, as a table of plain functions. Each is serial, allocates nothing, keeps no state
// and works on the range it is given: whoever calls it (kernels' C API, the network's plan) divides the work
// among threads. How work is divided never changes a bit of a result.
//
// This header is compiled into every ISA object: plain data and function pointers only, no inline function.
// Letters as in ARCHITECTURE.md: x, y; dx, dy = d loss / d x, y; N rows (batch), C features. Matrices are
// row-major; ld is the distance between rows in elements. Pointers need no alignment beyond their type's.
#pragma once
#include <stddef.h>
#include <stdint.h>

namespace gradiometer {

// A hyperparameter of an activation, a layer, a loss or an optimiser: a value with a default and a closed
// range.
struct Parameter {
  const char* name;
  double initial, low, high;
};
constexpr int kMaxParameters = 8;

template <class T>
struct ActivationKernels {
  // y = f(x) and dx = dy * f'(x); y may be x, dx may be dy or x. params: one double a Parameter of the row.
  void (*forward)(int64_t n, const T* x, T* y, const double* params);
  void (*backward)(int64_t n, const T* x, const T* dy, T* dx, const double* params);
};
struct Activation {
  const char* name;
  int parameter_count;
  const Parameter* parameters;
  ActivationKernels<float> f32;
  ActivationKernels<double> f64;
};

// C = A B (+ C), A is M x K with element (m, k) at a[m * a_row + k * a_col], one of the two strides 1.
// B is K x N: element (k, n) at b[k * b_row + n * b_col], one of the two strides 1, when `packed` is null,
// else what gemm_pack made (b is then not read). K goes in blocks of 512, each summed from zero in order by
// fma; then the old C (under accumulate), the blocks in order and bias[n] are added up, from the left. An
// element's bits depend on nothing but these, its row of A and its column of B: not on M, N, how C is cut
// into calls, or packing.
template <class T>
struct Gemm {
  int64_t M, N, K;
  const T* a;
  int64_t a_row, a_col;
  const T* b;
  int64_t b_row, b_col;
  const T* packed;  // columns n.. of a B packed whole, n a multiple of gemm_columns, start at packed + n * K
  T* c;
  int64_t ldc;
  const T* bias;    // N values or null
  bool accumulate;  // add to C instead of overwriting it (C is not read otherwise)
  T* workspace;     // gemm_workspace elements, best on a cache line; may be null where b_col is 1
};

// Sums over a matrix in float64, whatever its type: the material of every measurement.
struct Moments {
  int64_t count, zeros, subnormals, nans, infs;
  double sum, sum_squares, max_abs;  // of the finite elements
  double norm, deviation;            // sqrt(sum x²), sqrt(mean (x - mean)²), of any size that float64 holds
};
// The same of a part of it: of x 2^power, where squares leave float64, the mean, sum x² and sum (x - mean)².
// sum, mean and scatter are NaN where they were not wanted.
struct MomentsPart {
  int64_t finite, zeros, subnormals, nans, infs;
  double sum, sum_squares, max_abs;
  double mean, squares, scatter;
  int power;
};

template <class T>
struct OptimizerArgs {
  int64_t n;
  T* w;            // parameters
  const T* g;      // gradients
  T* const* slot;  // state, slot_count vectors of n
  double learning_rate;
  int64_t step;  // 1 at the first step
  const double* params;
};
struct Optimizer {
  const char* name;
  int slot_count;
  int parameter_count;
  const Parameter* parameters;
  void (*f32)(const OptimizerArgs<float>&);
  void (*f64)(const OptimizerArgs<double>&);
};

// A loss over rows of an (N, C) output. `target` is int64 class indices (N) or T values (N, C).
// Writes the loss of each row to row_loss (float64), not yet divided by anything, and, if dy is not null,
// dy = scale * d row_loss / d y. A mean over rows weighted by classes divides by the sum of the targets'
// weights.
template <class T>
struct LossArgs {
  int64_t N, C;
  const T* y;
  const void* target;
  double scale;
  double* row_loss;
  T* dy;
  const double* params;
  const double* class_weights;  // (C), of losses whose target is classes, or null for 1
};
enum class Target { classes, values };
struct Loss {
  const char* name;
  Target target;
  bool mean_over_features;  // mse: the loss of a row is its mean over C
  bool mean_over_rows;
  int parameter_count;
  const Parameter* parameters;
  void (*f32)(const LossArgs<float>&);
  void (*f64)(const LossArgs<double>&);
};

// Samples and channels of a batch norm: element (n, c, l) of x, and of y, dy and dx, lies at n ld + c L + l.
constexpr int64_t kBatchNormChannels = 1024;
// Rows of this many bytes are not looked for in a cache. 4096 x 1024 floats are that, on one and on two
// threads.
constexpr int64_t kFarRows = 8 << 20;
template <class T>
struct BatchNorm {
  int64_t N, C, L, ld;
  const T* x;
  const double *mean, *var;
  double eps;
  const T *gamma, *beta;  // (C), null for 1 and 0
};

struct DropoutKey {
  double p;  // 0 to 1
  uint64_t seed;
  uint32_t step, node;
};

// One step of a recurrent cell for `units` units, from the pointers on, of N samples. A sample's row holds
// `width` planes of H values, rows ld apart: pre-activations before forward, what backward reads after it. h,
// c, dh, dc, h_old: (N, H). c and dc are of cells with a memory (LSTM), null elsewhere.
// norm: of a cell with layer norm, see NormPlane, null elsewhere.
template <class T>
struct CellForward {
  int64_t N, H, units;
  T* row;
  int64_t ld;
  T *h, *c;  // the old state, overwritten by the new
  const T* norm;
};
// dh and dc: derivatives by the new state, overwritten: dc by that by the old c, dh, where the old h passes
// on without a weight (GRU), by what it gets this way. drow: derivatives by the pre-activations.
template <class T>
struct CellBackward {
  int64_t N, H, units;
  T* row;  // not written
  int64_t ld;
  const T* h_old;
  T *dh, *dc, *dc_total;  // dc_total: dc of the new c with the part through h, or null
  T* drow;
  int64_t ldd;
  // What is seen of the step, or null: for each sample kSeen numbers and three for each gate. own: the part
  // of dh that comes from no later step. path: derivative by the new state (c; GRU: h) by the paths that keep
  // to it from here on without a weight, but for own; overwritten by that by the old state.
  double* seen;
  int64_t seen_ld;  // from sample to sample
  const T* own;
  T* path;
  // Of a cell with layer norm, which takes one sample, all units of it: kNormScratch planes, and what it adds
  // the derivatives by `norm` to, or null.
  const T* norm;
  T *scratch, *sums;
};
// Sums over a sample's units of h², dh², c², dc_total², path² (with own), and the square of what path lacks
// of dc_total (GRU: dh), taken unit by unit; of each gate its value, how many are at most 0.1 and how many at
// least 0.9; of a tanh -0.9 and 0.9; of a relu 0 and inf.
enum { kSeenH, kSeenDh, kSeenC, kSeenDc, kSeenPath, kSeenRest, kSeen };
// Of a cell whose reset gate r comes before its product (GRU): row's r from its pre-activation, and r h.
template <class T>
struct CellReset {
  int64_t N, H, units;
  T* row;
  int64_t ld;
  const T* h;
  T* rh;
};
// After backward, from the derivative by r h: that by r's pre-activation into drow, and dh, to which the part
// through r h is added. rh: r h again, for the gradient by weights.
template <class T>
struct CellResetBack {
  int64_t N, H, units;
  const T* row;
  int64_t ld;
  const T* h_old;
  T* rh;
  const T* drh;
  T *dh, *drow;
  int64_t ldd;
};
// gates (N, gates H): the values of a row's gates, in torch's order; c: the new c, or null.
template <class T>
struct CellShow {
  int64_t N, H;
  T* row;  // not written
  int64_t ld;
  T *gates, *c;
  const T* norm;
};
// A cell with layer norm (Ba, Kiros, Hinton 2016): planes of H values of what it adds to the gates, what it
// multiplies the norms of W x, U h and c with, and what it adds to the last. A row has kNormStatistics
// float64 numbers after its planes: 1 / sqrt(var + eps) of the three.
enum NormPlane { kNormBias = 0, kNormX = 4, kNormH = 8, kNormC = 12, kNormShift = 13, kNormPlanes = 14 };
constexpr int kNormStatistics = 3, kNormScratch = 7;
constexpr double kNormEps = 1e-5;
// Of such a cell, when W x is in the row: its norm.
template <class T>
struct CellEnter {
  int64_t N, H;
  T* row;
  int64_t ld;
};
template <class T>
struct CellKernels {
  void (*forward)(const CellForward<T>&);
  void (*backward)(const CellBackward<T>&);
  void (*show)(const CellShow<T>&);
  // Or null.
  void (*reset)(const CellReset<T>&);
  void (*reset_back)(const CellResetBack<T>&);
  void (*enter)(const CellEnter<T>&);
};
template <class T>
struct Cells {
  CellKernels<T> at[6];  // in the order of gm_cell
};

template <class T>
struct Kernels {
  // Dense. gemm_pack lays B out for gemm: B is K x N at b[k * b_row + n * b_col], one of the two 1 (so a
  // weight (H, I) is packed for x Wᵀ with b_row 1, b_col I). Columns n0..n1 may be packed apart, n0 a
  // multiple of gemm_columns, n1 too or N; `packed` is the start of all, best on a cache line.
  // gemm_workspace: memory in which gemm lays out what it reads again and again, in elements, or 0.
  int64_t gemm_columns;
  int64_t (*gemm_packed_size)(int64_t K, int64_t N);  // in elements
  int64_t (*gemm_workspace)(const Gemm<T>& args);
  void (*gemm_pack)(int64_t K, int64_t N, const T* b, int64_t b_row, int64_t b_col, int64_t n0, int64_t n1,
                    T* packed);
  void (*gemm)(const Gemm<T>& args);
  // out[c] (+)= sum over rows of x[r, c]: rows in blocks of 512 summed from zero in order, blocks added in
  // order.
  void (*column_sum)(int64_t rows, int64_t C, const T* x, int64_t ld, T* out, bool accumulate);

  // y = a + scale * b, and y = scale * a; y may be a or b.
  void (*add_scaled)(int64_t n, const T* a, const T* b, double scale, T* y);
  void (*scale)(int64_t n, const T* a, double scale, T* y);
  // y = a within -limit..limit, NaN left as it is.
  void (*clamp)(int64_t n, const T* a, double limit, T* y);

  // Batch norm over a block of channels, kBatchNormChannels at most. The caller puts the passes together
  // (batch_norm.hpp). n: number of values of a channel, N L over all samples.
  // sums: with v = x - middle[c], u = dy or, where that is null, v: sum[c] = sum of u, dot[c] = sum of u v.
  // statistics: from the sums about a pivot, which mean holds before: mean and biased variance.
  // forward: y = (x - mean) / sqrt(var + eps) * gamma + beta.
  // gradients: from the sums of dy about the mean; dgamma, dbeta null where not wanted, added to under
  // accumulate. backward: dx from the same sums, or with null for them as where mean and var are constants.
  // far: the arrays are too big to be found in a cache; lines are asked for ahead and written past the
  // caches.
  void (*batch_norm_sums)(int64_t N, int64_t C, int64_t L, int64_t ld, const T* x, const double* middle,
                          const T* dy, bool far, double* sum, double* dot);
  void (*batch_norm_statistics)(double n, int64_t C, const double* sum, const double* dot, double* mean,
                                double* var);
  void (*batch_norm_forward)(const BatchNorm<T>&, T* y, bool far);
  void (*batch_norm_gradients)(int64_t C, const double* var, double eps, const double* sum, const double* dot,
                               T* dgamma, T* dbeta, bool accumulate);
  void (*batch_norm_backward)(const BatchNorm<T>&, double n, const T* dy, const double* sum,
                              const double* dot, T* dx, bool far);

  // Norm over `groups` equal groups of features of each row of x (N, C), rows C apart; mean and
  // 1 / sqrt(var + eps) of each group are written to cache (2 N groups). Not centred: the mean is 0 and var
  // the mean square. gamma, beta (C), null for 1 and 0. backward: dx, which may be dy; far: as above. sums
  // (group_norm.hpp puts them together): for the columns c0 to c1 sum[c - c0] = sum over rows of dy, dot[c -
  // c0] of dy (x - mean) rstd, from zero or, under `add`, from what is there.
  void (*group_norm_forward)(int64_t N, int64_t C, int64_t groups, bool centred, double eps, const T* x,
                             const T* gamma, const T* beta, T* y, double* cache);
  void (*group_norm_backward)(int64_t N, int64_t C, int64_t groups, bool centred, const T* x,
                              const double* cache, const T* gamma, const T* dy, T* dx, bool far);
  void (*group_norm_sums)(int64_t N, int64_t C, int64_t groups, const T* x, const double* cache, const T* dy,
                          int64_t c0, int64_t c1, bool add, double* sum, double* dot);

  // x, and w x for x <= 0, over (N, C), rows C apart; weight: one for all where `shared`, else (C). y may be
  // x, dx may be dy. parameters: dweight over all rows for the columns c0 to c1 (where shared: all, by the
  // call with c0 = 0), added to under accumulate.
  void (*prelu_forward)(int64_t N, int64_t C, bool shared, const T* x, const T* weight, T* y);
  void (*prelu_backward)(int64_t N, int64_t C, bool shared, const T* x, const T* weight, const T* dy, T* dx);
  void (*prelu_parameters)(int64_t N, int64_t C, bool shared, const T* x, const T* dy, int64_t c0, int64_t c1,
                           T* dweight, bool accumulate);

  // Softmax and log-softmax of each row of x (N, C), rows C apart; y may be x. backward: from the forward
  // pass's y; dx may be y or dy.
  void (*softmax_forward)(int64_t N, int64_t C, const T* x, T* y);
  void (*softmax_backward)(int64_t N, int64_t C, const T* y, const T* dy, T* dx);
  void (*log_softmax_forward)(int64_t N, int64_t C, const T* x, T* y);
  void (*log_softmax_backward)(int64_t N, int64_t C, const T* y, const T* dy, T* dx);

  // y = x m with m = 0 (probability p) or 1 / (1 - p), of the elements first, first + 1, ... of a tensor: m
  // is a function of the element and the key alone, and backward is the same call on dy. y may be x.
  void (*dropout)(int64_t n, int64_t first, const DropoutKey& key, const T* x, T* y);

  Cells<T> cells;

  // Measurement. moments: over n elements. moments_part: over rows of C, sums or norms alone, and, where
  // wanted, the square root of the sum of squares of each row; merge_moments: of parts with `count` elements
  // in order.
  void (*moments)(int64_t n, const T* x, Moments* out);
  void (*moments_part)(int64_t rows, int64_t C, const T* x, bool sums, MomentsPart* out, double* row_norms);
  void (*merge_moments)(int64_t parts, const MomentsPart* part, int64_t count, Moments* out);
  // The moments, means of the columns, and the sum of (x - mean of its column)²; merge: the mean over parts
  // of so many rows each, and what their means add to the sum.
  double (*columns_part)(int64_t rows, int64_t C, const T* x, MomentsPart* out, double* mean);
  double (*merge_columns)(int64_t parts, int64_t C, const double* means, int64_t rows, int64_t last,
                          double* mean);
  // row_squares[r] = sum over c of x². inside: adds to *count the number of elements with low <= x <= high
  // and sets seen[c] (left alone otherwise) where column c has one; each null where not wanted. Without the
  // count a column is left where it has one.
  void (*row_squares)(int64_t rows, int64_t C, const T* x, int64_t ld, double* out);
  void (*inside)(int64_t rows, int64_t C, const T* x, int64_t ld, double low, double high,
                 unsigned char* seen, int64_t* count);
};

struct KernelTable {
  const char* isa;
  int activation_count;
  const Activation* activations;
  int loss_count;
  const Loss* losses;
  int optimizer_count;
  const Optimizer* optimizers;
  Kernels<float> f32;
  Kernels<double> f64;
};

}  // namespace gradiometer
