/* A network packed once: the bits of gm_network_forward, independent of it, and no call allocates. */
#include <gradiometer/gradiometer.h>
#include <stdlib.h>
#include <string.h>

#include "check.h"

/* What the library asks for goes through here (--wrap). */
static int allocations;
void* __real_malloc(size_t n);
void* __real_calloc(size_t n, size_t each);
void* __real_realloc(void* p, size_t n);
int __real_posix_memalign(void** p, size_t align, size_t n);
void* __wrap_malloc(size_t n);
void* __wrap_calloc(size_t n, size_t each);
void* __wrap_realloc(void* p, size_t n);
int __wrap_posix_memalign(void** p, size_t align, size_t n);
void* __wrap_malloc(size_t n) {
  allocations++;
  return __real_malloc(n);
}
void* __wrap_calloc(size_t n, size_t each) {
  allocations++;
  return __real_calloc(n, each);
}
void* __wrap_realloc(void* p, size_t n) {
  allocations++;
  return __real_realloc(p, n);
}
int __wrap_posix_memalign(void** p, size_t align, size_t n) {
  allocations++;
  return __real_posix_memalign(p, align, n);
}

enum { kWidth = 24, kRows = 37 };

static gm_network* network(gm_dtype dtype) {
  gm_graph* graph = NULL;
  gm_network* net = NULL;
  gm_attribute wide[] = {{"features", kWidth, NULL}}, gelu[] = {{"function", 0, "gelu"}};
  int node = 0, skip = 0;
  CHECK(gm_graph_create(kWidth, &graph, NULL) == GM_OK);
  for (int i = 0; i < 4; i++) {
    CHECK(gm_graph_add(graph, "linear", &node, 1, wide, 1, &node, NULL) == GM_OK);
    CHECK(gm_graph_add(graph, "batch_norm", &node, 1, NULL, 0, &node, NULL) == GM_OK);
    CHECK(gm_graph_add(graph, "activation", &node, 1, gelu, 1, &node, NULL) == GM_OK);
    if (i == 0) skip = node;
  }
  const int both[] = {node, skip};
  CHECK(gm_graph_add(graph, "add", both, 2, NULL, 0, &node, NULL) == GM_OK);
  CHECK(gm_network_create(graph, dtype, NULL, NULL, NULL, &net, NULL) == GM_OK);
  gm_memory need = {sizeof need, 0, 0, 0};
  CHECK(gm_network_memory(graph, dtype, 1, 0, GM_TAP_NONE, &need, NULL) == GM_OK);
  for (int64_t i = 0; i < need.parameters; i++) {
    const double w = 0.1 * (double)(i % 7 - 3);
    if (dtype == GM_FLOAT32)
      ((float*)gm_network_parameters(net))[i] = (float)w;
    else
      ((double*)gm_network_parameters(net))[i] = w;
  }
  gm_graph_destroy(graph);
  return net;
}

static void packed_once(gm_dtype dtype) {
  const size_t each = dtype == GM_FLOAT32 ? sizeof(float) : sizeof(double), bytes = kRows * kWidth * each;
  char *x = malloc(bytes), *expected = malloc(bytes), *y = malloc(bytes);
  for (int i = 0; i < kRows * kWidth; i++) {
    const double v = (double)(i % 11) / 4 - 1;
    if (dtype == GM_FLOAT32)
      ((float*)x)[i] = (float)v;
    else
      ((double*)x)[i] = v;
  }
  gm_network* net = network(dtype);
  gm_context context = {0};
  context.struct_size = sizeof context;
  CHECK(gm_network_forward(net, &context, kRows, x, expected, NULL) == GM_OK);

  gm_error error = {sizeof error, GM_OK, "", ""};
  gm_inference* inference = NULL;
  allocations = 0;
  CHECK(gm_inference_create(net, &inference, &error) == GM_OK);
  CHECK(allocations > 0);
  gm_network_reset(net);
  gm_network_destroy(net); /* nothing of it is used from now on */

  allocations = 0;
  memset(y, 0xff, bytes);
  CHECK(gm_inference_forward(inference, kRows, x, y, NULL, &error) == GM_OK);
  CHECK(memcmp(y, expected, bytes) == 0);
  memset(y, 0xff, bytes);
  for (int row = 0; row < kRows; row++) {
    const size_t at = (size_t)row * kWidth * each;
    CHECK(gm_inference_forward(inference, 1, x + at, y + at, NULL, &error) == GM_OK);
  }
  CHECK(memcmp(y, expected, bytes) == 0);
  CHECK(gm_inference_forward(inference, 0, NULL, NULL, NULL, &error) == GM_OK);
  CHECK(gm_inference_forward(inference, -1, x, y, NULL, &error) == GM_INVALID_ARGUMENT);
  CHECK(gm_inference_forward(inference, 1, x, y, x + 1, &error) == GM_INVALID_ARGUMENT);
  CHECK(allocations == 0);

  /* A workspace of the caller's is enough to the byte. */
  const size_t room = (size_t)gm_inference_workspace(inference);
  char* workspace = aligned_alloc(64, room + 64);
  memset(workspace, 0x5a, room + 64);
  memset(y, 0xff, bytes);
  CHECK(gm_inference_forward(inference, kRows, x, y, workspace, &error) == GM_OK);
  CHECK(memcmp(y, expected, bytes) == 0);
  for (int i = 0; i < 64; i++) CHECK(workspace[room + (size_t)i] == 0x5a);

  gm_inference_destroy(inference);
  gm_inference_destroy(NULL);
  free(workspace);
  free(x);
  free(expected);
  free(y);
}

int main(void) {
  packed_once(GM_FLOAT32);
  packed_once(GM_FLOAT64);
  return failures;
}
