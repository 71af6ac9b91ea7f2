// The only file that knows OpenMP. Compiled into the baseline objects, never into an ISA's.
//
// parallel(threads, f) runs f(rank, size, barrier) on a team; size may be smaller than asked, the calling
// thread is rank 0. `share` cuts n items in whole blocks, so that block boundaries never depend on the team's
// size.
#pragma once
#include <stdint.h>
#ifdef _OPENMP
#include <omp.h>
#endif

namespace gradiometer {

struct Range {
  int64_t begin, end;
  int64_t size() const { return end - begin; }
};

// Where a team's members wait for each other: they spin for some microseconds, then give the processor away.
// An OpenMP barrier spins on for milliseconds, and where another process has one of the cores every wait then
// costs a time slice: a batch-norm net's training step, 200 barriers, took 167 ms instead of 4.
class Barrier {
 public:
  void wait(int size) {
    const int phase = __atomic_load_n(&phase_, __ATOMIC_ACQUIRE);
    if (__atomic_add_fetch(&arrived_, 1, __ATOMIC_ACQ_REL) == size) {
      __atomic_store_n(&arrived_, 0, __ATOMIC_RELAXED);
      __atomic_store_n(&phase_, phase + 1, __ATOMIC_RELEASE);
      return;
    }
    for (int spins = 0; __atomic_load_n(&phase_, __ATOMIC_ACQUIRE) == phase; spins++)
      if (spins < 2000)
        pause();
      else
        give_way();
  }

 private:
  static void pause() {
#if defined(__x86_64__)
    __builtin_ia32_pause();
#endif
  }
  static void give_way();
  alignas(64) int arrived_ = 0;
  alignas(64) int phase_ = 0;
};

struct Team {
  int rank, size;
  Barrier* meeting;
  void barrier() const {
    if (size > 1) meeting->wait(size);
  }
  Range share(int64_t n, int64_t block = 1) const {
    int64_t blocks = (n + block - 1) / block;
    int64_t first = blocks * rank / size * block, last = blocks * (rank + 1) / size * block;
    return {first < n ? first : n, last < n ? last : n};
  }
};

// How many threads a call may use: what gm_threads_set or OMP_NUM_THREADS, affinity and the cgroup quota
// allow, 1 in a child forked from a process that has used threads (its pool is dead and waiting for it would
// hang).
int threads();
void threads_set(int n);  // 0: back to the default
int threads_available();

template <class F>
void parallel(int threads, F&& f) {
#ifdef _OPENMP
  if (threads > 1) {
    Barrier meeting;
#pragma omp parallel num_threads(threads)
    f(Team{omp_get_thread_num(), omp_get_num_threads(), &meeting});
    return;
  }
#endif
  (void)threads;
  f(Team{0, 1, nullptr});
}

}  // namespace gradiometer
