// The team's threads: started when first needed, kept for later calls, asleep between them.
//
// A pool of our own and not OpenMP's, whose members spin for milliseconds after a region and at its end:
// where two of them were put on one core, or another process has the other, the one that is waited for waits
// itself for a time slice (ARCHITECTURE.md has the numbers).
//
// One pool, one region at a time: who finds it taken works alone, and whoever does not come is done without,
// with the same bits.
#include <stdlib.h>
#include <time.h>

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

// A word that some wait on until it is as they want it. They spin, then give way, then sleep.
constexpr int kSpins = 300, kYields = 5000;
void pause() {
#if defined(__x86_64__)
  __builtin_ia32_pause();
#endif
}
int64_t now() {  // ns
  timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return int64_t{1000000000} * t.tv_sec + t.tv_nsec;
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
// Whether it came within so many spins.
template <class Ready>
bool spin(const Signal& signal, Ready ready) {
  for (int i = 0; i < kSpins; i++) {
    if (ready(__atomic_load_n(&signal.word, __ATOMIC_ACQUIRE))) return true;
    pause();
  }
  return false;
}
template <class Ready>
void wait_long(Signal& signal, Ready ready) {
  for (int i = 0; i < kYields; i++) {
    if (ready(__atomic_load_n(&signal.word, __ATOMIC_ACQUIRE))) return;
    sched_yield();
  }
  __atomic_add_fetch(&signal.sleepers, 1, __ATOMIC_SEQ_CST);
  for (int word; !ready(word = __atomic_load_n(&signal.word, __ATOMIC_SEQ_CST));) sleep(&signal.word, word);
  __atomic_sub_fetch(&signal.sleepers, 1, __ATOMIC_SEQ_CST);
}
// Adds to *lost the ns that a wait took beyond the spins.
template <class Ready>
void await(Signal& signal, Ready ready, int64_t* lost = nullptr) {
  if (spin(signal, ready)) return;
  const int64_t from = lost ? now() : 0;
  wait_long(signal, ready);
  if (lost) *lost += now() - from;
}
// False where it did not come within so many ns.
template <class Ready>
bool await_for(Signal& signal, Ready ready, int64_t patience) {
  if (spin(signal, ready)) return true;
  const int64_t time = now() + patience;
  while (!ready(__atomic_load_n(&signal.word, __ATOMIC_ACQUIRE))) {
    if (now() >= time) return false;
    sched_yield();
  }
  return true;
}
int change(Signal& signal, int by) {
  const int word = __atomic_add_fetch(&signal.word, by, __ATOMIC_SEQ_CST);
  if (__atomic_load_n(&signal.sleepers, __ATOMIC_SEQ_CST) > 0) wake(&signal.word);
  return word;
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

// A worker that is invited and does not come, since another process has its core for 3 to 8 ms, is not waited
// for: it is kAway, and not invited to short work where members meet, until it has looked in again.
enum State { kAway, kReady, kInvited, kAtWork };
constexpr int kMostThreads = 256;
struct Worker {
  pthread_t thread;
  Signal begin;
  int state = kReady;
  bool becomes(State from, State to) {
    int expected = from;
    return __atomic_compare_exchange_n(&state, &expected, to, false, __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST);
  }
};
struct Region {
  void (*member)(void*, Team);
  void* work;
  int size;  // with all who are invited
  bool apart;
  int turn;  // of pool.formed
};
struct Pool {
  pthread_mutex_t taken = PTHREAD_MUTEX_INITIALIZER;
  Worker workers[kMostThreads];  // from 1 on
  int started = 0;
  bool over = false;
  Region region;
  int core = -1;  // the caller's
  Signal left;    // how many workers are not done
  Signal formed;  // changes when the team is known
  alignas(64) int joined = 0;
  int size = 0;  // of the team
  Barrier meeting;
  int64_t lost = 0;  // ns that the caller has waited in this region
  int64_t rest = 0, alone_until = 0;
} pool;

void form(int size) {
  pool.size = size;
  change(pool.formed, 1);
}
Team join(const Region& region) {
  const int rank = __atomic_add_fetch(&pool.joined, 1, __ATOMIC_SEQ_CST);
  if (rank == region.size - 1)
    form(region.size);
  else
    await(pool.formed, [&](int word) { return word != region.turn; });
  return {rank, pool.size, &pool.meeting};
}

void* work(void* given) {
  const int index = static_cast<int>(reinterpret_cast<intptr_t>(given));
  Worker& me = pool.workers[index];
  int seen = 0, together = 0;
  for (;;) {
    await(me.begin, [&](int word) { return word != seen; });
    seen = __atomic_load_n(&me.begin.word, __ATOMIC_SEQ_CST);
    if (__atomic_load_n(&pool.over, __ATOMIC_RELAXED)) return nullptr;
    const int callers = __atomic_load_n(&pool.core, __ATOMIC_RELAXED);
    together = core() == callers ? together + 1 : 0;
    if (together > 1) leave(callers);
    if (!me.becomes(kInvited, kAtWork)) {
      me.becomes(kAway, kReady);
      continue;
    }
    const Region& region = pool.region;
    region.member(region.work, region.apart ? Team{index, region.size, nullptr} : join(region));
    __atomic_store_n(&me.state, kReady, __ATOMIC_SEQ_CST);
    change(pool.left, -1);
  }
}

// No worker that is ready ceases to be it by itself.
void invite(Worker& w) {
  while (!w.becomes(kReady, kInvited) && !w.becomes(kAway, kInvited)) {
  }
  change(w.begin, 1);
}

// What the caller does, with `most` workers at hand.
void work_apart(void (*member)(void*, Team), void* given, int most) {
  pool.region = {member, given, 1 + most, true, 0};
  pool.left.word = most;
  pool.size = 1 + most;
  for (int i = 1; i <= most; i++) invite(pool.workers[i]);
  member(given, {0, 1 + most, nullptr});
  for (int i = 1; i <= most; i++)
    if (pool.workers[i].becomes(kInvited, kAway)) {
      member(given, {i, 1 + most, nullptr});
      change(pool.left, -1);
    }
  await(
      pool.left, [](int word) { return word == 0; }, &pool.lost);
}
void work_together(void (*member)(void*, Team), void* given, int most, int64_t patience) {
  const auto is_invited = [=](const Worker& w) {
    return patience > kPatience || __atomic_load_n(&w.state, __ATOMIC_SEQ_CST) == kReady;
  };
  int invited = 0;
  for (int i = 1; i <= most; i++) invited += is_invited(pool.workers[i]);
  const int turn = pool.formed.word;
  pool.region = {member, given, 1 + invited, false, turn};
  pool.left.word = invited;
  pool.joined = 0;
  pool.size = 1;
  for (int i = 1, n = 0; n < invited; i++)
    if (is_invited(pool.workers[i])) {
      invite(pool.workers[i]);
      n++;
    }
  const auto formed = [turn](int word) { return word != turn; };
  if (invited && !await_for(pool.formed, formed, patience)) {
    int missing = 0;
    for (int i = 1; i <= most; i++) missing += pool.workers[i].becomes(kInvited, kAway);
    if (missing) {
      change(pool.left, -missing);
      form(1 + invited - missing);
    } else {
      await(pool.formed, formed);
    }
  }
  member(given, {0, pool.size, &pool.meeting});
  await(
      pool.left, [](int word) { return word == 0; }, &pool.lost);
}

// Beside a busy process a worker loses its core at every time slice, most often within a region, and the
// caller waits for it. Where all shares would have taken him two thirds of the region he would have been
// faster alone, and is for as long as he has lost, twice as long every time that it happens again.
constexpr int64_t kLoss = 300000, kLongestRest = 128000000;
void look_back(int64_t began) {
  if (pool.lost < kLoss) return;
  const int64_t ended = now();
  if (3 * pool.size * (ended - began - pool.lost) >= 2 * (ended - began)) return;
  const bool again = began - pool.alone_until < 2 * pool.rest;
  const int64_t rest = again ? 2 * pool.rest : pool.lost;
  pool.rest = rest < kLongestRest ? rest : kLongestRest;
  __atomic_store_n(&pool.alone_until, ended + pool.rest, __ATOMIC_RELAXED);
}

// How many workers there are, of so many wanted. Signals stay with the threads of the program.
int start(int wanted) {
  sigset_t all, before;
  sigfillset(&all);
  if (pool.started >= wanted || pthread_sigmask(SIG_SETMASK, &all, &before)) return pool.started;
  while (pool.started < wanted) {
    const intptr_t index = pool.started + 1;
    if (pthread_create(&pool.workers[index].thread, nullptr, work, reinterpret_cast<void*>(index))) break;
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
  __atomic_store_n(&pool.over, true, __ATOMIC_RELAXED);
  for (int i = 1; i <= pool.started; i++) change(pool.workers[i].begin, 1);
  for (int i = 1; i <= pool.started; i++) pthread_join(pool.workers[i].thread, nullptr);
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

void Barrier::wait(Team team) {
  const int phase = __atomic_load_n(&phase_.word, __ATOMIC_ACQUIRE);
  if (__atomic_add_fetch(&arrived_, 1, __ATOMIC_ACQ_REL) < team.size)
    return await(
        phase_, [&](int word) { return word != phase; }, team.rank == 0 ? &pool.lost : nullptr);
  __atomic_store_n(&arrived_, 0, __ATOMIC_RELAXED);
  change(phase_, 1);
}

void run_team(int threads, bool apart, int64_t patience, void (*member)(void* work, Team), void* work) {
  const int64_t began = now();
  if (forked || began < __atomic_load_n(&pool.alone_until, __ATOMIC_RELAXED) ||
      pthread_mutex_trylock(&pool.taken))
    return member(work, {0, 1, nullptr});
  const int workers = start((threads < kMostThreads ? threads : kMostThreads) - 1);
  const int most = workers < threads - 1 ? workers : threads - 1;
  pool.lost = 0;
  __atomic_store_n(&pool.core, core(), __ATOMIC_RELAXED);
  if (apart)
    work_apart(member, work, most);
  else
    work_together(member, work, most, patience);
  look_back(began);
  pthread_mutex_unlock(&pool.taken);
}

#else

void Barrier::wait(Team) {}
void run_team(int, bool, int64_t, void (*member)(void* work, Team), void* work) {
  member(work, {0, 1, nullptr});
}

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
