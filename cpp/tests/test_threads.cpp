// Teams: every member runs once, barriers hold, and callers that meet do not wait for each other.
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
  *mine = regions(static_cast<int>(mine - wrong));
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
  CHECK(regions(0) == 0);
  a_member_may_start_a_team();
#ifdef __unix__
  several_callers();
#endif
  return failures;
}
