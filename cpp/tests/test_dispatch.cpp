// Which instruction sets there are, which one runs, and that no global state of the processor is touched.
#include <float.h>
#include <gradiometer/gradiometer.h>
#include <stdlib.h>
#include <string.h>

#include "check.h"
#include "cpu.hpp"
#include "dispatch.hpp"

namespace {

// Must run first: the environment is read once.
void environment() {
  setenv("GRADIOMETER_ISA", "abacus", 1);
  CHECK(gm_isa_error() != nullptr && strstr(gm_isa_error(), "abacus"));
  CHECK(strstr(gm_isa_error(), "scalar"));
  CHECK(strcmp(gm_isa(), "abacus") != 0);
}

void rows() {
  CHECK(gm_isa_count() >= 1);
  CHECK(!strcmp(gm_isa_name(0), "scalar") && gm_isa_supported(0));
  int best = 0;
  for (int i = 0; i < gm_isa_count(); i++) {
    CHECK(gradiometer::cpu_supports(gm_isa_name(i)) == (gm_isa_supported(i) != 0));
    if (gm_isa_supported(i)) best = i;
  }
  CHECK(gm_isa_set(nullptr, nullptr) == GM_OK);
  CHECK(!strcmp(gm_isa(), gm_isa_name(best)));
}

void choosing() {
  for (int i = 0; i < gm_isa_count(); i++) {
    if (!gm_isa_supported(i)) continue;
    CHECK(gm_isa_set(gm_isa_name(i), nullptr) == GM_OK);
    CHECK(!strcmp(gm_isa(), gm_isa_name(i)));
  }
  gm_error error = {sizeof error, GM_OK, "", ""};
  const char* before = gm_isa();
  CHECK(gm_isa_set("abacus", &error) == GM_INVALID_ARGUMENT);
  CHECK(strstr(error.message, "abacus"));
  CHECK(!strcmp(gm_isa(), before));
}

// Every table has the same rows in the same order: an index means the same on each.
void tables_agree() {
  const gradiometer::KernelTable& first = gradiometer::isa_table(0);
  for (int i = 1; i < gradiometer::isa_count(); i++) {
    const gradiometer::KernelTable& table = gradiometer::isa_table(i);
    CHECK(table.activation_count == first.activation_count);
    CHECK(table.loss_count == first.loss_count);
    CHECK(table.optimizer_count == first.optimizer_count);
    for (int k = 0; k < first.activation_count; k++)
      CHECK(!strcmp(table.activations[k].name, first.activations[k].name));
  }
}

void subnormals_survive() {
  CHECK(!gm_flushes_subnormals());
  int identity = gm_activation_find("identity");
  for (int i = 0; i < gm_isa_count(); i++) {
    if (!gm_isa_supported(i)) continue;
    CHECK(gm_isa_set(gm_isa_name(i), nullptr) == GM_OK);
    float x[19], dx[19];
    const float one[19] = {1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1};
    for (float& v : x) v = FLT_TRUE_MIN;
    CHECK(gm_activation_backward(identity, GM_FLOAT32, 19, one, x, dx, nullptr, nullptr) == GM_OK);
    for (float v : dx) CHECK(v == FLT_TRUE_MIN);
    gm_moments moments;
    CHECK(gm_measure(GM_FLOAT32, 19, x, &moments, nullptr) == GM_OK);
    CHECK(moments.count == 19 && moments.subnormals == 19 && moments.zeros == 0);
  }
  volatile float smallest = FLT_MIN;
  CHECK(smallest / 2 > 0);
}

}  // namespace

int main() {
  environment();
  rows();
  choosing();
  tables_agree();
  subnormals_survive();
  return failures;
}
