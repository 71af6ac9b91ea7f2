// Kernels that Python does not reach by themselves: sums of rows, counts within bounds, and what batch
// norm's backward pass adds to. Every instruction set, widths around its vectors.
#include <math.h>
#include <string.h>

#include "batch_norm.hpp"
#include "check.h"
#include "dispatch.hpp"

namespace {

using namespace gradiometer;

constexpr int kRows = 5, kWidest = 140, kLd = kWidest + 3;

// Small integers of both signs, so that sums are exact in any order.
template <class T>
void fill(T* x, int n) {
  for (int i = 0; i < n; i++) x[i] = static_cast<T>((i * 37 + 11) % 41 - 20);
}

template <class T>
void row_squares(const Kernels<T>& k, int C) {
  T x[kRows * kLd];
  fill(x, kRows * kLd);
  double got[kRows + 1];
  got[kRows] = -1;
  k.row_squares(kRows, C, x, kLd, got);
  for (int r = 0; r < kRows; r++) {
    double want = 0;
    for (int c = 0; c < C; c++)
      want += static_cast<double>(x[r * kLd + c]) * static_cast<double>(x[r * kLd + c]);
    CHECK(got[r] == want);
  }
  CHECK(got[kRows] == -1);
}

template <class T>
void inside(const Kernels<T>& k, int C, double low, double high) {
  T x[kRows * kLd];
  fill(x, kRows * kLd);
  x[0] = static_cast<T>(NAN);
  x[C - 1] = static_cast<T>(-INFINITY);
  unsigned char got[kWidest + 1], want[kWidest + 1];
  memset(got, 7, sizeof got);
  memset(want, 7, sizeof want);
  int64_t count = 1000, wanted = 1000;
  for (int r = 0; r < kRows; r++)
    for (int c = 0; c < C; c++)
      if (low <= static_cast<double>(x[r * kLd + c]) && static_cast<double>(x[r * kLd + c]) <= high) {
        wanted++;
        want[c] = 1;
      }
  k.inside(kRows, C, x, kLd, low, high, got, &count);
  CHECK(count == wanted);
  CHECK(!memcmp(got, want, sizeof got));
  k.inside(kRows, C, x, kLd, low, high, nullptr, &count);
  CHECK(count - wanted == wanted - 1000);
  memset(got, 7, sizeof got);
  k.inside(kRows, C, x, kLd, low, high, got, nullptr);
  CHECK(!memcmp(got, want, sizeof got));
}

// In parts of 4 rows and a rest, of numbers whose squares leave float64 in some parts and not in others.
template <class T>
void parts(const Kernels<T>& k, int C, double centre, double factor) {
  constexpr int rows = 11, each = 4, count = 3;
  T x[rows * kWidest];
  fill(x, rows * C);
  for (int i = 0; i < rows * C; i++) {
    const double size = factor == 1 ? 1 : pow(factor, i / C / each - 1);
    x[i] = static_cast<T>((static_cast<double>(x[i]) + centre) * size);
  }
  MomentsPart part[count];
  MomentsPart by_columns[count], norms_alone[count];
  double means[count * kWidest], mean[kWidest], norms[rows], scatter = 0;
  for (int b = 0; b < count; b++) {
    const int n = b + 1 < count ? each : rows - b * each;
    k.moments_part(n, C, x + b * each * C, true, &part[b], norms + b * each);
    k.moments_part(n, C, x + b * each * C, false, &norms_alone[b], nullptr);
    scatter += k.columns_part(n, C, x + b * each * C, &by_columns[b], means + b * C);
  }
  Moments m, of_columns, of_norms;
  k.merge_moments(count, part, rows * C, &m);
  k.merge_moments(count, by_columns, rows * C, &of_columns);
  k.merge_moments(count, norms_alone, rows * C, &of_norms);
  scatter += k.merge_columns(count, C, means, each, rows - (count - 1) * each, mean);
  long double sum = 0, squares = 0, deviation = 0, between = 0;
  for (int i = 0; i < rows * C; i++) sum += x[i], squares += static_cast<long double>(x[i]) * x[i];
  const long double middle = sum / (rows * C);
  for (int i = 0; i < rows * C; i++) deviation += (x[i] - middle) * (x[i] - middle);
  const auto near = [](double got, long double want) { return fabsl(got - want) <= 1e-13L * fabsl(want); };
  CHECK(m.count == rows * C && m.nans == 0 && m.infs == 0);
  const long double size = static_cast<long double>(rows) * C * m.max_abs;
  const Moments* const both[] = {&m, &of_columns};
  for (const Moments* a : both) {
    CHECK(near(a->norm, sqrtl(squares)) && near(a->deviation, sqrtl(deviation / (rows * C))));
    CHECK(fabsl(a->sum - sum) <= 1e-14L * size);
    CHECK(a->max_abs == m.max_abs && a->zeros == m.zeros && a->subnormals == m.subnormals);
  }
  CHECK(near(of_norms.norm, sqrtl(squares)) && isnan(of_norms.sum) && isnan(of_norms.deviation));
  CHECK(of_norms.max_abs == m.max_abs && of_norms.zeros == m.zeros && of_norms.nans == 0);
  for (int c = 0; c < C; c++) {
    long double of_column = 0;
    for (int r = 0; r < rows; r++) of_column += x[r * C + c];
    of_column /= rows;
    if (factor == 1) CHECK(fabsl(mean[c] - of_column) <= 1e-14L * (20 + fabsl(of_column)));
    for (int r = 0; r < rows; r++) between += (x[r * C + c] - of_column) * (x[r * C + c] - of_column);
  }
  if (factor == 1) CHECK(near(scatter, between));
  for (int r = 0; r < rows && factor == 1; r++) {
    long double of_row = 0;
    for (int c = 0; c < C; c++) of_row += static_cast<long double>(x[r * C + c]) * x[r * C + c];
    CHECK(near(norms[r], sqrtl(of_row)));
  }
}

// dgamma and dbeta are added to, or written, or not wanted; dx likewise; neighbours are left alone.
template <class T>
void batch_norm_backward(const Kernels<T>& k, int C, bool training) {
  T x[kRows * kLd], dy[kRows * kLd], dx[kRows * kLd], alone[kRows * kLd];
  fill(x, kRows * kLd);
  for (int i = 0; i < kRows * kLd; i++)
    dy[i] = static_cast<T>(i % 7 - 3), dx[i] = alone[i] = static_cast<T>(99);
  double mean[kWidest], var[kWidest];
  const BatchNorm<T> b = {kRows, C, 1, kLd, x, mean, var, 1e-5, nullptr, nullptr};
  channel_statistics(k, b, {0, C}, true, mean, var);
  T dgamma[kWidest + 1], dbeta[kWidest + 1], more_dgamma[kWidest + 1], more_dbeta[kWidest + 1];
  for (int c = 0; c <= kWidest; c++)
    more_dgamma[c] = more_dbeta[c] = dgamma[c] = dbeta[c] = static_cast<T>(64);
  gradiometer::batch_norm_backward<T>(k, b, {0, C}, !training, dy, {dx, dgamma, dbeta, false}, false);
  gradiometer::batch_norm_backward<T>(k, b, {0, C}, !training, dy, {nullptr, more_dgamma, more_dbeta, true},
                                      false);
  gradiometer::batch_norm_backward<T>(k, b, {0, C}, !training, dy, {alone, nullptr, nullptr, false}, true);
  for (int c = 0; c < C; c++) {
    double sum = 0;
    for (int r = 0; r < kRows; r++) sum += static_cast<double>(dy[r * kLd + c]);
    CHECK(static_cast<double>(dbeta[c]) == sum);
    CHECK(static_cast<double>(more_dbeta[c]) == sum + 64);
    CHECK(fabs(static_cast<double>(more_dgamma[c] - dgamma[c]) - 64) < 1e-4);
  }
  CHECK(dgamma[C] == static_cast<T>(64) && dbeta[C] == static_cast<T>(64));
  CHECK(more_dgamma[C] == static_cast<T>(64) && more_dbeta[C] == static_cast<T>(64));
  CHECK(!memcmp(dx, alone, sizeof dx));
  for (int r = 0; r < kRows; r++)
    for (int c = C; c < kLd; c++) CHECK(dx[r * kLd + c] == static_cast<T>(99));
}

template <class T>
void all(const Kernels<T>& k) {
  const int widths[] = {1, 2, 3, 4, 7, 8, 9, 15, 16, 17, 31, 33, 63, 64, 65, 127, 128, 129, kWidest};
  const double bounds[][2] = {{0, 7}, {-3, 3}, {5, 5}, {21, 30}, {-INFINITY, 0}, {-INFINITY, INFINITY},
                              {1, 0}};
  for (int C : widths) {
    row_squares(k, C);
    parts(k, C, 0, 1);
    parts(k, C, 1000, 1);
    if (sizeof(T) == 8) parts(k, C, 0.5, 1e200);
    if (sizeof(T) == 8) parts(k, C, 1000, 1e200);
    for (const double(&b)[2] : bounds) inside(k, C, b[0], b[1]);
    batch_norm_backward(k, C, true);
    batch_norm_backward(k, C, false);
  }
}

}  // namespace

int main() {
  for (int i = 0; i < isa_count(); i++) {
    if (!isa_supported(i)) continue;
    all(isa_table(i).f32);
    all(isa_table(i).f64);
  }
  return failures;
}
