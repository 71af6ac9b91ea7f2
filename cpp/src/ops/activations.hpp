// The activations, function and derivative side by side. Adding one: a struct here, its name in the list at
// the end, a row in tests/spec/activations.py; everything else finds it by iteration.
//
// A struct has a name, its parameters (values, not kernels of their own; rounded to the type of x), and for a
// vector x of any type and ISA
//   forward(x, p)     f(x)
//   derivative(x, p)  f'(x), from the input and free of cancellation: 1 - y² would be 0 from |x| = 9.02 on in
//                     float32, where the truth is 5.9e-8.
// Where an exponential meets a factor, the factor goes in before the power of two (exp_scaled), so that a
// subnormal result is rounded once. NaN gives NaN, also as derivative: a comparison with NaN is false and
// each select below is written so that the false side carries it on. Accuracy, tails and special values
// (infinities, -0, NaN, subnormals): the table in tests/spec/activations.py.
#pragma once
#include "kernel_table.hpp"
#include "math/erf.hpp"
#include "math/exp.hpp"
#include "math/log.hpp"
#include "math/logistic.hpp"

namespace gradiometer {
namespace GM_ISA {

struct WithoutParameters {
  static constexpr Parameter parameters[] = {{}};
  static constexpr int parameter_count = 0;
};

template <class T>
inline M<T> positive(V<T> x) {
  return lt(V<T>::set1(T(0)), x);
}
template <class T>
inline M<T> negative(V<T> x) {
  return lt(x, V<T>::set1(T(0)));
}
template <class T>
inline V<T> parameter(const double* p) {
  return V<T>::set1(static_cast<T>(*p));
}
template <class T>
inline V<T> nan_where(V<T> x, V<T> otherwise) {
  return select(unordered(x, x), x, otherwise);
}

struct Identity : WithoutParameters {
  static constexpr const char* name = "identity";
  template <class T>
  static V<T> forward(V<T> x, const double*) {
    return x;
  }
  template <class T>
  static V<T> derivative(V<T> x, const double*) {
    return nan_where(x, V<T>::set1(T(1)));
  }
};

struct Relu : WithoutParameters {
  static constexpr const char* name = "relu";
  template <class T>
  static V<T> forward(V<T> x, const double*) {
    return max(V<T>::set1(T(0)), x);
  }
  template <class T>
  static V<T> derivative(V<T> x, const double*) {
    return nan_where(x, select(positive(x), V<T>::set1(T(1)), V<T>::set1(T(0))));
  }
};

// x, and a x for x <= 0.
template <class T>
inline V<T> leaky(V<T> x, V<T> a) {
  return select(positive(x), x, a * x);
}
template <class T>
inline V<T> leaky_derivative(V<T> x, V<T> a) {
  return nan_where(x, select(positive(x), V<T>::set1(T(1)), a));
}
struct LeakyRelu {
  static constexpr const char* name = "leaky_relu";
  static constexpr Parameter parameters[] = {{"negative_slope", 0.01, -1000.0, 1000.0}};
  static constexpr int parameter_count = 1;
  template <class T>
  static V<T> forward(V<T> x, const double* p) {
    return leaky(x, parameter<T>(p));
  }
  template <class T>
  static V<T> derivative(V<T> x, const double* p) {
    return leaky_derivative(x, parameter<T>(p));
  }
};

// leaky_relu at a slope that the layer of the same name learns (ops/prelu.hpp). He, Zhang, Ren, Sun 2015,
// arXiv:1502.01852.
struct Prelu : LeakyRelu {
  static constexpr const char* name = "prelu";
  static constexpr Parameter parameters[] = {{"negative_slope", 0.25, -1000.0, 1000.0}};
};

// x, and alpha (exp(x) - 1) for x <= 0. Clevert, Unterthiner, Hochreiter 2015, arXiv:1511.07289.
struct Elu {
  static constexpr const char* name = "elu";
  static constexpr Parameter parameters[] = {{"alpha", 1.0, 0.0, 1000.0}};
  static constexpr int parameter_count = 1;
  template <class T>
  static V<T> forward(V<T> x, const double* p) {
    return select(positive(x), x, parameter<T>(p) * expm1(x));
  }
  template <class T>
  static V<T> derivative(V<T> x, const double* p) {
    return select(positive(x), V<T>::set1(T(1)), product(parameter<T>(p), exp_scaled(x)));
  }
};

// x, and alpha (exp(x / alpha) - 1) for x <= 0: elu whose slope at 0 is 1. Barron 2017, arXiv:1704.07483.
struct Celu {
  static constexpr const char* name = "celu";
  static constexpr Parameter parameters[] = {{"alpha", 1.0, 0.001, 1000.0}};
  static constexpr int parameter_count = 1;
  // x also for the smallest |x|, whose quotient would be subnormal.
  template <class T>
  static V<T> forward(V<T> x, const double* p) {
    V<T> alpha = parameter<T>(p);
    M<T> linear = lt(V<T>::set1(T(-0x1p-54)) * alpha, x);
    return select(linear, x, alpha * expm1(x / alpha));
  }
  // exp(q + rest), q the quotient and rest what its rounding lost: at q = -100 worth 100 roundings.
  template <class T>
  static V<T> derivative(V<T> x, const double* p) {
    V<T> alpha = parameter<T>(p);
    V<T> bounded = max(alpha * V<T>::set1(ExpConstants<T>::low), x);
    V<T> q = bounded / alpha, back = q * alpha;
    V<T> rest = ((bounded - back) - product_error(q, alpha, back)) / alpha;
    return select(positive(x), V<T>::set1(T(1)), exp_value(q, rest));
  }
};

// lambda x, and lambda alpha (exp(x) - 1) for x <= 0, with the lambda and alpha that keep mean 0 and
// variance 1. Klambauer, Unterthiner, Mayr, Hochreiter 2017, arXiv:1706.02515, equation 14.
struct Selu : WithoutParameters {
  static constexpr const char* name = "selu";
  static constexpr double lambda = 1.0507009873554804934, lambda_alpha = 1.7580993408473768599;
  template <class T>
  static V<T> forward(V<T> x, const double*) {
    return select(positive(x), parameter<T>(&lambda) * x, parameter<T>(&lambda_alpha) * expm1(x));
  }
  template <class T>
  static V<T> derivative(V<T> x, const double*) {
    return select(positive(x), parameter<T>(&lambda), product(parameter<T>(&lambda_alpha), exp_scaled(x)));
  }
};

// A derivative whose values at x and -x add up to 1.
template <class Table, class T, class Formula>
inline V<T> slope_by_table(V<T> x, Formula formula) {
  V<T> a = abs(x), d = by_table<Table>(a);
  V<T> y = by_sign(x, d, V<T>::set1(T(1)) - d);
  return unless(lt(V<T>::set1(Table::limit), a), y, formula);
}

// x Φ(x), Φ the normal distribution. Hendrycks, Gimpel 2016, arXiv:1606.08415.
// With a = |x| and Φ(-a) = g(a) exp(-a²/2) (math/erf.hpp): x Φ(x) = max(x, 0) - a Φ(-a), which has no
// difference of large numbers on either side; the usual x/2 (1 + erf(x/√2)) has lost all digits at -5.5 in
// float32.
struct Gelu : WithoutParameters {
  static constexpr const char* name = "gelu";
  template <class T>
  static V<T> forward(V<T> x, const double*) {
    V<T> relu = max(V<T>::set1(T(0)), x);
    auto by_exp = [=] {
      V<T> a = tail_argument(x);
      Scaled<T> e = exp_minus_square(a, T(0.5));
      return relu - product(normal_tail(a).a_g, e);
    };
    if constexpr (V<T>::table_entries == 32) {
      V<T> a = min(V<T>::set1(NormalTable::limit), abs(x));
      return unless(lt(x, V<T>::set1(-NormalTable::limit)), fnma(a, by_table<NormalTable>(a), relu), by_exp);
    } else {
      return by_exp();
    }
  }
  // Φ(x) + x φ(x). For x < 0 it is exp(-a²/2) (g(a) - a / √2π), with a root at x = -0.7518, for x >= 0 what
  // that lacks to 1.
  template <class T>
  static V<T> derivative(V<T> x, const double*) {
    auto by_exp = [=] {
      V<T> a = tail_argument(x);
      Scaled<T> e = exp_minus_square(a, T(0.5));
      V<T> bracket = fnma(a, V<T>::set1(T(0.398942280401432678)), normal_tail(a).g);
      V<T> tail = product(bracket, e);
      return select(negative(x), tail, V<T>::set1(T(1)) - tail);
    };
    if constexpr (V<T>::table_entries == 32)
      return slope_by_table<GeluSlopeTable>(x, by_exp);
    else
      return by_exp();
  }
};

// x σ(w) for a w(x) of the sign of x, from e = exp(-|w|), with s = 1 + e: x / s, and e x / s for x < 0.
template <class T>
[[gnu::always_inline]] inline V<T> gated(V<T> x, Scaled<T> e) {
  V<T> s = V<T>::set1(T(1)) + value(e);
  V<T> y = by_sign(x, times_significand(x, e), x) / s;
  return by_sign(x, scale2(y, e.exponent), y);
}
// Its derivative σ(w) + x w' σ(w) σ(-w), from x w': (s + x w' e) / s², and e (s + x w') / s² for x < 0, where
// it has a root.
template <class T>
[[gnu::always_inline]] inline V<T> gated_derivative(V<T> x_slope, Scaled<T> e) {
  V<T> small = value(e);
  V<T> s = V<T>::set1(T(1)) + small;
  V<T> y = by_sign(x_slope, times_significand(s + x_slope, e), fma(x_slope, small, s)) / (s * s);
  return by_sign(x_slope, scale2(y, e.exponent), y);
}

// x σ(x). Elfwing, Uchibe, Doya 2017, arXiv:1702.03118; Ramachandran, Zoph, Le 2017 (swish). |x| is bounded
// where e is 0 or 1 / s is 1; the root is at -1.278.
struct Silu : WithoutParameters {
  static constexpr const char* name = "silu";
  template <class T>
  static V<T> forward(V<T> x, const double*) {
    V<T> v = max(V<T>::set1(ExpConstants<T>::low), x);
    return gated(v, exp_scaled(-abs(v)));
  }
  template <class T>
  static V<T> derivative(V<T> x, const double*) {
    auto by_exp = [=] {
      V<T> bound = V<T>::set1(-ExpConstants<T>::low);
      V<T> v = max(-bound, min(bound, x));
      return gated_derivative(v, exp_scaled(-abs(v)));
    };
    if constexpr (V<T>::table_entries == 32)
      return slope_by_table<SiluSlopeTable>(x, by_exp);
    else
      return by_exp();
  }
};

// x/2 (1 + tanh(√(2/π) (x + 0.044715 x³))) = x σ(w), w = x (linear + cubic x²), the approximation of gelu in
// its paper, section 2.
struct GeluTanh : WithoutParameters {
  static constexpr const char* name = "gelu_tanh";
  static constexpr double linear = 1.5957691216057308, linear_rest = -9.96930880911092e-17;
  static constexpr double cubic = 0.07135481627260025, cubic_rest = -6.175149918155315e-19;
  static constexpr double bound = 22;  // exp(-w) is 0
  // exp(-w) for 0 <= a <= bound, w in two parts, since exp magnifies its rounding by w.
  template <class T>
  [[gnu::always_inline]] static Scaled<T> exp_minus_w(V<T> a) {
    constexpr T l = static_cast<T>(linear), c = static_cast<T>(cubic);
    V<T> l_low = V<T>::set1(static_cast<T>((linear - static_cast<double>(l)) + linear_rest));
    V<T> c_low = V<T>::set1(static_cast<T>((cubic - static_cast<double>(c)) + cubic_rest));
    V<T> l_high = V<T>::set1(l), c_high = V<T>::set1(c);
    V<T> square = a * a;
    V<T> term = c_high * square;
    V<T> term_low =
        product_error(c_high, square, term) + fma(c_high, product_error(a, a, square), c_low * square);
    V<T> slope = l_high + term;
    V<T> v = slope - l_high;
    V<T> slope_low = ((l_high - (slope - v)) + (term - v)) + (term_low + l_low);
    V<T> w = a * slope;
    return exp_scaled(-w, -fma(a, slope_low, product_error(a, slope, w)));
  }
  template <class T>
  static V<T> forward(V<T> x, const double*) {
    V<T> b = parameter<T>(&bound);
    return gated(max(-b, x), exp_minus_w(min(b, abs(x))));
  }
  // Root at -0.7525.
  template <class T>
  static V<T> derivative(V<T> x, const double*) {
    V<T> b = parameter<T>(&bound);
    x = max(-b, min(b, x));
    V<T> w_slope = fma(V<T>::set1(static_cast<T>(3 * cubic)), x * x, V<T>::set1(static_cast<T>(linear)));
    return gated_derivative(x * w_slope, exp_minus_w(abs(x)));
  }
};

// x tanh(log(1 + exp(x))). Misra 2019, arXiv:1908.08681. With e = exp(-|x|) the tanh is m / d, m = 1 + 2 e
// and d = 1 + 2 e + 2 e², and e m / d for x < 0, there m = 2 + e and d = 2 + 2 e + e².
struct Mish : WithoutParameters {
  static constexpr const char* name = "mish";
  template <class T>
  struct Quotient {
    V<T> m, d;
  };
  template <class T>
  static Quotient<T> quotient(V<T> x, V<T> e) {
    V<T> one = V<T>::set1(T(1)), two = V<T>::set1(T(2));
    V<T> m = by_sign(x, two + e, one + (e + e));
    return {m, by_sign(x, fma(e, m, two), fma(e + e, e, m))};
  }
  template <class T>
  static V<T> forward(V<T> x, const double*) {
    x = max(V<T>::set1(ExpConstants<T>::low), x);
    Scaled<T> e = exp_scaled(-abs(x));
    Quotient<T> q = quotient(x, value(e));
    V<T> y = by_sign(x, times_significand(x, e), x) * (q.m / q.d);
    return by_sign(x, scale2(y, e.exponent), y);
  }
  // (m d + 4 x e² (1 + e)) / d², and e (m d + 4 x (1 + e)) / d² for x < 0, with a root at -1.192.
  template <class T>
  static V<T> derivative(V<T> x, const double*) {
    V<T> one = V<T>::set1(T(1)), bound = V<T>::set1(-ExpConstants<T>::low);
    x = max(-bound, min(bound, x));
    Scaled<T> e = exp_scaled(-abs(x));
    V<T> small = value(e);
    Quotient<T> q = quotient(x, small);
    V<T> x4 = V<T>::set1(T(4)) * x * (one + small);
    V<T> sum = fma(q.m, q.d, by_sign(x, x4, x4 * small * small));
    V<T> y = by_sign(x, times_significand(sum, e), sum) / (q.d * q.d);
    return by_sign(x, scale2(y, e.exponent), y);
  }
};

// log(1 + exp(x)) = max(x, 0) + log1p(exp(-|x|)), for all x: with x itself from 20 on the error would be
// 2e-9.
struct Softplus : WithoutParameters {
  static constexpr const char* name = "softplus";
  template <class T>
  static V<T> forward(V<T> x, const double*) {
    V<T> relu = max(V<T>::set1(T(0)), x), a = abs(x);
    auto by_exp = [=] { return relu + log1p_of_small(exp_value(-a)); };
    if constexpr (V<T>::table_entries == 32)
      return unless(lt(x, V<T>::set1(-SoftplusTable::limit)), relu + by_table<SoftplusTable>(a), by_exp);
    else
      return by_exp();
  }
  template <class T>
  static V<T> derivative(V<T> x, const double*) {
    return sigmoid(x);
  }
};

// log σ(x) = -log(1 + exp(-x)).
struct LogSigmoid : WithoutParameters {
  static constexpr const char* name = "logsigmoid";
  template <class T>
  static V<T> forward(V<T> x, const double* p) {
    return -Softplus::forward(-x, p);
  }
  template <class T>
  static V<T> derivative(V<T> x, const double*) {
    return sigmoid(-x);
  }
};

struct Sigmoid : WithoutParameters {
  static constexpr const char* name = "sigmoid";
  template <class T>
  static V<T> forward(V<T> x, const double*) {
    return sigmoid(x);
  }
  // σ(x) σ(-x).
  template <class T>
  static V<T> derivative(V<T> x, const double*) {
    return sigmoid_slope(x);
  }
};

struct Tanh : WithoutParameters {
  static constexpr const char* name = "tanh";
  template <class T>
  static V<T> forward(V<T> x, const double*) {
    return tanh(x);
  }
  // 1 - tanh² = 4 σ(2 x) σ(-2 x).
  template <class T>
  static V<T> derivative(V<T> x, const double*) {
    return tanh_slope(x);
  }
};

// x - tanh(x), of relative accuracy at 0 too, where it is x³ / 3.
struct Tanhshrink : WithoutParameters {
  static constexpr const char* name = "tanhshrink";
  template <class T>
  static V<T> forward(V<T> x, const double*) {
    return tanhshrink(x);
  }
  template <class T>
  static V<T> derivative(V<T> x, const double*) {
    V<T> y = tanh(x);
    return y * y;
  }
};

struct Erf : WithoutParameters {
  static constexpr const char* name = "erf";
  template <class T>
  static V<T> forward(V<T> x, const double*) {
    return erf(x);
  }
  // 2 / √π exp(-x²).
  template <class T>
  static V<T> derivative(V<T> x, const double*) {
    return product(V<T>::set1(T(1.12837916709551257)), exp_minus_square(tail_argument(x), T(1)));
  }
};

// x / (1 + |x|). Where |x| is bounded, 1 + |x| has long been |x|.
struct Softsign : WithoutParameters {
  static constexpr const char* name = "softsign";
  template <class T>
  static V<T> forward(V<T> x, const double*) {
    V<T> bound = V<T>::set1(T(1e30));
    x = max(-bound, min(bound, x));
    return x / (V<T>::set1(T(1)) + abs(x));
  }
  // 1 / (1 + |x|)²; the square of the quotient does not overflow.
  template <class T>
  static V<T> derivative(V<T> x, const double*) {
    V<T> one = V<T>::set1(T(1)), r = one / (one + abs(x));
    return r * r;
  }
};

// x between two bounds. Its derivative is 0 at the bounds themselves, here and in all that follow.
struct Hardtanh {
  static constexpr const char* name = "hardtanh";
  static constexpr Parameter parameters[] = {{"min_val", -1.0, -1000.0, 0.0}, {"max_val", 1.0, 0.0, 1000.0}};
  static constexpr int parameter_count = 2;
  template <class T>
  static V<T> forward(V<T> x, const double* p) {
    return max(parameter<T>(p), min(parameter<T>(p + 1), x));
  }
  template <class T>
  static V<T> derivative(V<T> x, const double* p) {
    M<T> inside = lt(parameter<T>(p), x) & lt(x, parameter<T>(p + 1));
    return nan_where(x, select(inside, V<T>::set1(T(1)), V<T>::set1(T(0))));
  }
};

struct Relu6 : WithoutParameters {
  static constexpr const char* name = "relu6";
  static constexpr double bounds[] = {0, 6};
  template <class T>
  static V<T> forward(V<T> x, const double*) {
    return Hardtanh::forward(x, bounds);
  }
  template <class T>
  static V<T> derivative(V<T> x, const double*) {
    return Hardtanh::derivative(x, bounds);
  }
};

// relu6(x + 3) / 6. Howard et al. 2019, arXiv:1905.02244.
struct Hardsigmoid : WithoutParameters {
  static constexpr const char* name = "hardsigmoid";
  template <class T>
  static V<T> forward(V<T> x, const double* p) {
    return Relu6::forward(x + V<T>::set1(T(3)), p) / V<T>::set1(T(6));
  }
  template <class T>
  static V<T> derivative(V<T> x, const double*) {
    M<T> inside = lt(abs(x), V<T>::set1(T(3)));
    return nan_where(x, select(inside, V<T>::set1(T(1.0 / 6)), V<T>::set1(T(0))));
  }
};

// x relu6(x + 3) / 6. Howard et al. 2019, arXiv:1905.02244.
struct Hardswish : WithoutParameters {
  static constexpr const char* name = "hardswish";
  template <class T>
  static V<T> forward(V<T> x, const double* p) {
    return max(V<T>::set1(T(-3)), x) * Hardsigmoid::forward(x, p);
  }
  // (2 x + 3) / 6 between -3 and 3, where 2 x + 3 is exact at its root.
  template <class T>
  static V<T> derivative(V<T> x, const double*) {
    V<T> zero = V<T>::set1(T(0)), one = V<T>::set1(T(1)), three = V<T>::set1(T(3));
    V<T> inside = ((x + x) + three) / V<T>::set1(T(6));
    return nan_where(x, select(lt(abs(x), three), inside, select(positive(x), one, zero)));
  }
};

template <class... Ops>
struct List {};
using Activations =
    List<Identity, Relu, LeakyRelu, Elu, Celu, Selu, Gelu, GeluTanh, Silu, Mish, Sigmoid, Tanh, Softplus,
         LogSigmoid, Tanhshrink, Erf, Softsign, Hardtanh, Relu6, Hardsigmoid, Hardswish, Prelu>;

}  // namespace GM_ISA
}  // namespace gradiometer
