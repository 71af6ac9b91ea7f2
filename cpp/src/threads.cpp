#include <stdlib.h>

#include "loops/parallel.hpp"
#ifdef __linux__
#include <stdio.h>
#endif
#if defined(__unix__) || defined(__APPLE__)
#include <pthread.h>
#endif

namespace gradiometer {
namespace {

int asked = 0;
bool forked = false;  // this process is a child of one that had us loaded

#if defined(__unix__) || defined(__APPLE__)
__attribute__((constructor)) void watch_forks() {
  pthread_atfork(nullptr, nullptr, [] { forked = true; });
}
#endif

#ifdef _OPENMP
// The processors that a container's CPU quota amounts to (cgroup v2), rounded up; 0 without one.
int quota() {
#ifdef __linux__
  FILE* f = fopen("/sys/fs/cgroup/cpu.max", "r");
  if (!f) return 0;
  long long limit = 0, period = 0;
  int got = fscanf(f, "%lld %lld", &limit, &period);
  fclose(f);
  if (got == 2 && limit > 0 && period > 0) return static_cast<int>((limit + period - 1) / period);
#endif
  return 0;
}
#endif

}  // namespace

void Barrier::give_way() {
#if defined(__unix__) || defined(__APPLE__)
  sched_yield();
#endif
}

int threads_available() {
#ifdef _OPENMP
  static int found = 0;
  int n = __atomic_load_n(&found, __ATOMIC_RELAXED);
  if (n == 0) {
    n = omp_get_max_threads();
    int q = quota();
    if (!getenv("OMP_NUM_THREADS") && q > 0 && q < n) n = q;
    __atomic_store_n(&found, n, __ATOMIC_RELAXED);
  }
  return n;
#else
  return 1;
#endif
}

int threads() {
  if (forked) return 1;
  int n = __atomic_load_n(&asked, __ATOMIC_RELAXED);
  return n > 0 ? n : threads_available();
}

void threads_set(int n) { __atomic_store_n(&asked, n, __ATOMIC_RELAXED); }

}  // namespace gradiometer
