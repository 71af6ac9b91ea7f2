// Whether the caller wants a long call to end. asked: when he was last asked, where calls follow each other,
// or null.
#pragma once
#include <time.h>

#include "loops/parallel.hpp"

namespace gradiometer {

// The clock is looked at after so much work, some 10 us.
constexpr double kFlopsPerLook = 2e6;
// A piece of work between two looks at the cancel callback takes some 20 ms at most on one slow core.
constexpr double kFlopsPerPanel = 5e8;

class Cancel {
 public:
  Cancel(int (*ask)(void*), void* data, double* asked)
      : ask_(ask), data_(data), last_(asked ? asked : &own_) {
    if (ask_ && *last_ == 0) *last_ = now();
  }
  // Asks the callback every 20 ms, on the calling thread only; true once it has said so.
  bool poll(Team team, double flops) {
    if (team.rank == 0 && ask_ && (worked_ += flops) >= kFlopsPerLook && !stopped()) {
      worked_ = 0;
      double t = now();
      if (t - *last_ > 0.02) {
        *last_ = t;
        if (ask_(data_)) __atomic_store_n(&stop_, 1, __ATOMIC_RELAXED);
      }
    }
    return stopped();
  }
  bool stopped() const { return __atomic_load_n(&stop_, __ATOMIC_RELAXED) != 0; }

 private:
  static double now() {
    timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return static_cast<double>(t.tv_sec) + 1e-9 * static_cast<double>(t.tv_nsec);
  }
  int (*ask_)(void*);
  void* data_;
  double* last_;
  double own_ = 0, worked_ = 0;
  int stop_ = 0;
};

}  // namespace gradiometer
