/* The header is plain C11, and the library answers a C program. */
#include <gradiometer/gradiometer.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "check.h"

static void identity(void) {
  CHECK(strcmp(gm_version(), GM_VERSION) == 0);
  CHECK(gm_abi_version() == GM_ABI_VERSION);
  CHECK(gm_threaded() == 0 || gm_threaded() == 1);
}

static void activation(void) {
  int relu = gm_activation_find("relu");
  CHECK(relu >= 0 && relu < gm_activation_count());
  CHECK(gm_activation_find("no such function") == -1);

  float x[] = {-2, 3}, dy[] = {5, 7}, y[2] = {9, 9}, dx[2] = {9, 9};
  CHECK(gm_activation_forward(relu, GM_FLOAT32, 2, x, y, NULL, NULL) == GM_OK);
  CHECK(y[0] == 0 && y[1] == 3);
  CHECK(gm_activation_backward(relu, GM_FLOAT32, 2, x, dy, dx, NULL, NULL) == GM_OK);
  CHECK(dx[0] == 0 && dx[1] == 7);
}

static void failure_names_the_argument_and_changes_nothing(void) {
  gm_error error = {sizeof error, GM_OK, "", ""};
  double x[] = {1, 2}, y[] = {3, 4};
  CHECK(gm_activation_forward(-1, GM_FLOAT64, 2, x, y, NULL, &error) == GM_INVALID_ARGUMENT);
  CHECK(error.status == GM_INVALID_ARGUMENT);
  CHECK(error.argument[0] != 0 && error.message[0] != 0);
  CHECK(y[0] == 3 && y[1] == 4);
  CHECK(gm_gemm(GM_NN, GM_FLOAT64, -1, 1, 1, x, 1, x, 1, y, 1, 0, &error) == GM_INVALID_ARGUMENT);
  CHECK(y[0] == 3 && y[1] == 4);
}

static void packed(void) {
  gm_error error = {sizeof error, GM_OK, "", ""};
  const double a[] = {1, 2}, b[] = {1, 2, 3, 4, 5, 6};
  double c[3] = {0};
  gm_packed* once = NULL;
  CHECK(gm_gemm_pack(GM_NT, GM_FLOAT64, 3, 2, b, 2, &once, &error) == GM_OK);
  CHECK(gm_gemm_packed(GM_NN, 1, a, 2, once, c, 3, 0, &error) == GM_OK);
  CHECK(c[0] == 5 && c[1] == 11 && c[2] == 17);
  CHECK(gm_gemm_packed(GM_NN, 1, a, 1, once, c, 3, 0, &error) == GM_INVALID_ARGUMENT);
  CHECK(strcmp(error.argument, "lda") == 0);
  gm_packed_free(once);
  gm_packed_free(NULL);
  CHECK(gm_gemm_packed(GM_NN, 1, a, 2, NULL, c, 3, 0, &error) == GM_INVALID_ARGUMENT);
}

static void dense(void) {
  double x[] = {1, 2, 3, 4}, weight[] = {1, 10, 100, 1000}, bias[] = {0.5, -0.5}, y[4];
  CHECK(gm_linear_forward(GM_FLOAT64, 2, 2, 2, x, weight, bias, y, NULL) == GM_OK);
  CHECK(y[0] == 21.5 && y[1] == 2099.5 && y[2] == 43.5 && y[3] == 4299.5);
}

static void slopes_and_softmax(void) {
  double x[] = {-2, 3, -1, -4}, weight[] = {0.5, 0.25}, dy[] = {1, 1, 2, 2}, y[4], dx[4],
         dweight[2] = {10, 10};
  CHECK(gm_prelu_forward(GM_FLOAT64, 2, 2, 2, x, weight, y, NULL) == GM_OK);
  CHECK(y[0] == -1 && y[1] == 3 && y[2] == -0.5 && y[3] == -1);
  CHECK(gm_prelu_backward(GM_FLOAT64, 2, 2, 2, x, weight, dy, dx, dweight, 1, NULL) == GM_OK);
  CHECK(dx[0] == 0.5 && dx[1] == 1 && dx[2] == 1 && dx[3] == 0.5);
  CHECK(dweight[0] == 10 - 2 - 2 && dweight[1] == 10 - 8);
  CHECK(gm_prelu_backward(GM_FLOAT64, 2, 2, 1, x, weight, dy, NULL, dweight, 0, NULL) == GM_OK);
  CHECK(dweight[0] == -2 - 2 - 8);
  gm_error error = {sizeof error, GM_OK, "", ""};
  CHECK(gm_prelu_forward(GM_FLOAT64, 2, 2, 3, x, weight, y, &error) == GM_INVALID_ARGUMENT);
  CHECK(strcmp(error.argument, "weights") == 0);

  float logits[] = {1, 1, 5, 5}, p[4], back[] = {1, 0, 0, 1}, dlogits[4];
  CHECK(gm_softmax_forward(GM_FLOAT32, 2, 2, logits, p, NULL) == GM_OK);
  for (int i = 0; i < 4; i++) CHECK(p[i] == 0.5f);
  CHECK(gm_softmax_backward(GM_FLOAT32, 2, 2, p, back, dlogits, NULL) == GM_OK);
  CHECK(dlogits[0] == 0.25f && dlogits[1] == -0.25f && dlogits[2] == -0.25f && dlogits[3] == 0.25f);
  CHECK(gm_log_softmax_forward(GM_FLOAT32, 2, 2, logits, logits, NULL) == GM_OK);
  CHECK(logits[0] < -0.6931f && logits[0] > -0.6932f && logits[3] == logits[0]);
  CHECK(gm_log_softmax_backward(GM_FLOAT32, 2, 2, logits, back, dlogits, NULL) == GM_OK);
  CHECK(dlogits[0] > 0.4999f && dlogits[0] < 0.5001f && dlogits[1] == -dlogits[0]);
  CHECK(gm_softmax_forward(GM_FLOAT32, -1, 2, logits, p, &error) == GM_INVALID_ARGUMENT);
}

