// Compiled once an ISA (GM_ISA, GM_ISA_HEADER), with its flags: every verb of simd/ against plain C, every
// function of math/ against libm of the next wider type, in units in the last place, with the errors their
// heads state.
#include GM_ISA_HEADER

#include <float.h>
#include <math.h>
#include <stdint.h>
#include <string.h>

#include "check.h"
#include "cpu.hpp"
#include "math/erf.hpp"
#include "math/exp.hpp"
#include "math/log.hpp"
#include "math/logistic.hpp"

namespace {

using gradiometer::GM_ISA::V;
namespace g = gradiometer::GM_ISA;

uint64_t state = 1;
uint64_t random_bits() {
  state ^= state << 13;
  state ^= state >> 7;
  state ^= state << 17;
  return state;
}
int random_below(int n) { return static_cast<int>(random_bits() >> 33) % n; }
double uniform() { return static_cast<double>(random_bits() >> 11) * 0x1p-53; }

template <class T>
struct Type;
template <>
struct Type<float> {
  using Wide = double;
  static constexpr float smallest = FLT_TRUE_MIN, normal = FLT_MIN, largest = FLT_MAX;
  static constexpr int digits = 24, lowest = -149, scale_limit = 250;
};
template <>
struct Type<double> {
  using Wide = long double;
  static constexpr double smallest = DBL_TRUE_MIN, normal = DBL_MIN, largest = DBL_MAX;
  static constexpr int digits = 53, lowest = -1074, scale_limit = 2000;
};

// Any number: bit patterns, ends of the range, moderate ones.
template <class T>
T any_number() {
  using F = Type<T>;
  const T special[] = {T(0),      T(-0.0),      T(1),       T(-1),      T(INFINITY),
                       T(NAN),    T(-INFINITY), T(0.5),     T(-1.5),    T(2.5),
                       F::normal, F::smallest,  F::largest, -F::normal, F::normal - F::smallest};
  switch (random_below(4)) {
    case 0:
      return special[random_below(15)];
    case 1:
      return static_cast<T>(ldexp(uniform() - 0.5, random_below(60) - 20));
    default:
      T x;
      const uint64_t b = random_bits();
      memcpy(&x, &b, sizeof x);
      return x;
  }
}

template <class T>
bool same(T a, T b) {
  return (isnan(a) && isnan(b)) || (a == b && signbit(a) == signbit(b));
}

// verb(V...) against plain(T...) on vectors of what `make` makes.
template <class T, class Make, class Verb, class Plain>
void agree(const char* name, Make make, Verb verb, Plain plain) {
  constexpr int W = V<T>::lanes;
  for (int repeat = 0; repeat < 20000; repeat++) {
    T a[W], b[W], c[W], out[W];
    for (int i = 0; i < W; i++) make(&a[i], &b[i], &c[i]);
    verb(V<T>::load(a), V<T>::load(b), V<T>::load(c)).store(out);
    for (int i = 0; i < W; i++) {
      const bool right = same<T>(out[i], plain(a[i], b[i], c[i]));
      if (!right)
        fprintf(stderr, "%s(%a, %a, %a) is %a\n", name, static_cast<double>(a[i]), static_cast<double>(b[i]),
                static_cast<double>(c[i]), static_cast<double>(out[i]));
      CHECK(right);
    }
  }
}

template <class T>
void arithmetic() {
  using U = V<T>;
  auto any = [](T* a, T* b, T* c) { *a = any_number<T>(), *b = any_number<T>(), *c = any_number<T>(); };
  agree<T>(
      "+", any, [](U a, U b, U) { return a + b; }, [](T a, T b, T) { return a + b; });
  agree<T>(
      "-", any, [](U a, U b, U) { return a - b; }, [](T a, T b, T) { return a - b; });
  agree<T>(
      "*", any, [](U a, U b, U) { return a * b; }, [](T a, T b, T) { return a * b; });
  agree<T>(
      "/", any, [](U a, U b, U) { return a / b; }, [](T a, T b, T) { return a / b; });
  agree<T>(
      "minus", any, [](U a, U, U) { return -a; }, [](T a, T, T) { return -a; });
  agree<T>(
      "min", any, [](U a, U b, U) { return min(a, b); }, [](T a, T b, T) { return a < b ? a : b; });
  agree<T>(
      "max", any, [](U a, U b, U) { return max(a, b); }, [](T a, T b, T) { return a > b ? a : b; });
  agree<T>(
      "abs", any, [](U a, U, U) { return abs(a); }, [](T a, T, T) { return signbit(a) ? -a : a; });
  agree<T>(
      "copysign", any, [](U a, U b, U) { return copysign(a, b); },
      [](T a, T b, T) { return signbit(a) == signbit(b) ? a : -a; });
  agree<T>(
      "sqrt", any, [](U a, U, U) { return sqrt(a); },
      [](T a, T, T) {
        return sizeof(T) == 4 ? static_cast<T>(sqrtf(static_cast<float>(a)))
                              : static_cast<T>(::sqrt(static_cast<double>(a)));
      });
  agree<T>(
      "round", any, [](U a, U, U) { return round(a); },
      [](T a, T, T) { return static_cast<T>(rint(static_cast<double>(a))); });
  if (U::fused) {
    auto once = [](T a, T b, T c) {
      return sizeof(T) == 4
                 ? static_cast<T>(fmaf(static_cast<float>(a), static_cast<float>(b), static_cast<float>(c)))
                 : static_cast<T>(
                       ::fma(static_cast<double>(a), static_cast<double>(b), static_cast<double>(c)));
    };
    agree<T>(
        "fma", any, [](U a, U b, U c) { return fma(a, b, c); }, once);
    agree<T>(
        "fnma", any, [](U a, U b, U c) { return fnma(a, b, c); },
        [once](T a, T b, T c) { return once(-a, b, c); });
  } else {
    agree<T>(
        "fma", any, [](U a, U b, U c) { return fma(a, b, c); }, [](T a, T b, T c) { return a * b + c; });
    agree<T>(
        "fnma", any, [](U a, U b, U c) { return fnma(a, b, c); }, [](T a, T b, T c) { return c - a * b; });
  }
}

template <class T>
void masks() {
  using U = V<T>;
  auto any = [](T* a, T* b, T* c) {
    *a = any_number<T>(), *b = random_below(4) ? any_number<T>() : *a, *c = any_number<T>();
  };
  agree<T>(
      "lt", any, [](U a, U b, U c) { return select(lt(a, b), a, c); },
      [](T a, T b, T c) { return a < b ? a : c; });
  agree<T>(
      "le", any, [](U a, U b, U c) { return select(le(a, b), a, c); },
      [](T a, T b, T c) { return a <= b ? a : c; });
  agree<T>(
      "eq", any, [](U a, U b, U c) { return select(eq(a, b), a, c); },
      [](T a, T b, T c) { return a == b ? a : c; });
  agree<T>(
      "unordered", any, [](U a, U b, U c) { return select(unordered(a, b), a, c); },
      [](T a, T b, T c) { return isnan(a) || isnan(b) ? a : c; });
  agree<T>(
      "masks", any, [](U a, U b, U c) { return select((lt(a, b) & !lt(b, c)) | eq(a, c), a, c); },
      [](T a, T b, T c) { return (a < b && !(b < c)) || a == c ? a : c; });
}

template <class T>
void exponents() {
  using U = V<T>;
  using F = Type<T>;
  agree<T>(
      "scale2",
      [](T* a, T* n, T* c) {
        // |x| * 2^(n/2) stays a normal number, as the contract asks.
        *a = static_cast<T>(ldexp(uniform() + 0.5, random_below(20) - 10)) * T(random_below(2) ? 1 : -1);
        if (random_below(20) == 0) *a = random_below(2) ? T(0) : T(random_below(2) ? INFINITY : NAN);
        *n = static_cast<T>(random_below(2 * F::scale_limit - 1) - F::scale_limit + 1);
        if (sizeof(T) == 4 && fabs(*n) > 220) *n /= 2, *n = static_cast<T>(rint(*n));
        *c = 0;
      },
      [](U a, U n, U) { return scale2(a, n); },
      [](T a, T n, T) {
        return sizeof(T) == 4 ? static_cast<T>(ldexpf(static_cast<float>(a), static_cast<int>(n)))
                              : static_cast<T>(ldexp(static_cast<double>(a), static_cast<int>(n)));
      });
  auto finite = [](T* a, T* b, T* c) {
    do *a = any_number<T>();
    while (!isfinite(*a) || *a == 0);
    if (random_below(4) == 0) *a = F::smallest * static_cast<T>(1 + random_below(100000));
    *b = *c = 0;
  };
  agree<T>(
      "exponent", finite, [](U a, U, U) { return exponent(a); },
      [](T a, T, T) { return static_cast<T>(ilogb(static_cast<double>(a))); });
  agree<T>(
      "mantissa", finite, [](U a, U, U) { return mantissa(a); },
      [](T a, T, T) {
        return static_cast<T>(fabs(ldexp(static_cast<double>(a), -ilogb(static_cast<double>(a)))));
      });
  agree<T>(
      "product_error",
      [](T* a, T* b, T* c) {
        *a = static_cast<T>(ldexp(uniform() - 0.5, random_below(20) - 10));
        *b = random_below(20) ? static_cast<T>(ldexp(uniform() - 0.5, random_below(20) - 10)) : T(0);
        *c = 0;
      },
      [](U a, U b, U) { return product_error(a, b, a * b) + V<T>::set1(T(0)); },
      [](T a, T b, T) {
        const double p = static_cast<double>(static_cast<T>(a * b));
        return static_cast<T>(::fma(static_cast<double>(a), static_cast<double>(b), -p)) + T(0);
      });
}

template <class T>
void memory_and_sums() {
  constexpr int W = V<T>::lanes;
  for (int repeat = 0; repeat < 2000; repeat++) {
    T a[W], padded[W + 2], whole[W];
    T total = 0, top = -1000;
    int below = 0;
    for (int i = 0; i < W; i++) {
      a[i] = static_cast<T>(random_below(1001) - 500);
      total += a[i];
      if (a[i] > top) top = a[i];
      below += a[i] < 0;
    }
    const V<T> v = V<T>::load(a);
    CHECK(sum(v) == total && largest(v) == top);
    CHECK(count(lt(v, V<T>::set1(T(0)))) == below && any(lt(v, V<T>::set1(T(0)))) == (below > 0));
    CHECK(count(!lt(v, V<T>::set1(T(0)))) == W - below);
    alignas(64) T past[W];
    v.stream(past);
    g::stream_end();
    for (int i = 0; i < W; i++) CHECK(same(past[i], a[i]));
    for (int n = 0; n <= W; n++) {
      V<T>::load(a, n).store(whole);
      for (int i = 0; i < W; i++) CHECK(same(whole[i], i < n ? a[i] : T(0)));
      for (T& p : padded) p = 7;
      v.store(padded + 1, n);
      for (int i = 0; i < W + 2; i++) CHECK(padded[i] == (i >= 1 && i <= n ? a[i - 1] : T(7)));
    }
  }
}

// Error of f, in units in the last place of the exact result `wide`, over `from`..`to` and its powers.
template <class T, class F, class Wide>
void accurate(F f, Wide wide, double from, double to, double promised) {
  using X = Type<T>;
  constexpr int W = V<T>::lanes;
  double worst = 0;
  for (int repeat = 0; repeat < 200000 / W; repeat++) {
    T x[W], y[W];
    for (T& v : x) {
      v = static_cast<T>(random_below(2) ? from + (to - from) * uniform()
                                         : (random_below(2) ? from : to) * exp2(-40 * uniform()));
      if (v < static_cast<T>(from)) v = static_cast<T>(from);
    }
    f(V<T>::load(x)).store(y);
    for (int i = 0; i < W; i++) {
      const auto exact = wide(static_cast<typename X::Wide>(x[i]));
      const double size = fmax(fabs(static_cast<double>(exact)), ldexp(1.0, X::lowest));
      int unit = ilogb(size) - X::digits + 1;
      if (unit < X::lowest) unit = X::lowest;
      const double error = static_cast<double>(ldexpl(static_cast<long double>(y[i]) - exact, -unit));
      if (!(fabs(error) <= worst)) worst = fabs(error);
    }
  }
  CHECK(worst <= promised);
  if (!(worst <= promised)) fprintf(stderr, "  %g ulp, promised %g\n", worst, promised);
}

template <class T>
void lookups() {
  using U = V<T>;
  constexpr int entries = U::table_entries;
  T numbers[entries], found[U::lanes];
  for (int i = 0; i < entries; i++) numbers[i] = static_cast<T>(i);
  for (int i = -40; i < 40; i++) {
    const T place = static_cast<T>(i & (entries - 1));
    const double x =
        entries > 8 ? ldexp(1.0 + (i & 3) * 0.25, (i >> 2) - 7) : ldexp(1.0 + (i & 1) * 0.5, (i >> 1) - 3);
    octave_lookup(numbers, U::set1(static_cast<T>(x))).store(found);
    CHECK(found[0] == place);
    if constexpr (entries > 8) {
      const double shift = sizeof(T) == 4 ? 12582912 : 6755399441055744;
      lookup(numbers, U::set1(static_cast<T>(shift + i))).store(found);
      CHECK(found[0] == place);
    }
  }
}
template <class T>
void tables() {
  using U = V<T>;
  using L = typename Type<T>::Wide;
  auto phi = [](L x) { return expl(-x * x / 2) / sqrtl(2 * acosl(-1.0L)); };
  auto sigma = [](L x) { return 1 / (1 + expl(-x)); };
  const double logistic = g::BellTable::limit, normal = g::NormalTable::limit;
  accurate<T>([](U x) { return g::by_table<g::BellTable>(x); }, [=](L x) { return sigma(-x) * sigma(x); }, 0,
              logistic, 1.8);
  accurate<T>([](U x) { return g::by_table<g::SoftplusTable>(x); }, [](L x) { return log1pl(expl(-x)); }, 0,
              logistic, 1.8);
  accurate<T>([](U x) { return g::by_table<g::SiluSlopeTable>(x); },
              [=](L x) { return sigma(-x) * (1 - x * sigma(x)); }, 2, logistic, 2.0);
  accurate<T>([](U x) { return g::by_table<g::NormalTable>(x); }, [](L x) { return erfcl(x / sqrtl(2)) / 2; },
              0, normal, 1.8);
  accurate<T>([](U x) { return g::by_table<g::GeluSlopeTable>(x); },
              [=](L x) { return erfcl(x / sqrtl(2)) / 2 - x * phi(x); }, 1.5, normal, 1.8);
}

template <class T>
void mathematics() {
  using U = V<T>;
  using L = typename Type<T>::Wide;
  const bool is_float = sizeof(T) == 4, by_table = g::kExpByTable<T>;
  const double under = is_float ? -103 : -745, over = is_float ? 88.7 : 709.7, far = is_float ? 10 : 27;
  accurate<T>([](U x) { return g::exp(x); }, [](L x) { return expl(x); }, under, over, by_table ? 1.1 : 0.9);
  accurate<T>([](U x) { return g::expm1(x); }, [](L x) { return expm1l(x); }, -50, over, 1.2);
  accurate<T>([](U x) { return g::log(x); }, [](L x) { return logl(x); }, 1e-30, 1e30, 0.9);
  accurate<T>([](U x) { return g::log(x); }, [](L x) { return logl(x); }, 0.5, 2, 0.9);
  accurate<T>([](U x) { return g::log1p(x); }, [](L x) { return log1pl(x); }, -0.999, 20, 0.9);
  accurate<T>([](U x) { return g::tanh(x); }, [](L x) { return tanhl(x); }, -25, 25,
              U::table_entries == 32 ? 0.73 : 2.4);
  accurate<T>([](U x) { return g::sigmoid(x); },
              [](L x) { return x < 0 ? expl(x) / (1 + expl(x)) : 1 / (1 + expl(-x)); }, under, 40, 2.4);
  auto bell = [](L x) { return expl(-x) / ((1 + expl(-x)) * (1 + expl(-x))); };
  accurate<T>([](U x) { return g::sigmoid_slope(x); }, bell, 0, -under, 4);
  accurate<T>([](U x) { return g::tanh_slope(x); }, [=](L x) { return 4 * bell(2 * x); }, 0, -under / 2, 4);
  accurate<T>([](U x) { return g::log1p_of_small(x); }, [](L x) { return log1pl(x); }, 0, 1, 1.4);
  if constexpr (U::table_entries > 0) lookups<T>();
  if constexpr (U::table_entries == 32) tables<T>();
  accurate<T>([](U x) { return g::erf(x); }, [](L x) { return erfl(x); }, -6, 6, by_table ? 1.5 : 1.2);
  accurate<T>([](U x) { return g::erfc(x); }, [](L x) { return erfcl(x); }, -6, far, 3.9);
  accurate<T>([](U x) { return g::tanhshrink(x); }, [](L x) { return x - tanhl(x); }, 0.5, 25,
              is_float ? 2.6 : 2.4);

  auto at = [](auto f, double x) {
    T y[V<T>::lanes];
    f(U::set1(static_cast<T>(x))).store(y);
    return y[0];
  };
  auto expm1 = [](U x) { return g::expm1(x); };
  auto log = [](U x) { return g::log(x); };
  auto log1p = [](U x) { return g::log1p(x); };
  CHECK(same<T>(at(expm1, -0.0), T(-0.0)) && at(expm1, -INFINITY) == -1 && isinf(at(expm1, INFINITY)));
  auto sign = [](U x) { return by_sign(x, U::set1(T(1)), U::set1(T(2))); };
  CHECK(at(sign, -INFINITY) == 1 && at(sign, -1e-30) == 1 && at(sign, 1e-30) == 2 && at(sign, INFINITY) == 2);
  CHECK(at(log, 0) == -T(INFINITY) && isnan(at(log, -1)) && isinf(at(log, INFINITY)) && isnan(at(log, NAN)));
  CHECK(same<T>(at(log1p, -0.0), T(-0.0)) && at(log1p, -1) == -T(INFINITY) && isnan(at(log1p, -2)));
  CHECK(isinf(at(log1p, INFINITY)) && isnan(at(log1p, NAN)));
  CHECK(at([](U x) { return g::exp(x); }, -INFINITY) == 0 &&
        isinf(at([](U x) { return g::exp(x); }, INFINITY)));
  CHECK(at([](U x) { return g::erfc(x); }, INFINITY) == 0 &&
        at([](U x) { return g::erfc(x); }, -INFINITY) == 2);
  CHECK(isnan(at([](U x) { return g::erf(x); }, NAN)) && at([](U x) { return g::erf(x); }, -INFINITY) == -1);
}

template <class T>
void all() {
  arithmetic<T>();
  masks<T>();
  exponents<T>();
  memory_and_sums<T>();
  // A long double that is no wider than double cannot judge one.
  if (sizeof(T) == 4 || LDBL_MANT_DIG >= 64) mathematics<T>();
}

}  // namespace

#define GM_STRING_(a) #a
#define GM_STRING(a) GM_STRING_(a)

int main() {
  if (!gradiometer::cpu_supports(GM_STRING(GM_ISA))) return 0;
  all<float>();
  all<double>();
  return failures;
}
