/* Trains a deep network on a task built here (are the signs of two numbers equal?) and prints how the
 * gradient shrinks from layer to layer toward the input. Usage: embed [activation]
 * With its default, sigmoid, it does not learn: that is what a vanishing gradient does. */
#include <gradiometer/gradiometer.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

enum { DEPTH = 8, WIDTH = 16, N = 256, STEPS = 1000 };
static gm_error error = {.struct_size = sizeof(gm_error)};
static void check(gm_status status) {
  if (status != GM_OK) exit((fprintf(stderr, "%s\n", error.message), EXIT_FAILURE));
}
static float uniform(void) { return 2 * (float)rand() / (float)RAND_MAX - 1; }

/* The norm of dL/dh after each hidden layer, and its factor from the layer above. */
static void show(const gm_network* net, int64_t step, double loss) {
  printf("step %d: loss %.4f\nlayer    |dL/dh|\n", (int)step, loss);
  double above = 0;
  for (int layer = DEPTH; layer >= 1; layer--) {
    gm_tap tap = {.struct_size = sizeof tap};
    check(gm_network_tap(net, 2 * layer, &tap, &error));
    double norm = tap.gradient.norm;
    printf(layer == DEPTH ? "%5d   %.2e\n" : "%5d   %.2e   x%.3f\n", layer, norm, norm / above);
    above = norm;
  }
}

int main(int argc, char** argv) {
  gm_attribute activation = {"function", 0, argc > 1 ? argv[1] : "sigmoid"},
               width = {"features", WIDTH, NULL};
  gm_graph* graph;
  check(gm_graph_create(2, &graph, &error));
  for (int node = 0, layer = 1; layer <= DEPTH; layer++) {
    check(gm_graph_add(graph, "linear", &node, 1, &width, 1, &node, &error));
    check(gm_graph_add(graph, "activation", &node, 1, &activation, 1, &node, &error));
  }
  int node = 2 * DEPTH;
  width.number = 2;
  check(gm_graph_add(graph, "linear", &node, 1, &width, 1, &node, &error));

  gm_network* net;
  check(gm_network_create(graph, GM_FLOAT32, NULL, NULL, NULL, &net, &error));
  float* parameters = gm_network_parameters(net);
  int64_t size = 0;
  for (int i = 0; i < gm_network_parameter_count(net); i++) { /* Xavier's uniform, biases stay 0 */
    gm_tensor t = {.struct_size = sizeof t};
    gm_network_parameter(net, i, &t);
    size = t.offset + t.size;
    for (int64_t k = t.offset; t.rank == 2 && k < size; k++)
      parameters[k] = uniform() * sqrtf(6 / (float)(t.shape[0] + t.shape[1]));
  }

  static float x[N][2];
  static int64_t target[N];
  for (int i = 0; i < N; i++) {
    x[i][0] = uniform();
    x[i][1] = uniform();
    target[i] = (x[i][0] > 0) == (x[i][1] > 0);
  }

  int loss = gm_loss_find("cross_entropy"), sgd = gm_optimizer_find("sgd");
  float* slots = calloc((size_t)(gm_optimizer_slots(sgd) * size) + 1, sizeof *slots);
  gm_context context = {
      .struct_size = sizeof context, .training = 1, .learning_rate = 0.1, .taps = GM_TAP_MOMENTS};
  double first = 0, value = 0;
  for (context.step = 1; context.step <= STEPS; context.step++) {
    check(gm_network_step(net, &context, N, x, loss, target, sgd, NULL, slots, &value, &error));
    if (context.step == 1) first = value;
    if (context.step == 1 || context.step == STEPS) show(net, context.step, value);
  }
  if (value < first / 2)
    printf("learned\n");
  else
    printf("did not learn: the gradient hardly reaches the lower layers; now try: embed tanh\n");
  free(slots);
  gm_network_destroy(net);
  gm_graph_destroy(graph);
}