static int stop(void* asked) {
  ++*(int*)asked;
  return 1;
}

/* h = relu(x + h / 2), T 3, two samples of lengths 3 and 1, y in the second column of a wider matrix. */
static void recurrent_in_the_callers_memory(void) {
  const double one = 1, half = 0.5, bias = 0;
  const int64_t lengths[] = {3, 1};
  double x[] = {4, 1, 8, 9, 2, 9}, wide[12], dy[12] = {0}, dx[6], dh[6];
  double dweight_ih = 10, dweight_hh = 10, dbias_ih = 10, h_n[2], cache[6];
  gm_recurrent layer = {.struct_size = sizeof layer,
                        .cell = GM_RNN_RELU,
                        .T = 3,
                        .N = 2,
                        .I = 1,
                        .H = 1,
                        .lengths = lengths,
                        .y_stride = 2};
  layer.weight_ih = &one, layer.weight_hh = &half, layer.bias_ih = &bias;
  gm_recurrent_memory memory = {.struct_size = sizeof memory};
  gm_error error = {sizeof error, GM_OK, "", ""};
  CHECK(gm_recurrent_sizes(GM_FLOAT64, &layer, &memory, NULL) == GM_OK);
  CHECK(memory.cache == sizeof cache);
  void* workspace = malloc((size_t)(memory.forward > memory.backward ? memory.forward : memory.backward));
  for (int i = 0; i < 12; i++) wide[i] = -7;
  CHECK(gm_recurrent_forward(GM_FLOAT64, &layer, x, NULL, NULL, wide + 1, h_n, NULL, cache, workspace,
                             NULL) == GM_OK);
  const double y[] = {4, 1, 10, 0, 7, 0};
  for (int i = 0; i < 6; i++) CHECK(wide[2 * i] == -7 && wide[2 * i + 1] == y[i]);
  CHECK(h_n[0] == 7 && h_n[1] == 1);
  CHECK(gm_recurrent_forward(GM_FLOAT64, &layer, NULL, NULL, NULL, wide + 1, h_n, NULL, cache, workspace,
                             &error) == GM_INVALID_ARGUMENT);
  CHECK(strcmp(error.argument, "x") == 0 && strcmp(error.message, "x is null") == 0);
  CHECK(gm_recurrent_forward(GM_FLOAT64, &layer, x, NULL, NULL, NULL, h_n, NULL, cache, workspace, &error) ==
        GM_INVALID_ARGUMENT);
  CHECK(strcmp(error.argument, "y") == 0);
  gm_recurrent packed = layer;
  packed.y_stride = 0;
  packed.weight_ih = packed.weight_hh = packed.bias_ih = NULL;
  gm_recurrent_packed* weights = NULL;
  CHECK(gm_recurrent_pack(GM_FLOAT64, &packed, &weights, &error) == GM_INVALID_ARGUMENT);
  CHECK(gm_recurrent_pack(GM_FLOAT64, &layer, &weights, NULL) == GM_OK);
  packed.packed = weights;
  CHECK(gm_recurrent_forward(GM_FLOAT64, &packed, x, NULL, NULL, dx, NULL, NULL, NULL, workspace, NULL) ==
        GM_OK);
  for (int i = 0; i < 6; i++) CHECK(dx[i] == y[i]);
  packed.H = 2;
  CHECK(gm_recurrent_forward(GM_FLOAT64, &packed, x, NULL, NULL, dx, NULL, NULL, NULL, workspace, &error) ==
        GM_INVALID_ARGUMENT);
  CHECK(strcmp(error.argument, "packed") == 0);
  gm_recurrent_packed_free(weights);
  dy[8] = 1; /* step 2 of sample 0, in the first column */
  gm_recurrent_gradients g = {.struct_size = sizeof g,
                              .dy = dy,
                              .dx = dx,
                              .dweight_ih = &dweight_ih,
                              .dweight_hh = &dweight_hh,
                              .dbias_ih = &dbias_ih,
                              .dh = dh,
                              .accumulate = 1};
  CHECK(gm_recurrent_backward(GM_FLOAT64, &layer, x, NULL, wide + 1, cache, &g, workspace, NULL) == GM_OK);
  const double want[] = {0.25, 0, 0.5, 0, 1, 0};
  for (int i = 0; i < 6; i++) CHECK(dx[i] == want[i] && dh[i] == want[i]);
  CHECK(dweight_ih == 10 + 0.25 * 4 + 0.5 * 8 + 2 && dweight_hh == 10 + 0.5 * 4 + 10);
  CHECK(dbias_ih == 10 + 1.75);
  g.accumulate = 0;
  const double* const three[] = {x, wide + 1, cache};
  const char* const names[] = {"x", "y", "cache"};
  for (int i = 0; i < 3; i++) {
    const double* given[3];
    for (int j = 0; j < 3; j++) given[j] = j == i ? NULL : three[j];
    CHECK(gm_recurrent_backward(GM_FLOAT64, &layer, given[0], NULL, given[1], given[2], &g, workspace,
                                &error) == GM_INVALID_ARGUMENT);
    CHECK(strcmp(error.argument, names[i]) == 0);
  }
  CHECK(gm_recurrent_backward(GM_FLOAT64, &layer, x, NULL, wide + 1, cache, &g, workspace, NULL) == GM_OK);
  CHECK(dbias_ih == 1.75);
  free(workspace);

  /* What is seen of every step: dh is 1 at step 2, of sample 0 alone, and halves. */
  double rows[3], squares[3];
  gm_recurrent_steps steps = {.struct_size = sizeof steps, .rows = rows, .dh = squares};
  g.steps = &steps;
  steps.workspace = malloc((size_t)memory.steps);
  workspace = malloc((size_t)memory.backward);
  CHECK(gm_recurrent_backward(GM_FLOAT64, &layer, x, NULL, wide + 1, cache, &g, workspace, NULL) == GM_OK);
  CHECK(rows[0] == 2 && rows[1] == 1 && rows[2] == 1);
  CHECK(squares[0] == 0.0625 && squares[1] == 0.25 && squares[2] == 1);
  steps.from_end = 1;
  CHECK(gm_recurrent_backward(GM_FLOAT64, &layer, x, NULL, wide + 1, cache, &g, workspace, NULL) == GM_OK);
  CHECK(rows[0] == 2 && rows[1] == 1 && rows[2] == 1);
  CHECK(squares[0] == 1 && squares[1] == 0.25 && squares[2] == 0.0625);
  free(steps.workspace);
  free(workspace);

  /* A step at a time. */
  double h[2] = {0, 0};
  void* stepper = malloc((size_t)memory.stepper);
  CHECK(gm_recurrent_step_pack(GM_FLOAT64, &layer, stepper, NULL) == GM_OK);
  CHECK(gm_recurrent_step(GM_FLOAT64, &layer, stepper, x, h, NULL, NULL) == GM_OK);
  CHECK(h[0] == 4 && h[1] == 1);
  CHECK(gm_recurrent_step(GM_FLOAT64, &layer, stepper, x + 2, h, NULL, NULL) == GM_OK);
  CHECK(h[0] == 10 && h[1] == 9.5);
  CHECK(gm_recurrent_step(GM_FLOAT64, &layer, stepper, x, NULL, NULL, &error) == GM_INVALID_ARGUMENT);
  CHECK(strcmp(error.argument, "h") == 0);
  free(stepper);

  layer.y_stride = 0;
  CHECK(gm_recurrent_gates(GM_FLOAT64, &layer, NULL, wide, NULL, wide, &error) == GM_INVALID_ARGUMENT);
  CHECK(strcmp(error.argument, "cache") == 0);
  CHECK(gm_recurrent_gates(GM_FLOAT64, &layer, cache, NULL, NULL, wide, &error) == GM_INVALID_ARGUMENT);
  CHECK(strcmp(error.argument, "gates") == 0);
  layer.recompute = 2;
  CHECK(gm_recurrent_gates(GM_FLOAT64, &layer, cache, wide, NULL, wide, &error) == GM_INVALID_ARGUMENT);
  CHECK(strcmp(error.argument, "recompute") == 0);
  layer.norm_weight_c = &one;
  CHECK(gm_recurrent_sizes(GM_FLOAT64, &layer, &memory, &error) == GM_INVALID_ARGUMENT);
  CHECK(strcmp(error.argument, "norm_weight_ih") == 0);
  layer.struct_size = 8;
  CHECK(gm_recurrent_sizes(GM_FLOAT64, &layer, &memory, &error) == GM_INVALID_ARGUMENT);
  CHECK(strcmp(error.argument, "layer") == 0);
}

