/* The header is plain C11, and the library answers a C program. */
#include <gradiometer/gradiometer.h>
#include <string.h>

#include "check.h"

static void identity(void) {
  CHECK(strcmp(gm_version(), GM_VERSION) == 0);
  CHECK(gm_abi_version() == GM_ABI_VERSION);
  CHECK(gm_openmp() == 0 || gm_openmp() == 1);
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

static void dense(void) {
  double x[] = {1, 2, 3, 4}, weight[] = {1, 10, 100, 1000}, bias[] = {0.5, -0.5}, y[4];
  CHECK(gm_linear_forward(GM_FLOAT64, 2, 2, 2, x, weight, bias, y, NULL) == GM_OK);
  CHECK(y[0] == 21.5 && y[1] == 2099.5 && y[2] == 43.5 && y[3] == 4299.5);
}

int main(void) {
  identity();
  activation();
  failure_names_the_argument_and_changes_nothing();
  dense();
  return failures;
}
