// Compiled once an ISA (GM_ISA, GM_ISA_HEADER): instantiates the mathematics of ops/ in the loops of loops/
// and exports one symbol, the table.
#include GM_ISA_HEADER

#include "kernel_table.hpp"
#include "loops/gemm.hpp"
#include "loops/map.hpp"
#include "loops/reduce.hpp"
#include "ops/activations.hpp"
#include "ops/batch_norm.hpp"
#include "ops/dropout.hpp"
#include "ops/group_norm.hpp"
#include "ops/losses.hpp"
#include "ops/optimizers.hpp"
#include "ops/prelu.hpp"
#include "ops/recurrent.hpp"
#include "ops/softmax.hpp"

namespace gradiometer {
namespace GM_ISA {

// A copy of an activation's parameters that no store into y can change, so that they stay in registers.
template <class Op>
struct Local {
  double p[Op::parameter_count + 1] = {};
  explicit Local(const double* params) {
    for (int i = 0; i < Op::parameter_count; ++i) p[i] = params[i];
  }
};
template <class Op, class T>
void activation_forward(int64_t n, const T* x, T* y, const double* params) {
  map(n, x, y, [local = Local<Op>(params)](V<T> v) { return Op::forward(v, local.p); });
}
template <class Op, class T>
void activation_backward(int64_t n, const T* x, const T* dy, T* dx, const double* params) {
  map(n, x, dy, dx, [local = Local<Op>(params)](V<T> v, V<T> d) { return d * Op::derivative(v, local.p); });
}
template <class T>
void add_scaled(int64_t n, const T* a, const T* b, double scale, T* y) {
  V<T> s = V<T>::set1(static_cast<T>(scale));
  map(n, a, b, y, [s](V<T> u, V<T> v) { return fma(s, v, u); });
}

template <class T>
void scale(int64_t n, const T* a, double by, T* y) {
  V<T> s = V<T>::set1(static_cast<T>(by));
  map(n, a, y, [s](V<T> u) { return s * u; });
}

template <class T>
void clamp(int64_t n, const T* a, double limit, T* y) {
  V<T> high = V<T>::set1(static_cast<T>(limit));
  map(n, a, y, [high](V<T> u) { return select(lt(high, abs(u)), copysign(high, u), u); });
}

template <class... Ops>
const Activation* activation_rows(List<Ops...>) {
  static constexpr Activation rows[] = {
      {Ops::name,
       Ops::parameter_count,
       Ops::parameters,
       {activation_forward<Ops, float>, activation_backward<Ops, float>},
       {activation_forward<Ops, double>, activation_backward<Ops, double>}}...};
  return rows;
}
template <class... Ops>
const Loss* loss_rows(LossList<Ops...>) {
  static constexpr Loss rows[] = {{Ops::name, Ops::target, Ops::mean_over_features, Ops::mean_over_rows,
                                   Ops::parameter_count, Ops::parameters, Ops::template run<float>,
                                   Ops::template run<double>}...};
  return rows;
}
template <class... Ops>
const Optimizer* optimizer_rows(OptimizerList<Ops...>) {
  static constexpr Optimizer rows[] = {
      {Ops::name, Ops::slot_count, static_cast<int>(sizeof(Ops::parameters) / sizeof(Parameter)),
       Ops::parameters, Ops::template run<float>, Ops::template run<double>}...};
  return rows;
}
template <template <class...> class L, class... Ops>
constexpr int length(L<Ops...>) {
  return static_cast<int>(sizeof...(Ops));
}

template <class T, class Op>
constexpr CellKernels<T> cell_row() {
  CellKernels<T> row = {
      Op::template forward<T>, Op::template backward<T>, Op::template show<T>, nullptr, nullptr, nullptr};
  if constexpr (Op::resets) row.reset = Op::template reset<T>, row.reset_back = Op::template reset_back<T>;
  if constexpr (Op::norms) row.enter = Op::template enter<T>;
  return row;
}
template <class T, class... Ops>
constexpr Cells<T> cell_rows(CellList<Ops...>) {
  return {{cell_row<T, Ops>()...}};
}

template <class T>
constexpr Kernels<T> kernels() {
  return {kGemmColumns<T>,
          gemm_packed_size<T>,
          gemm_workspace<T>,
          gemm_pack<T>,
          gemm<T>,
          column_sum<T>,
          add_scaled<T>,
          scale<T>,
          clamp<T>,
          batch_norm_sums<T>,
          batch_norm_statistics,
          batch_norm_forward<T>,
          batch_norm_gradients<T>,
          batch_norm_backward<T>,
          group_norm_forward<T>,
          group_norm_backward<T>,
          group_norm_sums<T>,
          prelu_forward<T>,
          prelu_backward<T>,
          prelu_parameters<T>,
          softmax_forward<T>,
          softmax_backward<T>,
          log_softmax_forward<T>,
          log_softmax_backward<T>,
          dropout<T>,
          cell_rows<T>(AllCells{}),
          moments<T>,
          moments_part<T>,
          merge_moments<T>,
          columns_part<T>,
          merge_columns<T>,
          row_squares<T>,
          inside<T>};
}

}  // namespace GM_ISA

#define GM_PASTE_(a, b) a##b
#define GM_PASTE(a, b) GM_PASTE_(a, b)
#define GM_STRING_(a) #a
#define GM_STRING(a) GM_STRING_(a)
const KernelTable* GM_PASTE(kernel_table_, GM_ISA)() {
  using namespace GM_ISA;
  static const KernelTable table = {
      GM_STRING(GM_ISA),   length(Activations{}), activation_rows(Activations{}), length(Losses{}),
      loss_rows(Losses{}), length(Optimizers{}),  optimizer_rows(Optimizers{}),   kernels<float>(),
      kernels<double>()};
  return &table;
}

}  // namespace gradiometer