/* One unit, whose norm is 0, and gates of equal weights, whose norm is 0 too: h = tanh(shift) / 2. */
static void layer_norm_in_an_lstm(void) {
  enum { T = 3, N = 2 };
  const double ones[4] = {1, 1, 1, 1}, shift = 1, h = 0.5 * tanh(1.0),
               slope = 0.5 * (1 - tanh(1.0) * tanh(1.0));
  double x[T * N], dy[T * N], y[T * N], dx[T * N], dshift = 10, dgain = 10, dby_x[4] = {10, 10, 10, 10};
  for (int i = 0; i < T * N; i++) x[i] = i - 2, dy[i] = 1;
  gm_recurrent layer = {.struct_size = sizeof layer, .cell = GM_LSTM_NORM, .T = T, .N = N, .I = 1, .H = 1};
  layer.weight_ih = layer.weight_hh = ones, layer.norm_bias_c = &shift;
  gm_recurrent_memory memory = {.struct_size = sizeof memory};
  gm_error error = {sizeof error, GM_OK, "", ""};
  CHECK(gm_recurrent_sizes(GM_FLOAT64, &layer, &memory, NULL) == GM_OK);
  CHECK(memory.cache == (10 + 3) * T * N * 8);
  void *workspace = malloc((size_t)(memory.forward > memory.backward ? memory.forward : memory.backward)),
       *cache = malloc((size_t)memory.cache);
  CHECK(gm_recurrent_forward(GM_FLOAT64, &layer, x, NULL, NULL, y, NULL, NULL, cache, workspace, NULL) ==
        GM_OK);
  for (int i = 0; i < T * N; i++) CHECK(fabs(y[i] - h) < 1e-15);
  gm_recurrent_gradients g = {.struct_size = sizeof g, .dy = dy, .dx = dx, .accumulate = 1};
  g.dnorm_bias_c = &dshift, g.dnorm_weight_c = &dgain, g.dnorm_weight_ih = dby_x;
  CHECK(gm_recurrent_backward(GM_FLOAT64, &layer, x, NULL, y, cache, &g, workspace, NULL) == GM_OK);
  CHECK(fabs(dshift - 10 - T * N * slope) < 1e-14 && dgain == 10 && dby_x[3] == 10);
  layer.P = 1;
  CHECK(gm_recurrent_sizes(GM_FLOAT64, &layer, &memory, &error) == GM_INVALID_ARGUMENT);
  CHECK(strcmp(error.argument, "P") == 0);
  free(workspace);
  free(cache);
}

