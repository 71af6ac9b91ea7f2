// The team's threads: started when first needed, kept for later calls, asleep between them.
//
// A pool of our own and not OpenMP's, whose members spin for milliseconds after a region and at its end:
// where two of them were put on one core, or another process has the other, the one that is waited for waits
// itself for a time slice (ARCHITECTURE.md has the numbers).
//
// One pool, one region at a time: who finds it taken works alone, with the same bits.
#include <stdlib.h>

#include "loops/parallel.hpp"

#if defined(GM_THREADS) && (defined(__unix__) || defined(__APPLE__))
#define GM_POOL
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <unistd.h>
#endif
#ifdef __linux__
#include <limits.h>
#include <linux/futex.h>
#include <stdio.h>
#include <sys/syscall.h>
#endif

namespace gradiometer {
namespace {

int asked = 0;

#ifdef GM_POOL

bool forked = false;  // this process is a child of one that had us loaded

// A word that some wait on until it changes. They spin, then give way, then sleep.
constexpr int kSpins = 300, kYields = 5000;
void pause() {
#if defined(__x86_64__)
  __builtin_ia32_pause();
#endif
}
#ifdef __linux__
void sleep(const int* word, int value) {
  syscall(SYS_futex, word, FUTEX_WAIT_PRIVATE, value, nullptr, nullptr, 0);
}
void wake(const int* word) { syscall(SYS_futex, word, FUTEX_WAKE_PRIVATE, INT_MAX, nullptr, nullptr, 0); }
#else
void sleep(const int*, int) { usleep(50); }
void wake(const int*) {}
#endif
void await(Signal& signal, int value) {
  for (int i = 0; i < kSpins + kYields; i++) {
    if (__atomic_load_n(&signal.word, __ATOMIC_ACQUIRE) != value) return;
    i < kSpins ? pause() : static_cast<void>(sched_yield());
  }
  __atomic_add_fetch(&signal.sleepers, 1, __ATOMIC_SEQ_CST);
  while (__atomic_load_n(&signal.word, __ATOMIC_SEQ_CST) == value) sleep(&signal.word, value);
  __atomic_sub_fetch(&signal.sleepers, 1, __ATOMIC_SEQ_CST);
}
void send(Signal& signal) {
  __atomic_add_fetch(&signal.word, 1, __ATOMIC_SEQ_CST);
  if (__atomic_load_n(&signal.sleepers, __ATOMIC_SEQ_CST) > 0) wake(&signal.word);
}

// Linux puts a thread that it wakes on the core of the waker although another is idle, and leaves it there
// for hundreds of calls, each of which then takes longer than by one thread: 128 x 128 x 128 34 us, apart 9.
// Whoever finds himself there twice moves, which takes 100 us.
#ifdef __linux__
int core() { return sched_getcpu(); }
void leave(int taken) {
  cpu_set_t allowed;
  if (sched_getaffinity(0, sizeof allowed, &allowed) || CPU_COUNT(&allowed) < 2) return;
  cpu_set_t others = allowed;
  CPU_CLR(taken, &others);
  if (!sched_setaffinity(0, sizeof others, &others)) sched_setaffinity(0, sizeof allowed, &allowed);
}
#else
int core() { return -1; }
void leave(int) {}
#endif

constexpr int kMostThreads = 256;
struct Region {
  void (*member)(void*, Team);
  void* work;
  int size;
  int core;  // the caller's
};
struct Pool {
  pthread_mutex_t taken = PTHREAD_MUTEX_INITIALIZER;
  pthread_t threads[kMostThreads];  // of rank 1, 2, ...
  Signal begin[kMostThreads];
  int started = 0;
  bool over = false;
  Region region;
  Barrier meeting;
} pool;

void* work(void* given) {
  const int rank = static_cast<int>(reinterpret_cast<intptr_t>(given));
  int together = 0;
  for (unsigned seen = 0;; seen++) {  // 2^31 regions of 10 us are 6 hours
    await(pool.begin[rank], static_cast<int>(seen));
    if (pool.over) return nullptr;
    const Region region = pool.region;
    together = core() == region.core ? together + 1 : 0;
    if (together > 1) leave(region.core);
    const Team team = {rank, region.size, &pool.meeting};
    region.member(region.work, team);
    team.barrier();
  }
}

// How many workers there are, of so many wanted. Signals stay with the threads of the program.
int start(int wanted) {
  sigset_t all, before;
  sigfillset(&all);
  if (pool.started >= wanted || pthread_sigmask(SIG_SETMASK, &all, &before)) return pool.started;
  while (pool.started < wanted) {
    const intptr_t rank = pool.started + 1;
    if (pthread_create(&pool.threads[rank], nullptr, work, reinterpret_cast<void*>(rank))) break;
    pool.started++;
  }
  pthread_sigmask(SIG_SETMASK, &before, nullptr);
  return pool.started;
}

__attribute__((constructor)) void watch_forks() {
  pthread_atfork(nullptr, nullptr, [] { forked = true; });
}
// The code that a worker runs is about to go.
__attribute__((destructor)) void finish() {
  if (forked || pthread_mutex_trylock(&pool.taken)) return;
  pool.over = true;
  for (int rank = 1; rank <= pool.started; rank++) send(pool.begin[rank]);
  for (int rank = 1; rank <= pool.started; rank++) pthread_join(pool.threads[rank], nullptr);
}

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
int processors() {
#ifdef __linux__
  cpu_set_t set;
  if (!sched_getaffinity(0, sizeof set, &set)) return CPU_COUNT(&set);
#endif
  const long n = sysconf(_SC_NPROCESSORS_ONLN);
  return n > 0 ? static_cast<int>(n) : 1;
}
int count_available() {
  const char* text = getenv("OMP_NUM_THREADS");  // OpenMP's: "4", or a list of which the first counts
  const long wanted = text ? strtol(text, nullptr, 10) : 0;
  int n = wanted > 0 ? static_cast<int>(wanted < kMostThreads ? wanted : kMostThreads) : processors();
  const int q = quota();
  return wanted <= 0 && q > 0 && q < n ? q : n;
}

#else

constexpr bool forked = false;
int count_available() { return 1; }

#endif

}  // namespace

#ifdef GM_POOL

void Barrier::wait(int size) {
  const int phase = __atomic_load_n(&phase_.word, __ATOMIC_ACQUIRE);
  if (__atomic_add_fetch(&arrived_, 1, __ATOMIC_ACQ_REL) < size) return await(phase_, phase);
  __atomic_store_n(&arrived_, 0, __ATOMIC_RELAXED);
  send(phase_);
}

void run_team(int threads, void (*member)(void*, Team), void* work) {
  if (forked || pthread_mutex_trylock(&pool.taken)) return member(work, {0, 1, nullptr});
  const int workers = start((threads < kMostThreads ? threads : kMostThreads) - 1);
  const Team team = {0, 1 + (workers < threads - 1 ? workers : threads - 1), &pool.meeting};
  pool.region = {member, work, team.size, core()};
  for (int rank = 1; rank < team.size; rank++) send(pool.begin[rank]);
  member(work, team);
  team.barrier();
  pthread_mutex_unlock(&pool.taken);
}

#else

void Barrier::wait(int) {}
void run_team(int, void (*member)(void*, Team), void* work) { member(work, {0, 1, nullptr}); }

#endif

int threads_available() {
  static int found = 0;
  int n = __atomic_load_n(&found, __ATOMIC_RELAXED);
  if (n == 0) {
    n = count_available();
    __atomic_store_n(&found, n, __ATOMIC_RELAXED);
  }
  return n;
}

int threads() {
  if (forked) return 1;
  int n = __atomic_load_n(&asked, __ATOMIC_RELAXED);
  return n > 0 ? n : threads_available();
}

void threads_set(int n) { __atomic_store_n(&asked, n, __ATOMIC_RELAXED); }

}  // namespace gradiometer
