/* Trains an LSTM on sequences built here (what was the first of 20 numbers, 1 or -1?), then runs it a step
 * at a time, as data come, in memory given once. */
#include <gradiometer/gradiometer.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

enum { T = 20, HIDDEN = 16, N = 64, STEPS = 400 };
static gm_error error = {.struct_size = sizeof(gm_error)};
static void check(gm_status status) {
  if (status != GM_OK) exit((fprintf(stderr, "%s\n", error.message), EXIT_FAILURE));
}
static float uniform(void) { return 2 * (float)rand() / (float)RAND_MAX - 1; }
static void draw(float x[N][T], int64_t target[N]) {
  for (int n = 0; n < N; n++) {
    for (int t = 0; t < T; t++) x[n][t] = uniform();
    target[n] = x[n][0] > 0;
    x[n][0] = target[n] ? 1 : -1;
  }
}

int main(void) {
  const gm_attribute hidden = {"hidden", HIDDEN, NULL}, two = {"features", 2, NULL};
  gm_graph* graph;
  int node = 0;
  check(gm_graph_create_sequence(1, &graph, &error));
  check(gm_graph_add(graph, "lstm", &node, 1, &hidden, 1, &node, &error));
  check(gm_graph_add(graph, "last_step", &node, 1, NULL, 0, &node, &error));
  check(gm_graph_add(graph, "linear", &node, 1, &two, 1, &node, &error));
  gm_network* net;
  check(gm_network_create(graph, GM_FLOAT32, NULL, NULL, NULL, &net, &error));

  /* U(+-1 / sqrt(H)), and 1 for the second quarter of a bias: the forget gates begin open. */
  float* const parameters = gm_network_parameters(net);
  const float* found[6];
  int64_t size = 0;
  for (int i = 0; i < gm_network_parameter_count(net); i++) {
    gm_tensor t = {.struct_size = sizeof t};
    gm_network_parameter(net, i, &t);
    found[i] = parameters + t.offset;
    size = t.offset + t.size;
    for (int64_t k = 0; k < t.size; k++)
      parameters[t.offset + k] = i == 2 && k / HIDDEN == 1 ? 1 : uniform() / sqrtf(HIDDEN);
  }

  static float x[N][T];
  static int64_t target[N];
  const int loss = gm_loss_find("cross_entropy"), adam = gm_optimizer_find("adam");
  float* const slots = calloc((size_t)(gm_optimizer_slots(adam) * (size + 16)) + 1, sizeof *slots);
  gm_context context = {
      .struct_size = sizeof context, .training = 1, .learning_rate = 0.01, .clip_norm = 1, .steps = T};
  double value = 0;
  for (context.step = 1; context.step <= STEPS; context.step++) {
    draw(x, target);
    check(gm_network_step(net, &context, N, x, loss, target, adam, NULL, slots, &value, &error));
    if (context.step % 100 == 0) printf("step %d: loss %.4f\n", (int)context.step, value);
  }

  /* A step at a time: weights packed once; then no memory is asked for and no thread begun. */
  gm_recurrent layer = {.struct_size = sizeof layer, .cell = GM_LSTM, .N = N, .I = 1, .H = HIDDEN};
  layer.weight_ih = found[0], layer.weight_hh = found[1], layer.bias_ih = found[2], layer.bias_hh = found[3];
  gm_recurrent_memory memory = {.struct_size = sizeof memory};
  check(gm_recurrent_sizes(GM_FLOAT32, &layer, &memory, &error));
  void* const stepper = malloc((size_t)memory.stepper);
  check(gm_recurrent_step_pack(GM_FLOAT32, &layer, stepper, &error));
  static float h[N][HIDDEN], c[N][HIDDEN], now[N];
  draw(x, target);
  for (int t = 0; t < T; t++) {
    for (int n = 0; n < N; n++) now[n] = x[n][t];
    check(gm_recurrent_step(GM_FLOAT32, &layer, stepper, now, h, c, &error));
  }
  int right = 0;
  for (int n = 0; n < N; n++) {
    float score = found[5][1] - found[5][0];
    for (int j = 0; j < HIDDEN; j++) score += (found[4][HIDDEN + j] - found[4][j]) * h[n][j];
    right += (score > 0) == (target[n] != 0);
  }
  printf("%d of %d right, a step at a time\n%s\n", right, N, right > N * 9 / 10 ? "remembers" : "forgets");
  free(stepper);
  free(slots);
  gm_network_destroy(net);
  gm_graph_destroy(graph);
}