/* 0.2 s of work or more, left at the first look. */
static void a_recurrent_call_can_be_cancelled(void) {
  enum { T = 2000, N = 16, H = 256 };
  int asked = 0;
  float* const ones = calloc((size_t)T * N * H, sizeof(float));
  gm_recurrent layer = {.struct_size = sizeof layer, .cell = GM_LSTM, .T = T, .N = N, .I = H, .H = H};
  layer.weight_ih = layer.weight_hh = ones;
  layer.cancel = stop, layer.cancel_data = &asked;
  gm_recurrent_memory memory = {.struct_size = sizeof memory};
  gm_error error = {sizeof error, GM_OK, "", ""};
  CHECK(gm_recurrent_sizes(GM_FLOAT32, &layer, &memory, NULL) == GM_OK);
  void *workspace = malloc((size_t)(memory.forward > memory.backward ? memory.forward : memory.backward)),
       *cache = calloc((size_t)memory.cache, 1);
  float* y = calloc((size_t)T * N * H, sizeof(float));
  CHECK(gm_recurrent_forward(GM_FLOAT32, &layer, ones, NULL, NULL, y, NULL, NULL, cache, workspace, &error) ==
        GM_CANCELLED);
  CHECK(asked == 1 && strcmp(error.argument, "cancel") == 0);
  gm_recurrent_gradients g = {.struct_size = sizeof g, .dy = ones};
  CHECK(gm_recurrent_backward(GM_FLOAT32, &layer, ones, NULL, y, cache, &g, workspace, &error) ==
        GM_CANCELLED);
  CHECK(asked == 2);
  free(y);
  free(cache);
  free(workspace);
  free(ones);
}

static void batch_norm_over_lines(void) {
  /* (N, C, L) = (2, 2, 2): channel 0 holds -1, 1, -1, 1; channel 1 is constant. */
  double x[] = {-1, 1, 5, 5, -1, 1, 5, 5}, dy[] = {1, 2, 3, 4, 5, 6, 7, 8}, beta[] = {0, 3};
  double y[8], dx[8], cache[4], dgamma[2] = {1, 1}, dbeta[2] = {1, 1};
  gm_batch_norm norm = {sizeof norm, 1e-12, 0.1, 1, NULL, beta, NULL, NULL};
  gm_error error = {sizeof error, GM_OK, "", ""};
  CHECK(gm_batch_norm_forward(GM_FLOAT64, 2, 2, 2, x, &norm, y, cache, NULL) == GM_OK);
  CHECK(cache[0] == 0 && cache[1] == 5 && cache[2] == 1 && cache[3] == 0);
  for (int i = 0; i < 8; i++) CHECK(i % 4 > 1 ? y[i] == 3 : y[i] * x[i] > 1 - 1e-9);
  CHECK(gm_batch_norm_backward(GM_FLOAT64, 2, 2, 2, x, &norm, cache, dy, dx, dgamma, dbeta, 1, NULL) ==
        GM_OK);
  CHECK(dbeta[0] == 15 && dbeta[1] == 23 && dgamma[1] == 1 && dgamma[0] > 3 - 1e-9 && dgamma[0] <= 3);
  CHECK(gm_batch_norm_forward(GM_FLOAT64, 1, 2, 1, x, &norm, y, NULL, &error) == GM_INVALID_ARGUMENT);
  CHECK(gm_batch_norm_forward(GM_FLOAT64, 2, 2, -1, x, &norm, y, NULL, &error) == GM_INVALID_ARGUMENT);
  CHECK(strcmp(error.argument, "L") == 0);
}

