// Teams: every member runs once, barriers hold, who does not come is left out, and callers that meet do not
// wait for each other.
#include "check.h"
#include "loops/parallel.hpp"
#ifdef __unix__
#include <pthread.h>
#include <unistd.h>
#endif

namespace {

using namespace gradiometer;

constexpr int kMost = 5, kRegions = 2000;

// Each member reads, after a barrier, what the others wrote before it. Returns what went wrong.
int regions(int first) {
  int wrong = 0;
  for (int i = first; i < first + kRegions; i++) {
    long written[kMost] = {}, seen[kMost] = {};
    int size = 0;
    const int asked = 1 + i % kMost;
    parallel(asked, [&](Team team) {
      written[team.rank] += i + team.rank;
      team.barrier();
      for (int r = 0; r < team.size; r++) seen[team.rank] += written[r];
      team.barrier();
      if (team.rank == 0) size = team.size;
    });
    long sum = 0;
    for (int r = 0; r < size; r++) sum += i + r;
    wrong += size < 1 || size > asked;
    for (int r = 0; r < kMost; r++) wrong += seen[r] != (r < size ? sum : 0);
#ifdef __unix__
    if (i % 500 == 0) usleep(5000);  // members fall asleep
#endif
  }
  return wrong;
}

// Every rank's share is done once, by whoever it is, and is there for the caller. Returns what went wrong.
int shares(int first) {
  int wrong = 0;
  for (int i = first; i < first + kRegions; i++) {
    long done[kMost] = {};
    int sizes[kMost] = {};
    const int asked = 1 + i % kMost;
    parallel_apart(asked, [&](Team team) {
      done[team.rank] += i + team.rank;
      sizes[team.rank] = team.size;
    });
    wrong += sizes[0] < 1 || sizes[0] > asked;
    for (int r = 0; r < kMost; r++) {
      wrong += done[r] != (r < sizes[0] ? i + r : 0);
      wrong += sizes[r] != (r < sizes[0] ? sizes[0] : 0);
    }
#ifdef __unix__
    if (i % 500 == 0) usleep(5000);
#endif
  }
  return wrong;
}

// Whoever is slow to come is left out of one region and may be in the next: some never are waited for.
int impatient(int first) {
  int wrong = 0;
  for (int i = first; i < first + kRegions; i++) {
    int seen[kMost] = {}, size = 0;
    parallel(kMost, 0, [&](Team team) {
      seen[team.rank]++;
      team.barrier();
      if (team.rank == 0) size = team.size;
    });
    for (int r = 0; r < kMost; r++) wrong += seen[r] != (r < size);
#ifdef __unix__
    if (i % 500 == 0) usleep(5000);
#endif
  }
  return wrong;
}

void the_caller_has_the_greatest_share() {
  for (int size = 1; size <= 9; size++)
    for (int64_t n = 0; n < 100; n++) {
      int64_t next = 0;
      for (int rank = 0; rank < size; rank++) {
        const Range r = Team{rank, size, nullptr}.share(n, 7);
        CHECK(r.begin == next && r.size() <= Team({0, size, nullptr}).share(n, 7).size());
        next = r.end;
      }
      CHECK(next == n);
    }
}

#ifdef __unix__
// A worker that sleeps is late to short work, and is waited for by long work that comes right after.
void long_work_waits_for_who_was_late() {
  constexpr int64_t second = 1000000000;
  int most = 1, teams = 0;
  const auto long_work = [](int* size) {
    parallel(2, second, [=](Team team) {
      if (team.rank == 0) *size = team.size;
    });
  };
  long_work(&most);
  for (int i = 0; i < 20; i++) {
    usleep(20000);
    parallel_apart(2, [](Team) {});
    int size = 0;
    long_work(&size);
    teams += size == most;
  }
  CHECK(teams >= 10);
}
#endif

void a_member_may_start_a_team() {
  int runs = 0;
  parallel(2, [&](Team team) {
    if (team.rank == 0) parallel(2, [&](Team inner) { runs += inner.rank == 0; });
  });
  CHECK(runs == 1);
}

#ifdef __unix__
int wrong[4];
void* caller(void* index) {
  int* const mine = static_cast<int*>(index);
  const int first = static_cast<int>(mine - wrong);
  *mine = regions(first) + shares(first) + impatient(first);
  return nullptr;
}
void several_callers() {
  pthread_t threads[4];
  for (int i = 0; i < 4; i++) CHECK(pthread_create(&threads[i], nullptr, caller, &wrong[i]) == 0);
  for (int i = 0; i < 4; i++) {
    CHECK(pthread_join(threads[i], nullptr) == 0);
    CHECK(wrong[i] == 0);
  }
}
#endif

}  // namespace

int main() {
  the_caller_has_the_greatest_share();
#ifdef __unix__
  long_work_waits_for_who_was_late();
#endif
  CHECK(regions(0) == 0);
  CHECK(shares(0) == 0);
  CHECK(impatient(0) == 0);
  a_member_may_start_a_team();
#ifdef __unix__
  several_callers();
#endif
  return failures;
}
