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
struct LeakyRelu {
  static constexpr const char* name = "leaky_relu";
  static constexpr Parameter parameters[] = {{"negative_slope", 0.01, -1000.0, 1000.0}};
  static constexpr int parameter_count = 1;
  template <class T>
  static V<T> forward(V<T> x, const double* p) {
    return select(positive(x), x, parameter<T>(p) * x);
  }
  template <class T>
  static V<T> derivative(V<T> x, const double* p) {
    return nan_where(x, select(positive(x), V<T>::set1(T(1)), parameter<T>(p)));
  }
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

// x Φ(x), Φ the normal distribution. Hendrycks, Gimpel 2016, arXiv:1606.08415.
// With a = |x| and Φ(-a) = g(a) exp(-a²/2) (math/erf.hpp): x Φ(x) = max(x, 0) - a Φ(-a), which has no
// difference of large numbers on either side; the usual x/2 (1 + erf(x/√2)) has lost all digits at -5.5 in
// float32.
struct Gelu : WithoutParameters {
  static constexpr const char* name = "gelu";
  template <class T>
  static V<T> forward(V<T> x, const double*) {
    V<T> a = tail_argument(x);
    Scaled<T> e = exp_minus_square(a, T(0.5));
    return max(V<T>::set1(T(0)), x) - product(normal_tail(a).a_g, e);
  }
  // Φ(x) + x φ(x). For x < 0 it is exp(-a²/2) (g(a) - a / √2π), with a root at x = -0.7518, for x >= 0 what
  // that lacks to 1.
  template <class T>
  static V<T> derivative(V<T> x, const double*) {
    V<T> a = tail_argument(x);
    Scaled<T> e = exp_minus_square(a, T(0.5));
    V<T> bracket = fnma(a, V<T>::set1(T(0.398942280401432678)), normal_tail(a).g);
    V<T> tail = product(bracket, e);
    return select(negative(x), tail, V<T>::set1(T(1)) - tail);
  }
};

// x σ(x). Elfwing, Uchibe, Doya 2017, arXiv:1702.03118; Ramachandran, Zoph, Le 2017 (swish).
// Both with e = exp(-|x|), s = 1 + e, and |x| bounded where e is 0 or 1 / s is 1.
struct Silu : WithoutParameters {
  static constexpr const char* name = "silu";
  // x / s, and e x / s for x < 0.
  template <class T>
  static V<T> forward(V<T> x, const double*) {
    x = max(V<T>::set1(ExpConstants<T>::low), x);
    Scaled<T> e = exp_scaled(-abs(x));
    V<T> s = V<T>::set1(T(1)) + value(e);
    V<T> y = select(negative(x), times_significand(x, e), x) / s;
    return select(negative(x), scale2(y, e.exponent), y);
  }
  // σ(x) + x σ(x) σ(-x): (s + x e) / s², and e (s + x) / s² for x < 0, with a root at x = -1.278.
  template <class T>
  static V<T> derivative(V<T> x, const double*) {
    V<T> bound = V<T>::set1(-ExpConstants<T>::low);
    x = max(-bound, min(bound, x));
    Scaled<T> e = exp_scaled(-abs(x));
    V<T> small = value(e);
    V<T> s = V<T>::set1(T(1)) + small;
    V<T> y = select(negative(x), times_significand(s + x, e), fma(x, small, s)) / (s * s);
    return select(negative(x), scale2(y, e.exponent), y);
  }
};

struct Sigmoid : WithoutParameters {
  static constexpr const char* name = "sigmoid";
  template <class T>
  static V<T> forward(V<T> x, const double*) {
    return sigmoid(x);
  }
  // σ(x) σ(-x) = e / (1 + e)², e = exp(-|x|).
  template <class T>
  static V<T> derivative(V<T> x, const double*) {
    V<T> e = value(exp_scaled(-abs(x))), s = V<T>::set1(T(1)) + e;
    return e / (s * s);
  }
};

struct Tanh : WithoutParameters {
  static constexpr const char* name = "tanh";
  template <class T>
  static V<T> forward(V<T> x, const double*) {
    return tanh(x);
  }
  // 1 - tanh² = 4 e / (1 + e)², e = exp(-2 |x|); 4 e is made at once, for its subnormals are the result.
  template <class T>
  static V<T> derivative(V<T> x, const double*) {
    V<T> a = abs(x);
    Scaled<T> e = exp_scaled(-(a + a));
    V<T> e4 = product(V<T>::set1(T(4)), e);
    V<T> s = fma(e4, V<T>::set1(T(0.25)), V<T>::set1(T(1)));
    return e4 / (s * s);
  }
};

template <class... Ops>
struct List {};
using Activations = List<Identity, Relu, LeakyRelu, Elu, Selu, Gelu, Silu, Sigmoid, Tanh>;

}  // namespace GM_ISA
}  // namespace gradiometer