static void group_norm(void) {
  /* Groups (1, 3) and (4, 4) of each row; then all four as one group without the mean taken out. */
  double x[] = {1, 3, 4, 4, -3, -1, 7, 7}, dy[] = {1, 2, 3, 4, 5, 6, 7, 8}, beta[] = {0, 0, 2, 2};
  double y[8], cache[8], dx[8], dgamma[4] = {1, 1, 1, 1}, dbeta[4] = {1, 1, 1, 1};
  gm_group_norm norm = {sizeof norm, 2, 1, 1e-12, NULL, beta};
  gm_error error = {sizeof error, GM_OK, "", ""};
  CHECK(gm_group_norm_forward(GM_FLOAT64, 2, 4, x, &norm, y, cache, NULL) == GM_OK);
  CHECK(cache[0] == 2 && cache[2] == 4 && cache[4] == -2 && cache[6] == 7);
  for (int r = 0; r < 8; r += 4)
    CHECK(fabs(y[r] + 1) < 1e-9 && fabs(y[r + 1] - 1) < 1e-9 && y[r + 2] == 2 && y[r + 3] == 2);
  CHECK(gm_group_norm_backward(GM_FLOAT64, 2, 4, x, &norm, cache, dy, dx, dgamma, dbeta, 1, NULL) == GM_OK);
  CHECK(dbeta[0] == 7 && dbeta[1] == 9 && dbeta[2] == 11 && dbeta[3] == 13);
  CHECK(fabs(dgamma[0] + 5) < 1e-9 && fabs(dgamma[1] - 9) < 1e-9 && dgamma[2] == 1 && dgamma[3] == 1);
  /* Two values a group: y is +-1 whatever they are, so that dx is 0 but for eps. */
  for (int r = 0; r < 8; r += 4) CHECK(fabs(dx[r]) < 1e-9 && fabs(dx[r + 1]) < 1e-9);
  norm.groups = 1;
  norm.centred = 0;
  norm.beta = NULL;
  CHECK(gm_group_norm_forward(GM_FLOAT64, 1, 4, x, &norm, y, NULL, NULL) == GM_OK);
  for (int i = 0; i < 4; i++) CHECK(fabs(y[i] * sqrt(10.5) - x[i]) < 1e-9);
  norm.groups = 3;
  CHECK(gm_group_norm_forward(GM_FLOAT64, 1, 4, x, &norm, y, NULL, &error) == GM_INVALID_ARGUMENT);
  CHECK(strcmp(error.argument, "groups") == 0);
  norm.groups = 4;
  norm.eps = 0;
  CHECK(gm_group_norm_forward(GM_FLOAT64, 1, 4, x, &norm, y, NULL, &error) == GM_INVALID_ARGUMENT);
  CHECK(strcmp(error.argument, "eps") == 0);
  norm.eps = 1;
  CHECK(gm_group_norm_backward(GM_FLOAT64, 1, 4, x, &norm, NULL, dy, dx, NULL, NULL, 0, &error) ==
        GM_INVALID_ARGUMENT);
  CHECK(strcmp(error.argument, "cache") == 0);
}

/* A 2-8-2 tanh net. */
static gm_graph* small_graph(void) {
  gm_graph* graph = NULL;
  gm_attribute hidden[] = {{"features", 8, NULL}}, out[] = {{"features", 2, NULL}},
               tanh_[] = {{"function", 0, "tanh"}};
  int node = 0;
  CHECK(gm_graph_create(2, &graph, NULL) == GM_OK);
  CHECK(gm_graph_add(graph, "linear", &node, 1, hidden, 1, &node, NULL) == GM_OK);
  CHECK(gm_graph_add(graph, "activation", &node, 1, tanh_, 1, &node, NULL) == GM_OK);
  CHECK(gm_graph_add(graph, "linear", &node, 1, out, 1, &node, NULL) == GM_OK);
  return graph;
}

/* The same layer in a network, where samples come first, and the last steps 7 and 1 against 0. */
static void recurrent_in_a_network(void) {
  gm_graph* graph = NULL;
  gm_network* net = NULL;
  gm_error error = {sizeof error, GM_OK, "", ""};
  const gm_attribute relu[] = {{"hidden", 1, NULL}, {"relu", 1, NULL}};
  int node = 0;
  CHECK(gm_graph_create_sequence(1, &graph, NULL) == GM_OK);
  CHECK(gm_graph_add(graph, "rnn", &node, 1, relu, 2, &node, NULL) == GM_OK &&
        gm_graph_is_sequence(graph, node));
  CHECK(gm_graph_add(graph, "last_step", &node, 1, NULL, 0, &node, NULL) == GM_OK);
  CHECK(!gm_graph_is_sequence(graph, node));
  CHECK(gm_network_create(graph, GM_FLOAT64, NULL, NULL, NULL, &net, NULL) == GM_OK);
  gm_graph_destroy(graph);
  gm_tensor ih = {.struct_size = sizeof ih}, hh = {.struct_size = sizeof hh};
  gm_network_parameter(net, 0, &ih);
  gm_network_parameter(net, 1, &hh);
  CHECK(strcmp(ih.name, "weight_ih") == 0 && strcmp(hh.name, "weight_hh") == 0);
  ((double*)gm_network_parameters(net))[ih.offset] = 1;
  ((double*)gm_network_parameters(net))[hh.offset] = 0.5;

  const int64_t lengths[] = {3, 1};
  const double x[] = {4, 8, 2, 1, 9, 9}, target[] = {0, 0}, want[] = {1.75, 3.5, 7, 1, 0, 0};
  double y[2], dx[6], loss = 0;
  gm_context context = {.struct_size = sizeof context, .steps = 3, .lengths = lengths};
  CHECK(gm_network_forward(net, &context, 2, x, y, NULL) == GM_OK);
  CHECK(y[0] == 7 && y[1] == 1);
  CHECK(gm_network_gradient(net, &context, 2, x, gm_loss_find("mse"), target, &loss, dx, NULL) == GM_OK);
  CHECK(loss == 25);
  for (int i = 0; i < 6; i++) CHECK(dx[i] == want[i]);
  const double* gradients = gm_network_gradients(net);
  CHECK(gradients[ih.offset] == 1.75 * 4 + 3.5 * 8 + 7 * 2 + 1 && gradients[hh.offset] == 3.5 * 4 + 7 * 10);

  context.steps = 0;
  CHECK(gm_network_forward(net, &context, 2, x, y, &error) == GM_INVALID_ARGUMENT);
  const int64_t beyond[] = {3, 4};
  context.steps = 3, context.lengths = beyond;
  CHECK(gm_network_forward(net, &context, 2, x, y, &error) == GM_INVALID_ARGUMENT);
  CHECK(strcmp(error.argument, "lengths") == 0);
  gm_network_destroy(net);
}

