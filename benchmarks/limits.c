/* This machine's own limits: an FMA loop and a copy loop, for limits.py to run on one thread or several. */
#include <stddef.h>
#include <string.h>
#include <time.h>

#if defined(__AVX512F__)
#define BYTES 64
#elif defined(__AVX2__)
#define BYTES 32
#else
#define BYTES 16
#endif
typedef float vf __attribute__((vector_size(BYTES)));
typedef double vd __attribute__((vector_size(BYTES)));

static double now(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

/* 12 independent chains fill two pipes of latency 4 and fit 16 registers; contraction makes each a*b + c one instruction. Named
 * variables: as an array they are kept in memory (41 instead of 285 GF/s). */
#define CHAINS(DO) DO(0) DO(1) DO(2) DO(3) DO(4) DO(5) DO(6) DO(7) DO(8) DO(9) DO(10) DO(11)
#define START(i) a##i = zero + (float)(i + 2); /* 1 is where a chain rests: it would be folded away */
#define DECLARE(i) , a##i
#define STEP(i) a##i = a##i * m + c;
#define TOTAL(i) total += a##i;
#define FMA_LOOP(name, V, T)                                                  \
  double name(double seconds) {                                               \
    V zero = {0}, m = zero + (T)0.999999, c = zero + (T)1e-6 CHAINS(DECLARE); \
    CHAINS(START)                                                             \
    double start = now(), spent = 0, rounds = 0;                              \
    while (spent < seconds) {                                                 \
      for (int r = 0; r < 20000; r++) {                                       \
        CHAINS(STEP)                                                          \
      }                                                                       \
      rounds += 20000;                                                        \
      spent = now() - start;                                                  \
    }                                                                         \
    V total = zero;                                                           \
    CHAINS(TOTAL)                                                             \
    volatile T keep = total[0];                                               \
    (void)keep;                                                               \
    return rounds * 12 * 2 * (BYTES / sizeof(T)) / spent;                     \
  }
FMA_LOOP(fma_f32, vf, float)
FMA_LOOP(fma_f64, vd, double)

/* Bytes read and written a second, copying n bytes again and again. */
double copy(char* to, const char* from, size_t n, double seconds) {
  double start = now(), spent = 0, bytes = 0;
  while (spent < seconds) {
    size_t times = n < (1u << 20) ? (1u << 20) / n + 1 : 1;
    for (size_t r = 0; r < times; r++) {
      for (size_t i = 0; i + BYTES <= n; i += BYTES) {
        vf v;
        memcpy(&v, from + i, BYTES);
        memcpy(to + i, &v, BYTES);
      }
      __asm__ volatile("" ::: "memory");
    }
    bytes += 2.0 * (double)n * (double)times;
    spent = now() - start;
  }
  return bytes / spent;
}
