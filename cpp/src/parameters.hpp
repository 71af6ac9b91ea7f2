// What every table row with a name and parameters has in common: finding it, its defaults, checking its
// values.
#pragma once
#include <string.h>

#include "error.hpp"
#include "kernel_table.hpp"

namespace gradiometer {

template <class Row>
int find(const Row* rows, int count, const char* name) {
  for (int i = 0; name && i < count; i++)
    if (!strcmp(rows[i].name, name)) return i;
  return -1;
}

inline gm_status check_parameter(const char* owner, const Parameter& p, double v, gm_error* e) {
  if (v >= p.low && v <= p.high) return GM_OK;
  return fail(e, GM_INVALID_ARGUMENT, p.name, "%s of %s is %g; expected %g to %g", p.name, owner, v, p.low,
              p.high);
}

// The row's values in out: those given, or the defaults where params is null.
template <class Row>
gm_status resolve(const Row& row, const double* params, double* out, gm_error* e) {
  for (int i = 0; i < row.parameter_count; i++) {
    out[i] = params ? params[i] : row.parameters[i].initial;
    GM_TRY(check_parameter(row.name, row.parameters[i], out[i], e));
  }
  return GM_OK;
}

// gm_parameter rows of a table, made once.
struct ParameterTable {
  static constexpr int kRows = 64;
  gm_parameter rows[kRows][kMaxParameters];
  int counts[kRows];
  int size;
  template <class Row>
  ParameterTable(const Row* table, int count) : size(count < kRows ? count : kRows) {
    for (int i = 0; i < size; i++) {
      counts[i] = table[i].parameter_count;
      for (int j = 0; j < counts[i]; j++) {
        const Parameter& p = table[i].parameters[j];
        rows[i][j] = {p.name, p.initial, p.low, p.high, 0};
      }
    }
  }
  int row(int i, const gm_parameter** out) const {
    if (i < 0 || i >= size) return 0;
    if (out) *out = rows[i];
    return counts[i];
  }
};

}  // namespace gradiometer