static void network_in_the_callers_memory(void) {
  gm_graph* graph = small_graph();
  gm_memory need = {sizeof need, 0, 0, 0};
  CHECK(gm_network_memory(graph, GM_FLOAT64, 4, 0, GM_TAP_NONE, &need, NULL) == GM_OK);
  double* parameters = calloc((size_t)need.parameters, sizeof(double));
  double* gradients = calloc((size_t)need.parameters, sizeof(double));
  void* arena = aligned_alloc(64, (size_t)(need.arena + 63) / 64 * 64);
  gm_network* network = NULL;
  CHECK(gm_network_create(graph, GM_FLOAT64, parameters, gradients, NULL, &network, NULL) == GM_OK);
  gm_graph_destroy(graph);
  CHECK(gm_network_parameters(network) == parameters);
  CHECK(gm_network_lend_arena(network, arena, need.arena, NULL) == GM_OK);
  for (int64_t i = 0; i < need.parameters; i++) parameters[i] = 0.3 * (double)(i % 7 - 3);

  const double x[] = {0, 0, 0, 1, 1, 0, 1, 1, 1, 2};
  const int64_t target[] = {0, 1, 1, 0, 0};
  gm_context context = {0};
  context.struct_size = sizeof context;
  context.training = 1;
  double value = -1, again = -2;
  gm_error error = {sizeof error, GM_OK, "", ""};
  int loss = gm_loss_find("cross_entropy");
  CHECK(gm_network_gradient(network, &context, 4, x, loss, target, &value, NULL, &error) == GM_OK);
  CHECK(value > 0);
  CHECK(gm_network_gradient(network, &context, 5, x, loss, target, &value, NULL, &error) == GM_OUT_OF_MEMORY);
  CHECK(strstr(error.message, "were lent") != NULL);
  CHECK(gm_network_lend_arena(network, NULL, 0, &error) == GM_OK);
  CHECK(gm_network_gradient(network, &context, 4, x, loss, target, &again, NULL, &error) == GM_OK);
  CHECK(again == value);
  gm_network_destroy(network);
  free(arena);
  free(gradients);
  free(parameters);
}

/* Big batches of wide layers keep to the arena. */
static void a_wide_layer_keeps_to_the_arena(void) {
  enum { kRows = 600, kIn = 256, kOut = 1024, kCanary = 1 << 20 };
  gm_graph* graph = NULL;
  gm_network* net = NULL;
  const gm_attribute out[] = {{"features", kOut, NULL}};
  int node = 0;
  CHECK(gm_graph_create(kIn, &graph, NULL) == GM_OK);
  CHECK(gm_graph_add(graph, "linear", &node, 1, out, 1, &node, NULL) == GM_OK);
  CHECK(gm_network_create(graph, GM_FLOAT32, NULL, NULL, NULL, &net, NULL) == GM_OK);
  gm_graph_destroy(graph);
  gm_context context = {.struct_size = sizeof context, .taps = GM_TAP_MOMENTS};
  int64_t bytes = 0;
  CHECK(gm_network_arena(net, &context, kRows, &bytes, NULL) == GM_OK);
  unsigned char* arena = aligned_alloc(64, (size_t)bytes + kCanary);
  memset(arena + bytes, 0x5a, kCanary);
  CHECK(gm_network_lend_arena(net, arena, bytes, NULL) == GM_OK);
  float *x = calloc(kRows * kIn, sizeof *x), *target = calloc(kRows * kOut, sizeof *target);
  double loss = -1;
  CHECK(gm_threads_set(1, NULL) == GM_OK); /* all rows are one member's */
  CHECK(gm_network_gradient(net, &context, kRows, x, gm_loss_find("mse"), target, &loss, NULL, NULL) ==
        GM_OK);
  CHECK(loss == 0 && gm_threads_set(0, NULL) == GM_OK);
  int touched = 0;
  for (int i = 0; i < kCanary; i++) touched += arena[bytes + i] != 0x5a;
  CHECK(touched == 0);
  gm_network_destroy(net);
  free(arena);
  free(x);
  free(target);
}

