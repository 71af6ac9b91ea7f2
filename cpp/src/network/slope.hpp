// Where an activation has a slope, as intervals of its input: found once a plan, so that a measurement
// compares instead of computing f' of every element.
#pragma once
#include "../dispatch.hpp"
#include "../error.hpp"

namespace gradiometer {

struct Intervals {
  // tanhshrink and gelu have two; a sine would have three a period, five periods within the grid.
  static constexpr int most = 16;
  int size;
  double low[most], high[most];  // both inside, values of the network's type
};

struct Slope {
  Intervals active, steep;  // f' != 0; |f'| > 5 % of its largest
  bool flat;                // f' falls below 5 % of its largest far out on both sides: it can saturate
};

Slope slope_of(const Activation& f, const double* params, gm_dtype dtype);

}  // namespace gradiometer
