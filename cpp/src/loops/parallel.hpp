// Work by a team of threads. Compiled into the baseline objects, never into an ISA's.
//
// parallel(threads, patience, f) runs f(team) on every member of a team, who may wait for each other. Its
// size may be smaller than asked: whoever has not come after `patience` is left out. parallel_apart(threads,
// f) runs f(team) for every rank of a team, whose members must not wait for each other: a share whose member
// has not come by the time the caller is done with his own, is the caller's as well. The calling thread is
// rank 0. `share` cuts n items in whole blocks, so that block boundaries never depend on the team's size.
#pragma once
#include <stdint.h>

#include <type_traits>

namespace gradiometer {

struct Range {
  int64_t begin, end;
  int64_t size() const { return end - begin; }
};

// Where the members of a team wait for each other.
struct Signal {
  alignas(64) int word = 0;
  int sleepers = 0;
};
struct Team;
class Barrier {
 public:
  void wait(Team team);

 private:
  alignas(64) int arrived_ = 0;
  Signal phase_;
};

struct Team {
  int rank, size;
  Barrier* meeting;
  void barrier() const {
    if (size > 1) meeting->wait(*this);
  }
  // The caller's is the greatest: whoever he waits for is late and not busier.
  Range share(int64_t n, int64_t block = 1) const {
    const int64_t blocks = (n + block - 1) / block;
    const int64_t first = (blocks * rank + size - 1) / size * block,
                  last = (blocks * (rank + 1) + size - 1) / size * block;
    return {first < n ? first : n, last < n ? last : n};
  }
};

// How many threads a call may use: what gm_threads_set or OMP_NUM_THREADS, affinity and the cgroup quota
// allow, 1 in a child forked from a process that had us loaded.
int threads();
void threads_set(int n);  // 0: back to the default
int threads_available();

// A worker that sleeps is awake after some 50 us. Long work waits for a sixteenth of the time that one thread
// takes, at some 100 GFLOP a second, and so for whoever was late to the work before.
constexpr int64_t kPatience = 100000;  // ns
inline int64_t patience_for(double flops) {
  const double ns = flops * 6e-4;
  return ns < 1e9 ? ns > kPatience ? static_cast<int64_t>(ns) : kPatience : 1000000000;
}
void run_team(int threads, bool apart, int64_t patience, void (*member)(void* work, Team), void* work);

template <class F>
void run_team(int threads, bool apart, int64_t patience, F& f) {
  if (threads > 1)
    run_team(
        threads, apart, patience, [](void* work, Team team) { (*static_cast<F*>(work))(team); }, &f);
  else
    f(Team{0, 1, nullptr});
}
template <class F>
void parallel(int threads, int64_t patience, F&& f) {
  run_team<std::remove_reference_t<F>>(threads, false, patience, f);
}
template <class F>
void parallel(int threads, F&& f) {
  parallel(threads, kPatience, f);
}
template <class F>
void parallel_apart(int threads, F&& f) {
  run_team<std::remove_reference_t<F>>(threads, true, 0, f);
}

}  // namespace gradiometer