static void training_lowers_the_loss_and_taps_see_every_node(void) {
  gm_graph* graph = small_graph();
  gm_network* network = NULL;
  CHECK(gm_network_create(graph, GM_FLOAT32, NULL, NULL, NULL, &network, NULL) == GM_OK);
  gm_memory need = {sizeof need, 0, 0, 0};
  CHECK(gm_network_memory(graph, GM_FLOAT32, 4, 0, GM_TAP_NONE, &need, NULL) == GM_OK);
  float* parameters = gm_network_parameters(network);
  for (int64_t i = 0; i < need.parameters; i++) parameters[i] = 0.3f * (float)(i % 7 - 3);
  const float x[] = {0, 0, 0, 1, 1, 0, 1, 1};
  const int64_t target[] = {0, 1, 1, 0};
  gm_context context = {0};
  context.struct_size = sizeof context;
  context.training = 1;
  context.learning_rate = 0.1;
  int sgd = gm_optimizer_find("sgd"), loss = gm_loss_find("cross_entropy");
  float* slots = calloc((size_t)(need.parameters * gm_optimizer_slots(sgd)), sizeof(float));
  double first = 0, last = 0;
  for (context.step = 1; context.step <= 500; context.step++) {
    CHECK(gm_network_step(network, &context, 4, x, loss, target, sgd, NULL, slots, &last, NULL) == GM_OK);
    if (context.step == 1) first = last;
  }
  CHECK(last < first / 2);

  gm_tap tap;
  tap.struct_size = sizeof tap;
  CHECK(gm_network_tap(network, 1, &tap, NULL) == GM_INVALID_ARGUMENT); /* nothing was measured yet */
  context.taps = GM_TAP_MOMENTS;
  CHECK(gm_network_gradient(network, &context, 4, x, loss, target, &last, NULL, NULL) == GM_OK);
  for (int node = 0; node < gm_graph_node_count(graph); node++) {
    CHECK(gm_network_tap(network, node, &tap, NULL) == GM_OK);
    CHECK(tap.rows == 4 && tap.features == gm_graph_features(graph, node));
    CHECK(tap.gradient.count == tap.rows * tap.features && tap.gradient.sum_squares > 0);
  }
  const int64_t wrong[] = {0, 1, 2, 0};
  gm_error error = {sizeof error, GM_OK, "", ""};
  CHECK(gm_network_gradient(network, &context, 4, x, loss, wrong, &last, NULL, &error) ==
        GM_INDEX_OUT_OF_RANGE);
  CHECK(strstr(error.message, "class 2") != NULL);
  gm_graph_destroy(graph);
  gm_network_destroy(network);
  free(slots);
}

static int at_once(void* asked) {
  ++*(int*)asked;
  return 1;
}

/* Gradients are there already: a step that went on after the callback has said stop would move parameters. */
static void a_cancelled_step_changes_nothing(void) {
  enum { kWidth = 512, kRows = 16000 };
  gm_graph* graph = NULL;
  gm_network* net = NULL;
  gm_attribute wide[] = {{"features", kWidth, NULL}};
  int node = 0, asked = 0;
  CHECK(gm_graph_create(kWidth, &graph, NULL) == GM_OK);
  CHECK(gm_graph_add(graph, "linear", &node, 1, wide, 1, &node, NULL) == GM_OK);
  CHECK(gm_network_create(graph, GM_FLOAT32, NULL, NULL, NULL, &net, NULL) == GM_OK);
  size_t bytes = (kWidth + 1) * kWidth * sizeof(float), values = (size_t)kRows * kWidth;
  float *x = malloc(values * sizeof(float)), *before = malloc(bytes), *slots = calloc(1, bytes),
        *still = calloc(1, bytes);
  for (size_t i = 0; i < values; i++) x[i] = (float)(i % 7) - 3;
  float* parameters = gm_network_parameters(net);
  for (size_t i = 0; i < bytes / sizeof(float); i++) parameters[i] = (float)(i % 5) - 2;
  memcpy(before, parameters, bytes);

  int mse = gm_loss_find("mse"), sgd = gm_optimizer_find("sgd");
  double params[] = {0.9, 0, 0}, loss = 0;
  gm_context context = {0};
  context.struct_size = sizeof context;
  context.training = 1;
  context.learning_rate = 0.1;
  context.step = 1;
  CHECK(gm_network_gradient(net, &context, 4, x, mse, x, &loss, NULL, NULL) == GM_OK);
  context.cancel = at_once;
  context.cancel_data = &asked;
  CHECK(gm_network_step(net, &context, kRows, x, mse, x, sgd, params, slots, &loss, NULL) == GM_CANCELLED);
  CHECK(asked == 1);
  CHECK(memcmp(before, parameters, bytes) == 0);
  CHECK(memcmp(still, slots, bytes) == 0);

  context.cancel = NULL;
  CHECK(gm_network_step(net, &context, 4, x, mse, x, sgd, params, slots, &loss, NULL) == GM_OK);
  CHECK(memcmp(before, parameters, bytes) != 0);
  gm_network_destroy(net);
  gm_graph_destroy(graph);
  free(x);
  free(before);
  free(slots);
  free(still);
}

/* The same bits from segments that are run again, in an arena that is lent to the byte; and what is frozen.
 */
