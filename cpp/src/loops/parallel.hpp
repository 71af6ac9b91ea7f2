// The only file that knows OpenMP. Compiled into the baseline objects, never into an ISA's.
//
// parallel(threads, f) runs f(rank, size, barrier) on a team; size may be smaller than asked, the calling thread
// is rank 0. `share` cuts n items in whole blocks, so that block boundaries never depend on the team's size.
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

struct Team {
  int rank, size;
  void barrier() const {
#ifdef _OPENMP
    if (size > 1) {
#pragma omp barrier
    }
#endif
  }
  Range share(int64_t n, int64_t block = 1) const {
    int64_t blocks = (n + block - 1) / block;
    int64_t first = blocks * rank / size * block, last = blocks * (rank + 1) / size * block;
    return {first < n ? first : n, last < n ? last : n};
  }
};

// How many threads a call may use: what gm_threads_set or OMP_NUM_THREADS, affinity and the cgroup quota allow,
// 1 in a child forked from a process that has used threads (its pool is dead and waiting for it would hang).
int threads();
void threads_set(int n);  // 0: back to the default
int threads_available();

template <class F>
void parallel(int threads, F&& f) {
#ifdef _OPENMP
  if (threads > 1) {
#pragma omp parallel num_threads(threads)
    f(Team{omp_get_thread_num(), omp_get_num_threads()});
    return;
  }
#endif
  (void)threads;
  f(Team{0, 1});
}

}  // namespace gradiometer
