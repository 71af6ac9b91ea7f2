// The activations, function and derivative side by side. Adding one: a struct here, its name in the list at the
// end, a row in tests/spec/activations.py; everything else finds it by iteration.
//
// A struct has a name, its parameters (values, not kernels of their own), and for a vector x of any type and ISA
//   forward(x, p)     f(x)
//   derivative(x, p)  f'(x), from the input and free of cancellation: 1 - y² would be 0 from |x| = 9.02 on in
//                     float32, where the truth is 5.9e-8.
// Accuracy, tails and special values (infinities, -0, NaN, subnormals): the table in tests/spec/activations.py.
#pragma once
#include "kernel_table.hpp"

namespace gradiometer {
namespace GM_ISA {

struct Identity {
  static constexpr const char* name = "identity";
  static constexpr Parameter parameters[] = {{}};
  static constexpr int parameter_count = 0;
  template <class T>
  static V<T> forward(V<T> x, const double*) { return x; }
  // 0 x + 1: NaN in, NaN out.
  template <class T>
  static V<T> derivative(V<T>, const double*) { return V<T>::set1(T(1)); }
};

struct Relu {
  static constexpr const char* name = "relu";
  static constexpr Parameter parameters[] = {{}};
  static constexpr int parameter_count = 0;
  template <class T>
  static V<T> forward(V<T> x, const double*) { return max(V<T>::set1(T(0)), x); }
  template <class T>
  static V<T> derivative(V<T> x, const double*) {
    V<T> zero = V<T>::set1(T(0));
    V<T> step = select(lt(zero, x), V<T>::set1(T(1)), zero);
    return select(unordered(x, x), x, step);
  }
};

template <class... Ops>
struct List {};
using Activations = List<Identity, Relu>;

}  // namespace GM_ISA
}  // namespace gradiometer
