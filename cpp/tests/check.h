/* CHECK counts and prints what does not hold; a test's main returns `failures`. Plain C, for tests of both.
 */
#ifndef GM_CHECK_H
#define GM_CHECK_H
#include <stdio.h>

static int failures = 0;
#define CHECK(condition)                                              \
  do {                                                                \
    if (!(condition)) {                                               \
      failures++;                                                     \
      fprintf(stderr, "%s:%d: %s\n", __FILE__, __LINE__, #condition); \
    }                                                                 \
  } while (0)

#endif
