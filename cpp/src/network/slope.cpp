#include "slope.hpp"

#include <math.h>
#include <string.h>

namespace gradiometer {
namespace {

constexpr int kHalf = 128, kSteps = 16;  // a grid of [-8, 8], 16 points to 1
constexpr double kSaturated = 0.05;      // of the largest slope

template <class T>
double slope_at(const Activation& f, const double* params, double x) {
  const T at = static_cast<T>(x), one = 1;
  T slope;
  of<T>(f).backward(1, &at, &one, &slope, params);
  return fabs(static_cast<double>(slope));
}

// The values of T in order, as integers.
template <class T, class Bits>
Bits rank_of(T x) {
  Bits b;
  memcpy(&b, &x, sizeof b);
  return b < 0 ? static_cast<Bits>(~b ^ (Bits(1) << (8 * sizeof b - 1))) : b;
}
template <class T, class Bits>
T of_rank(Bits rank) {
  const Bits b = rank < 0 ? static_cast<Bits>(~(rank ^ (Bits(1) << (8 * sizeof rank - 1)))) : rank;
  T x;
  memcpy(&x, &b, sizeof x);
  return x;
}

// |f'| > threshold: by bisection between points of the grid, which goes on to the largest numbers by factors
// of 2.
template <class T, class Bits>
Intervals above(const Activation& f, const double* params, double threshold) {
  Intervals found = {};
  const auto inside = [&](T x) { return slope_at<T>(f, params, static_cast<double>(x)) > threshold; };
  const int most = sizeof(T) == 4 ? 127 : 1023, far = most - 3;  // 2^4 to 2^most
  T before = 0;
  bool was = false;
  for (int i = -kHalf - far - 2; i <= kHalf + far + 2; i++) {
    const int beyond = (i < 0 ? -i : i) - kHalf;
    const double size = beyond <= 0         ? fabs(static_cast<double>(i)) / kSteps
                        : beyond > far + 1  ? HUGE_VAL
                        : beyond == far + 1 ? (sizeof(T) == 4 ? 0x1.fffffep127 : 0x1.fffffffffffffp1023)
                                            : ldexp(8, beyond);
    const T x = static_cast<T>(i < 0 ? -size : size);
    const bool is = inside(x);
    if (is != was) {
      Bits low = rank_of<T, Bits>(before), high = rank_of<T, Bits>(x);
      const bool first = i == -kHalf - far - 2;
      while (!first && low + 1 < high) {
        const Bits middle = low / 2 + high / 2 + (low % 2 + high % 2) / 2;
        (inside(of_rank<T, Bits>(middle)) == was ? low : high) = middle;
      }
      if (is && found.size == Intervals::most) return found;
      if (is)
        found.low[found.size] = static_cast<double>(first ? x : of_rank<T, Bits>(high));
      else
        found.high[found.size++] = static_cast<double>(of_rank<T, Bits>(low));
    }
    before = x;
    was = is;
  }
  if (was) found.high[found.size++] = HUGE_VAL;
  return found;
}

}  // namespace

Slope slope_of(const Activation& f, const double* params, gm_dtype dtype) {
  double most = 0;
  for (int i = -kHalf; i <= kHalf; i++)
    most = fmax(most, slope_at<double>(f, params, static_cast<double>(i) / kSteps));
  Slope s;
  const double small = kSaturated * most;
  s.flat = slope_at<double>(f, params, -50) < small && slope_at<double>(f, params, 50) < small;
  s.active = dtype == GM_FLOAT32 ? above<float, int32_t>(f, params, 0) : above<double, int64_t>(f, params, 0);
  s.steep = dtype == GM_FLOAT32 ? above<float, int32_t>(f, params, small)
                                : above<double, int64_t>(f, params, small);
  return s;
}

}  // namespace gradiometer
