/* Gradiometer's C API: kernels, networks and measurement for gradients that vanish or explode.
 *
 * - Every fallible function returns a gm_status and, if `error` is not null, fills the caller's gm_error with
 * the name of the argument, what came and what was expected. A failed call changes nothing.
 * - struct_size comes first in every struct that may grow; set it to sizeof(the struct).
 * - Buffers belong to the caller. Matrices are row-major. Pointers need the alignment of their element type.
 * - Nothing is printed, nothing aborts, nothing throws. Functions are re-entrant; one network must not be
 * used by two threads at once. No state is global but the chosen ISA and the number of threads.
 *
 * Letters: N batch, C features, I input, H output features; x, y; dx, dy = derivative of the loss by x, y.
 * dtype says what `void` pointers point to: float or double. */
#ifndef GRADIOMETER_H
#define GRADIOMETER_H
#include <gradiometer/version.h>
#include <stddef.h>
#include <stdint.h>

#if defined(_WIN32) && defined(GM_SHARED)
#ifdef GM_BUILDING
#define GM_API __declspec(dllexport)
#else
#define GM_API __declspec(dllimport)
#endif
#elif defined(GM_BUILDING)
#define GM_API __attribute__((visibility("default")))
#else
#define GM_API
#endif

#ifdef __cplusplus
extern "C" {
#endif

typedef enum gm_status {
  GM_OK = 0,
  GM_INVALID_ARGUMENT = 1,
  GM_OUT_OF_MEMORY = 2,
  GM_CANCELLED = 3,
  GM_INDEX_OUT_OF_RANGE = 4 /* a class index outside 0..C-1 */
} gm_status;

typedef struct gm_error {
  size_t struct_size;
  gm_status status;
  char argument[32];
  char message[256];
} gm_error;

typedef enum gm_dtype { GM_FLOAT32 = 0, GM_FLOAT64 = 1 } gm_dtype;

/* A hyperparameter of an activation, loss, optimiser or layer type: default and closed range. `text`
 * parameters (the activation of an activation layer) take a name instead of a number. */
typedef struct gm_parameter {
  const char* name;
  double initial, low, high;
  int text;
} gm_parameter;

/* ---- library ----------------------------------------------------------------------------------------------
 */
GM_API const char* gm_version(void);
GM_API int gm_abi_version(void);
GM_API int gm_threaded(void); /* 1 if built with threads */

/* Instruction sets compiled in, worst first; the best supported one is used unless GRADIOMETER_ISA or
 * gm_isa_set names another. An unknown or unsupported GRADIOMETER_ISA is reported by gm_isa_error (else null)
 * and ignored. */
GM_API int gm_isa_count(void);
GM_API const char* gm_isa_name(int i);
GM_API int gm_isa_supported(int i);
GM_API const char* gm_isa(void);
GM_API const char* gm_isa_error(void);
GM_API gm_status gm_isa_set(const char* name, gm_error* error); /* null: the best again */

GM_API int gm_threads(void);
GM_API gm_status gm_threads_set(int threads, gm_error* error); /* 0: the default again */

/* 1 if the calling thread flushes subnormals to zero (set by the host program; never by this library). */
GM_API int gm_flushes_subnormals(void);

/* ---- activations ------------------------------------------------------------------------------------------
 */
GM_API int gm_activation_count(void);
GM_API const char* gm_activation_name(int i);
GM_API int gm_activation_find(const char* name);                             /* -1 if there is none */
GM_API int gm_activation_parameters(int i, const gm_parameter** parameters); /* returns how many */

/* y = f(x), dx = dy f'(x), over n elements. In place is allowed; other overlap is not.
 * params: one number a parameter, or null for the defaults. */
GM_API gm_status gm_activation_forward(int i, gm_dtype dtype, int64_t n, const void* x, void* y,
                                       const double* params, gm_error* error);
GM_API gm_status gm_activation_backward(int i, gm_dtype dtype, int64_t n, const void* x, const void* dy,
                                        void* dx, const double* params, gm_error* error);

/* ---- dense ------------------------------------------------------------------------------------------------
 */
typedef enum gm_form { GM_NN = 0, GM_NT = 1, GM_TN = 2 } gm_form;
/* C (M, N) = A B, plus C itself under accumulate. NN: A (M, K), B (K, N); NT: B is stored (N, K); TN: A is
 * stored (K, M). lda, ldb, ldc: distance between stored rows. */
GM_API gm_status gm_gemm(gm_form form, gm_dtype dtype, int64_t M, int64_t N, int64_t K, const void* a,
                         int64_t lda, const void* b, int64_t ldb, void* c, int64_t ldc, int accumulate,
                         gm_error* error);
/* B laid out once for many products: NN and TN: B (K, N); NT: B is stored (N, K). gm_gemm_packed: form says
 * how A is stored (TN or not); M, lda, ldc as above. Safe to share between threads; free(null) is allowed. */
typedef struct gm_packed gm_packed;
GM_API gm_status gm_gemm_pack(gm_form form, gm_dtype dtype, int64_t N, int64_t K, const void* b, int64_t ldb,
                              gm_packed** packed, gm_error* error);
GM_API gm_status gm_gemm_packed(gm_form form, int64_t M, const void* a, int64_t lda, const gm_packed* b,
                                void* c, int64_t ldc, int accumulate, gm_error* error);
GM_API void gm_packed_free(gm_packed* packed);
/* y (N, H) = x (N, I) Wᵀ + b; weight (H, I), bias (H) or null. */
GM_API gm_status gm_linear_forward(gm_dtype dtype, int64_t N, int64_t I, int64_t H, const void* x,
                                   const void* weight, const void* bias, void* y, gm_error* error);
/* dx, dweight, dbias: each may be null; accumulate adds to dweight and dbias. */
GM_API gm_status gm_linear_backward(gm_dtype dtype, int64_t N, int64_t I, int64_t H, const void* x,
                                    const void* weight, const void* dy, void* dx, void* dweight, void* dbias,
                                    int accumulate, gm_error* error);

/* ---- batch norm over (N, C, L): N samples of C channels of L values, L 1 for a matrix ---------------------
 */
typedef struct gm_batch_norm {
  size_t struct_size;
  double eps, momentum;
  int training;       /* 1: statistics of the batch; 0: running_mean and running_var */
  const void* gamma;  /* (C) or null for 1 */
  const void* beta;   /* (C) or null for 0 */
  void* running_mean; /* (C); written when training; may be null when training */
  void* running_var;  /* (C); the unbiased variance is stored */
} gm_batch_norm;
/* cache: 2 C doubles, written (mean and biased variance used), read by backward; may be null if none follows.
 */
GM_API gm_status gm_batch_norm_forward(gm_dtype dtype, int64_t N, int64_t C, int64_t L, const void* x,
                                       const gm_batch_norm* norm, void* y, double* cache, gm_error* error);
GM_API gm_status gm_batch_norm_backward(gm_dtype dtype, int64_t N, int64_t C, int64_t L, const void* x,
                                        const gm_batch_norm* norm, const double* cache, const void* dy,
                                        void* dx, void* dgamma, void* dbeta, int accumulate, gm_error* error);

/* ---- norms within a row of (N, C)
 * --------------------------------------------------------------------------
 */
/* Layer norm: groups 1, centred 1. RMS norm: groups 1, centred 0. Group norm: centred 1. */
typedef struct gm_group_norm {
  size_t struct_size;
  int64_t groups; /* divides C */
  int centred;    /* 0: the mean is not taken out */
  double eps;
  const void* gamma; /* (C) or null for 1 */
  const void* beta;  /* (C) or null for 0 */
} gm_group_norm;
/* cache: 2 N groups doubles, written (mean and 1 / sqrt(var + eps) of each group), read by backward; may be
 * null if none follows. dx, dgamma, dbeta: each may be null; dx may be dy only where both others are null. */
GM_API gm_status gm_group_norm_forward(gm_dtype dtype, int64_t N, int64_t C, const void* x,
                                       const gm_group_norm* norm, void* y, double* cache, gm_error* error);
GM_API gm_status gm_group_norm_backward(gm_dtype dtype, int64_t N, int64_t C, const void* x,
                                        const gm_group_norm* norm, const double* cache, const void* dy,
                                        void* dx, void* dgamma, void* dbeta, int accumulate, gm_error* error);

/* ---- prelu and softmax over (N, C) ------------------------------------------------------------------------
 */
/* y = x, and w x for x <= 0. weight: `weights` numbers, 1 for all features or C, one each. y may be x.
 * backward: dx = dy, and w dy for x <= 0; dweight = sum of x dy over x <= 0. Each of the two may be null, dx
 * may be dy; accumulate adds to dweight. */
GM_API gm_status gm_prelu_forward(gm_dtype dtype, int64_t N, int64_t C, int64_t weights, const void* x,
                                  const void* weight, void* y, gm_error* error);
GM_API gm_status gm_prelu_backward(gm_dtype dtype, int64_t N, int64_t C, int64_t weights, const void* x,
                                   const void* weight, const void* dy, void* dx, void* dweight,
                                   int accumulate, gm_error* error);
/* Of each row: y = exp(x) / sum exp(x), and its logarithm. A row with NaN or inf, or of -inf alone, is NaN.
 * backward: from the forward pass's y. y may be x; dx may be y or dy. */
GM_API gm_status gm_softmax_forward(gm_dtype dtype, int64_t N, int64_t C, const void* x, void* y,
                                    gm_error* error);
GM_API gm_status gm_softmax_backward(gm_dtype dtype, int64_t N, int64_t C, const void* y, const void* dy,
                                     void* dx, gm_error* error);
GM_API gm_status gm_log_softmax_forward(gm_dtype dtype, int64_t N, int64_t C, const void* x, void* y,
                                        gm_error* error);
GM_API gm_status gm_log_softmax_backward(gm_dtype dtype, int64_t N, int64_t C, const void* y, const void* dy,
                                         void* dx, gm_error* error);

/* y = x m, m = 0 with probability p, else 1 / (1 - p): of element i of a tensor a function of i, seed, step
 * and node alone. Backward is the same call on dy. y may be x. */
GM_API gm_status gm_dropout(gm_dtype dtype, int64_t n, const void* x, double p, uint64_t seed, uint32_t step,
                            uint32_t node, void* y, gm_error* error);

/* ---- recurrent layers over (T, N, I) ----------------------------------------------------------------------
 */
/* Weights and their order are torch.nn's: G gates of H rows each, weight_ih (G H, I), weight_hh (G H, H),
 * biases (G H) or null for 0. LSTM: i, f, g, o. GRU: r, z, n, the reset gate after the product with
 * weight_hh, r (U h + b), or before it, U (r h) + b. RNN: one. An LSTM may be projected (Sak, Senior,
 * Beaufays 2014, arXiv:1402.1128): h = weight_hr (o tanh(c)) has P features instead of H, and so have y, h0,
 * h_n, their derivatives and the columns of weight_hh. GM_LSTM_NORM is the LSTM with layer norm (Ba, Kiros,
 * Hinton 2016, arXiv:1607.06450, appendix; eps 1e-5), not projected: the gates are norm_weight_ih norm(W x) +
 * norm_weight_hh norm(U h) + both biases, each norm over all 4 H, c = f c + i g, and h = o tanh(norm_weight_c
 * norm(c) + norm_bias_c). What a norm of one unit gives is 0. */
typedef enum gm_cell {
  GM_LSTM = 0,
  GM_GRU = 1,
  GM_RNN_TANH = 2,
  GM_RNN_RELU = 3,
  GM_GRU_RESET_BEFORE = 4,
  GM_LSTM_NORM = 5
} gm_cell;
typedef struct gm_recurrent {
  size_t struct_size;
  gm_cell cell;
  int64_t T, N, I, H;
  const int64_t* lengths; /* (N), 0 to T each, in any order, or null for T: steps beyond are not computed */
  int reverse;            /* 1: from the last step of each sample to its first */
  int batch_first;        /* 1: x, y and all that is by step are (N, T, ...) instead of (T, N, ...) */
  int64_t
      recompute; /* k > 0: the cache keeps the state of every k-th step, backward computes the rest again */
  int64_t y_stride; /* distance between the rows of y and of dy, 0 for H, or P */
  const void *weight_ih, *weight_hh, *bias_ih, *bias_hh;
  int64_t P;             /* features of the projection, 0 for none */
  const void* weight_hr; /* (P, H), null without */
  const struct gm_recurrent_packed*
      packed;                /* what forward then reads instead of weights and biases, or null */
  int (*cancel)(void* data); /* null, or asked some 50 times a second on the calling thread; non-zero: the
                              * call ends with GM_CANCELLED, and what it would have written is not whole */
  void* cancel_data;
  const void *norm_weight_ih, *norm_weight_hh; /* of GM_LSTM_NORM: (4 H), null for 1 */
  const void *norm_weight_c, *norm_bias_c;     /* (H), null for 1, and for 0 */
} gm_recurrent;
/* The weights and biases of a layer of any T and N laid out once for many calls of forward, which otherwise
 * does it every time. Safe to share between threads; free(null) is allowed. */
typedef struct gm_recurrent_packed gm_recurrent_packed;
GM_API gm_status gm_recurrent_pack(gm_dtype dtype, const gm_recurrent* layer, gm_recurrent_packed** packed,
                                   gm_error* error);
GM_API void gm_recurrent_packed_free(gm_recurrent_packed* packed);
/* Bytes that the caller provides. cache: T N H (G + 1) elements for LSTM and GRU, T N H G for RNN and
 * GM_GRU_RESET_BEFORE, T N (10 H + 3 float64) for GM_LSTM_NORM; with recompute ceil(T / k) N H for both LSTM,
 * none for the others; a projection T N H more, none with recompute. The workspaces may be thrown away after
 * the call.
 */
typedef struct gm_recurrent_memory {
  size_t struct_size;
  int64_t cache, forward, backward;
  int64_t steps;   /* the workspace of gm_recurrent_steps */
  int64_t stepper; /* for gm_recurrent_step */
} gm_recurrent_memory;
GM_API gm_status gm_recurrent_sizes(gm_dtype dtype, const gm_recurrent* layer, gm_recurrent_memory* out,
                                    gm_error* error);
/* y (T, N, H): h of every step, 0 beyond a sample's length. h0, c0 (N, H) or null for 0; h_n, c_n (N, H), the
 * state after each sample's last step, may be null; c0 and c_n are both LSTM's. cache may be null where no
 * backward follows; then recompute is not looked at. */
GM_API gm_status gm_recurrent_forward(gm_dtype dtype, const gm_recurrent* layer, const void* x,
                                      const void* h0, const void* c0, void* y, void* h_n, void* c_n,
                                      void* cache, void* workspace, gm_error* error);
/* dy (T, N, H), dh_n, dc_n: derivatives by what forward gave, null for 0; beyond a sample's length dy is not
 * read. The others are written and may be null. dh, dc (T, N, H): derivative of the loss by h and c of every
 * step, through y and through all later steps; 0 beyond a sample's length, as dx. accumulate adds to the
 * weights' and biases'. */
typedef struct gm_recurrent_steps gm_recurrent_steps;
typedef struct gm_recurrent_gradients {
  size_t struct_size;
  const void *dy, *dh_n, *dc_n;
  void *dx, *dh0, *dc0;
  void *dweight_ih, *dweight_hh, *dbias_ih, *dbias_hh, *dweight_hr;
  void *dh, *dc;
  int accumulate;
  const gm_recurrent_steps* steps; /* null, or what backward is to see of every step */
  void *dnorm_weight_ih, *dnorm_weight_hh, *dnorm_weight_c, *dnorm_bias_c;
} gm_recurrent_gradients;
/* Sums over the units of the samples that run at a step, in float64, in an order that does not depend on the
 * number of threads. Entry s is the s-th step that each sample takes; with from_end the step with s more to
 * come. By time these are the first forwards and the second with reverse, whatever the lengths; the second is
 * the distance that the derivative by a sample's last step has come. Each (T), or (T, G); each may be null.
 * rows: samples running; h, c: squares of the state after the step; dh, dc: squares of the loss's derivative
 * by them, by all paths; path: squares of the part of dc (GRU: of dh) that came along the memory alone, as if
 * the products with weight_hh had no derivative: by dy, dh_n, dc_n, and from step to step times the forget
 * gate (GRU: z); rest: squares of what path lacks of dc (GRU: of dh). c and dc are 0 but for the LSTM, path
 * and rest for an RNN. gate: of the gates' values in the order of
 * the weights; low, high: how many are at most 0.1, at least 0.9 (g, n and an RNN's tanh: -0.9 and 0.9; relu:
 * 0, and none). */
struct gm_recurrent_steps {
  size_t struct_size;
  void* workspace; /* gm_recurrent_memory.steps bytes */
  int from_end;
  double *rows, *h, *c, *dh, *dc, *path, *rest;
  double *gate, *low, *high;
};
/* x, h0, y and cache as forward had and left them, in the same instruction set or another. */
GM_API gm_status gm_recurrent_backward(gm_dtype dtype, const gm_recurrent* layer, const void* x,
                                       const void* h0, const void* y, const void* cache,
                                       const gm_recurrent_gradients* gradients, void* workspace,
                                       gm_error* error);
/* One step at a time, as data come: gm_recurrent_step_pack lays the weights out in memory that the caller
 * keeps (gm_recurrent_memory.stepper bytes) and packs again when they change; gm_recurrent_step takes x (N,
 * I) and the state h, and for the LSTM c, (N, H), which it overwrites by the new one. It allocates nothing,
 * begins no thread, and gives the bits of gm_recurrent_forward. T, lengths, reverse and y_stride are not
 * looked at.
 */
GM_API gm_status gm_recurrent_step_pack(gm_dtype dtype, const gm_recurrent* layer, void* memory,
                                        gm_error* error);
GM_API gm_status gm_recurrent_step(gm_dtype dtype, const gm_recurrent* layer, void* memory, const void* x,
                                   void* h, void* c, gm_error* error);
/* From a cache without recompute: gates (T, N, G H), the values of the gates of every step (RNN: h), and of
 * the LSTM c (T, N, H), which may be null; 0 beyond a sample's length. workspace: that of forward. Of
 * GM_LSTM_NORM the biases and the norms' weights are read, or packed. */
GM_API gm_status gm_recurrent_gates(gm_dtype dtype, const gm_recurrent* layer, const void* cache, void* gates,
                                    void* c, void* workspace, gm_error* error);

/* ---- losses -----------------------------------------------------------------------------------------------
 */
typedef enum gm_target { GM_CLASSES = 0, GM_VALUES = 1 } gm_target; /* int64 (N) or values of dtype (N, C) */
GM_API int gm_loss_count(void);
GM_API const char* gm_loss_name(int i);
GM_API int gm_loss_find(const char* name);
GM_API gm_target gm_loss_target(int i);
GM_API int gm_loss_parameters(int i, const gm_parameter** parameters); /* returns how many */
/* *value = the loss (mean over the batch where the loss is a mean); dy (N, C) may be null.
 * params: as for activations. class_weights: (C) of a loss of classes, or null for 1; the mean then divides
 * by the sum of the targets' weights, and is NaN where that is 0. */
GM_API gm_status gm_loss(int i, gm_dtype dtype, int64_t N, int64_t C, const void* y, const void* target,
                         const double* params, const double* class_weights, double* value, void* dy,
                         gm_error* error);

/* ---- measurement of a matrix ------------------------------------------------------------------------------
 */
typedef struct gm_moments {
  int64_t count, zeros, subnormals, nans, infs;
  double sum, sum_squares, max_abs; /* of the finite elements, in float64 */
  double norm,
      deviation; /* sqrt(sum x^2), sqrt(mean (x - mean)^2): right where their squares leave float64 */
} gm_moments;
GM_API gm_status gm_measure(gm_dtype dtype, int64_t n, const void* x, gm_moments* out, gm_error* error);

/* ---- networks ---------------------------------------------------------------------------------------------
 */
/* A graph of nodes; node 0 is the input. The last node added is the output. */
typedef struct gm_graph gm_graph;
typedef struct gm_attribute {
  const char* name;
  double number;
  const char* text; /* for text attributes, else null */
} gm_attribute;
GM_API int gm_layer_type_count(void);
GM_API const char* gm_layer_type_name(int i);
GM_API int gm_layer_type_attributes(int i, const gm_parameter** attributes);
GM_API gm_status gm_graph_create(int64_t features, gm_graph** graph, gm_error* error);
/* The input is a sequence of rows a sample: x is (N, T, features), T and the lengths are those of the call
 * (gm_context). Layers of rows (linear, activation, norms, ...) work on every step; lstm, gru and rnn make a
 * sequence of one, from a state of 0, and last_step one row a sample. */
GM_API gm_status gm_graph_create_sequence(int64_t features, gm_graph** graph, gm_error* error);
GM_API void gm_graph_destroy(gm_graph* graph);
GM_API gm_status gm_graph_add(gm_graph* graph, const char* type, const int* inputs, int input_count,
                              const gm_attribute* attributes, int attribute_count, int* node,
                              gm_error* error);
GM_API int gm_graph_node_count(const gm_graph* graph);
GM_API int64_t gm_graph_features(const gm_graph* graph, int node);
GM_API int gm_graph_is_sequence(const gm_graph* graph, int node); /* 1 if its output is (N, T, features) */

/* Bytes and elements a network needs. */
typedef struct gm_memory {
  size_t struct_size;
  int64_t parameters, state; /* elements of dtype: parameters, gradients and each optimiser slot alike */
  int64_t arena;             /* bytes for a batch: cache and scratch */
} gm_memory;
typedef enum gm_taps {
  GM_TAP_NONE = 0,
  GM_TAP_MOMENTS = 1, /* of every node's value and gradient */
  GM_TAP_ROWS = 2,    /* norms by sample, of value and gradient; with the moments */
  GM_TAP_COLUMNS = 4, /* spread between samples, and the slope; with the moments */
  GM_TAP_STEPS = 8,   /* of lstm, gru and rnn what gm_recurrent_steps holds */
  GM_TAP_NORMS = 16,  /* of the moments all but sum and deviation, which are NaN */
  GM_TAP_SLOPE = 32   /* saturation and activity by unit; with the norms */
} gm_taps;
/* steps: of a sequence, 0 where the input is none. */
GM_API gm_status gm_network_memory(const gm_graph* graph, gm_dtype dtype, int64_t batch, int64_t steps,
                                   unsigned taps, gm_memory* memory, gm_error* error);

/* A network over the caller's flat buffers (each may be null: then the network allocates it, zero-filled).
 * The graph is copied. Parameters start at their natural values (weights 0, gamma 1, running_var 1) only in
 * buffers that the network allocates; gm_network_reset writes them to any. */
typedef struct gm_network gm_network;
GM_API gm_status gm_network_create(const gm_graph* graph, gm_dtype dtype, void* parameters, void* gradients,
                                   void* state, gm_network** network, gm_error* error);
GM_API void gm_network_destroy(gm_network* network);
GM_API void gm_network_reset(gm_network* network);
/* Makes room for a batch (kept for smaller ones, and shorter sequences) with the given taps; calls below do
 * it themselves when needed. steps: as for gm_network_memory. */
GM_API gm_status gm_network_reserve(gm_network* network, int64_t batch, int64_t steps, unsigned taps,
                                    gm_error* error);
/* The arena may not take more than `bytes` from now on (0: it may), and one that there is is freed. A call
 * that needs more fails with GM_OUT_OF_MEMORY and says how much; gm_network_forward in evaluation takes fewer
 * rows at a time. */
GM_API gm_status gm_network_limit_arena(gm_network* network, int64_t bytes, gm_error* error);
/* The arena from the caller's memory (aligned to 64 bytes, kept alive by the caller; null: allocated again).
 * A call that needs more than `bytes` then fails with GM_OUT_OF_MEMORY and says how much; gm_network_memory
 * tells it first. */
GM_API gm_status gm_network_lend_arena(gm_network* network, void* memory, int64_t bytes, gm_error* error);

typedef struct gm_tensor {
  size_t struct_size;
  int node;
  const char* name; /* torch.nn's name within the layer: weight, bias, running_mean, ... */
  int rank;
  int64_t shape[4];
  int64_t offset, size; /* elements, in the flat buffer */
} gm_tensor;
GM_API int gm_network_parameter_count(const gm_network* network);
GM_API void gm_network_parameter(const gm_network* network, int i, gm_tensor* tensor);
GM_API int gm_network_state_count(const gm_network* network);
GM_API void gm_network_state(const gm_network* network, int i, gm_tensor* tensor);
GM_API void* gm_network_parameters(gm_network* network);
/* Which of a pass's taps look at a node's value, and at the derivative of the loss by it: all at first. What
 * nothing looks at has a count of 0 and NaN in its gm_tap, and a derivative that nothing needs is not made.
 */
GM_API gm_status gm_network_set_taps(gm_network* network, int node, unsigned of_value, unsigned of_gradient,
                                     gm_error* error);
/* Whether parameter i (counted as by gm_network_parameter) is trained: all are at first. A pass without taps,
 * or with those of steps alone, computes nothing for a frozen one (its gradients are not written), nor any
 * gradient by a node beneath which all are frozen, unless dx is asked for. A step leaves a frozen parameter
 * and its slots as they are, and clipping does not see its gradient. Its layer is otherwise the same: batch
 * norm still follows the batch in training. */
GM_API gm_status gm_network_set_trainable(gm_network* network, int i, int trainable, gm_error* error);
GM_API int gm_network_trainable(const gm_network* network, int i);
GM_API void* gm_network_gradients(gm_network* network);
GM_API void* gm_network_state_buffer(gm_network* network);

GM_API int gm_optimizer_count(void);
GM_API const char* gm_optimizer_name(int i);
GM_API int gm_optimizer_find(const char* name);
GM_API int gm_optimizer_slots(int i);
GM_API int gm_optimizer_parameters(int i, const gm_parameter** parameters);

/* What a run may vary. Zero-initialise, set struct_size, then what differs. */
typedef struct gm_context {
  size_t struct_size;
  int training;          /* batch statistics, running statistics updated */
  int freeze_statistics; /* with training: leave the running statistics as they are (measurement) */
  int accumulate;        /* add to the gradients instead of overwriting them */
  /* What a mean loss divides by; 0: N, or the sum of the targets' weights. A micro-batch gives the whole
   * batch's. */
  double mean_over;
  const double* loss_params;   /* null: the defaults */
  const double* class_weights; /* as for gm_loss */
  unsigned taps;
  /* Above 1: the graph is cut into up to so many segments; what only one of them reads is not kept and run
   * forward again before its backward. The same bits in less memory. Nothing to measurement (taps). */
  int segments;
  /* Of a network of sequences: x is (N, steps, features), and so is the output, if it is one, as y and as
   * target (int64 (N, steps), or (N, steps, C)). lengths: (N), 1 to steps each, in any order, or null for
   * steps. Steps beyond a sample's length are not run by recurrent layers, bear no loss and no gradient and
   * are not seen by taps; y and dx are 0 there. The loss is a mean over the steps that are left. 0 and null
   * else. */
  int64_t steps;
  const int64_t* lengths;
  uint64_t seed;     /* of random masks: each is a function of seed, step, node and element alone */
  int64_t first_row; /* of a micro-batch within the whole batch: where it counts its samples from */
  int64_t step;      /* 1, 2, ... for the optimiser */
  double learning_rate;
  double clip_value; /* with a step: gradients are cut to -clip_value..clip_value; 0: not */
  double clip_norm;  /* then, where their norm is above, multiplied by clip_norm / (norm + 1e-6); 0: not */
  int decay_matrices_only;   /* weight_decay leaves tensors of rank 1 (biases, norms) alone */
  int (*cancel)(void* data); /* polled between pieces of work on the calling thread; non-zero cancels */
  void* cancel_data;
} gm_context;

/* Bytes of the arena for gm_network_gradient without dx, or gm_network_step, on a batch: of the context taps
 * and segments count, and what is frozen. */
GM_API gm_status gm_network_arena(const gm_network* network, const gm_context* context, int64_t batch,
                                  int64_t* bytes, gm_error* error);

/* y (N, features of the output), or (N, steps, features) where that is a sequence. */
GM_API gm_status gm_network_forward(gm_network* network, const gm_context* context, int64_t N, const void* x,
                                    void* y, gm_error* error);
/* A network as it is now, for evaluation alone: graph, parameters and state are copied, weights packed once
 * for the kernels chosen now. Later changes do not reach it, and `network` may be destroyed. The bits are
 * those of gm_network_forward in evaluation. */
typedef struct gm_inference gm_inference;
GM_API gm_status gm_inference_create(const gm_network* network, gm_inference** inference, gm_error* error);
GM_API void gm_inference_destroy(gm_inference* inference); /* null is allowed */
/* Bytes of a workspace, for any number of rows. */
GM_API int64_t gm_inference_workspace(const gm_inference* inference);
/* y (N, features of the output) from x (N, input features), which may not overlap. Allocates nothing, takes
 * no lock and runs on the calling thread alone, for one sample and for thousands. workspace: memory on a
 * multiple of 64 that this call has to itself; with one each any number of threads may share an inference.
 * Null: that of the inference, for one call at a time. */
GM_API gm_status gm_inference_forward(const gm_inference* inference, int64_t N, const void* x, void* y,
                                      void* workspace, gm_error* error);
/* Forward, loss and backward: the gradients buffer, and dx (N, input features) unless null. */
GM_API gm_status gm_network_gradient(gm_network* network, const gm_context* context, int64_t N, const void* x,
                                     int loss, const void* target, double* value, void* dx, gm_error* error);
/* gm_network_gradient, then the optimiser: slots are gm_optimizer_slots(i) vectors of `parameters` elements,
 * one after the other; params as for activations. */
GM_API gm_status gm_network_step(gm_network* network, const gm_context* context, int64_t N, const void* x,
                                 int loss, const void* target, int optimizer, const double* params,
                                 void* slots, double* value, gm_error* error);
/* The optimiser alone, on any flat vectors. */
GM_API gm_status gm_optimizer_step(int optimizer, gm_dtype dtype, int64_t n, void* parameters,
                                   const void* gradients, void* slots, double learning_rate, int64_t step,
                                   const double* params, gm_error* error);

/* What the last gm_network_gradient with taps saw at a node. Pointers live until the next call on the
 * network. */
typedef struct gm_tap {
  size_t struct_size;
  int64_t rows, features;     /* rows: N, or N steps of a sequence; sums are over those within the lengths */
  gm_moments value, gradient; /* the node's output, and the derivative of the loss by it */
  const double* value_row_norms; /* (rows), GM_TAP_ROWS */
  const double* gradient_row_norms;
  double spread;    /* sqrt(mean_j Var_n v_nj / mean_nj v_nj^2), n samples, j columns (of a sequence steps and
                       columns, n those that have the step), GM_TAP_COLUMNS */
  double saturated; /* activations that flatten on both sides: share with |f'| < 0.05 max|f'|; else NaN */
  const unsigned char* active; /* activations: (features) 1 where f' is not 0 for some row; else null */
  int64_t T, gates;         /* GM_TAP_STEPS, of a recurrent node: the sizes of the arrays in steps; else 0 */
  gm_recurrent_steps steps; /* and the arrays, by time; else null */
} gm_tap;
GM_API gm_status gm_network_tap(const gm_network* network, int node, gm_tap* tap, gm_error* error);

#ifdef __cplusplus
}
#endif
#endif