static void segments_and_frozen_parameters(void) {
  enum { kLayers = 12, kWidth = 16, kRows = 33, kCanary = 64 };
  gm_graph* graph = NULL;
  gm_network* net = NULL;
  gm_attribute wide[] = {{"features", kWidth, NULL}}, tanh_[] = {{"function", 0, "tanh"}};
  int node = 0, skip = 0;
  CHECK(gm_graph_create(kWidth, &graph, NULL) == GM_OK);
  for (int i = 0; i < kLayers; i++) {
    CHECK(gm_graph_add(graph, "linear", &node, 1, wide, 1, &node, NULL) == GM_OK);
    CHECK(gm_graph_add(graph, i == 5 ? "batch_norm" : "activation", &node, 1, tanh_, i == 5 ? 0 : 1, &node,
                       NULL) == GM_OK);
    if (i == 2) skip = node;
  }
  const int both[] = {node, skip};
  CHECK(gm_graph_add(graph, "add", both, 2, NULL, 0, &node, NULL) == GM_OK);
  CHECK(gm_network_create(graph, GM_FLOAT64, NULL, NULL, NULL, &net, NULL) == GM_OK);
  gm_memory need = {sizeof need, 0, 0, 0};
  CHECK(gm_network_memory(graph, GM_FLOAT64, kRows, 0, GM_TAP_NONE, &need, NULL) == GM_OK);
  double *parameters = gm_network_parameters(net), *gradients = gm_network_gradients(net), x[kRows * kWidth];
  for (int64_t i = 0; i < need.parameters; i++) parameters[i] = 0.1 * (double)(i % 7 - 3);
  for (int i = 0; i < kRows * kWidth; i++) x[i] = (double)(i % 11) - 5;
  size_t bytes = (size_t)need.parameters * sizeof(double);
  double *plain = malloc(bytes), value = 0, again = 1;
  int mse = gm_loss_find("mse");
  gm_context context = {0};
  context.struct_size = sizeof context;
  context.training = 1;
  CHECK(gm_network_gradient(net, &context, kRows, x, mse, x, &value, NULL, NULL) == GM_OK);
  memcpy(plain, gradients, bytes);

  int64_t all = 0, least = 0;
  CHECK(gm_network_arena(net, &context, kRows, &all, NULL) == GM_OK);
  for (context.segments = 2; context.segments < 9; context.segments++) {
    CHECK(gm_network_arena(net, &context, kRows, &least, NULL) == GM_OK);
    CHECK(least < all);
    unsigned char* arena = aligned_alloc(64, (size_t)least + kCanary);
    memset(arena + least, 0x5a, kCanary);
    memset(gradients, 0xff, bytes);
    CHECK(gm_network_lend_arena(net, arena, least, NULL) == GM_OK);
    CHECK(gm_network_gradient(net, &context, kRows, x, mse, x, &again, NULL, NULL) == GM_OK);
    CHECK(again == value);
    for (int i = 0; i < gm_network_parameter_count(net); i++) {
      gm_tensor t;
      gm_network_parameter(net, i, &t);
      CHECK(memcmp(plain + t.offset, gradients + t.offset, (size_t)t.size * sizeof(double)) == 0);
    }
    for (int i = 0; i < kCanary; i++) CHECK(arena[least + i] == 0x5a);
    CHECK(gm_network_lend_arena(net, NULL, 0, NULL) == GM_OK);
    free(arena);
  }
  gm_error error = {sizeof error, GM_OK, "", ""};
  CHECK(gm_network_limit_arena(net, least - 1, NULL) == GM_OK);
  CHECK(gm_network_gradient(net, &context, kRows, x, mse, x, &again, NULL, &error) == GM_OUT_OF_MEMORY);
  CHECK(strstr(error.message, "were allowed") != NULL);
  CHECK(gm_network_limit_arena(net, least + 1, NULL) == GM_OK);

  CHECK(gm_network_trainable(net, 0) == 1);
  CHECK(gm_network_set_trainable(net, -1, 0, &error) == GM_INVALID_ARGUMENT);
  for (int i = 0; i < 4; i++) CHECK(gm_network_set_trainable(net, i, 0, NULL) == GM_OK); /* two layers */
  CHECK(gm_network_trainable(net, 0) == 0);
  context.segments = 0;
  CHECK(gm_network_limit_arena(net, 0, NULL) == GM_OK);
  CHECK(gm_network_arena(net, &context, kRows, &least, NULL) == GM_OK);
  CHECK(least < all);
  memset(gradients, 0xff, bytes);
  CHECK(gm_network_gradient(net, &context, kRows, x, mse, x, &again, NULL, NULL) == GM_OK);
  CHECK(again == value);
  for (int i = 0; i < gm_network_parameter_count(net); i++) {
    gm_tensor t;
    gm_network_parameter(net, i, &t);
    int same = memcmp(plain + t.offset, gradients + t.offset, (size_t)t.size * sizeof(double)) == 0;
    CHECK(same == (i >= 4));
    CHECK((gradients[t.offset] != gradients[t.offset]) == (i < 4)); /* NaN still: nothing was written */
  }
  gm_network_destroy(net);
  gm_graph_destroy(graph);
  free(plain);
}

int main(void) {
  identity();
  activation();
  failure_names_the_argument_and_changes_nothing();
  packed();
  dense();
  batch_norm_over_lines();
  group_norm();
  slopes_and_softmax();
  recurrent_in_the_callers_memory();
  layer_norm_in_an_lstm();
  a_recurrent_call_can_be_cancelled();
  recurrent_in_a_network();
  network_in_the_callers_memory();
  a_wide_layer_keeps_to_the_arena();
  training_lowers_the_loss_and_taps_see_every_node();
  a_cancelled_step_changes_nothing();
  segments_and_frozen_parameters();
  return failures;
}
