// The recurrent part of the C API.
#include "error.hpp"
#include "recurrent.hpp"

using namespace gradiometer;

namespace {

constexpr double kFlopsPerThread = 1e6;

// The walk's memory and indices stay below this many bytes.
constexpr double kMost = 0x1p62;

gm_status check_size(gm_error* e, const char* argument, size_t came, size_t expected) {
  if (came == expected) return GM_OK;
  return fail(e, GM_INVALID_ARGUMENT, argument, "struct_size of %s is %zu; expected %zu", argument, came,
              expected);
}
gm_status check(gm_dtype dtype, const gm_recurrent* l, gm_error* e) {
  if (dtype != GM_FLOAT32 && dtype != GM_FLOAT64)
    return fail(e, GM_INVALID_ARGUMENT, "dtype", "dtype is %d; expected GM_FLOAT32 or GM_FLOAT64",
                static_cast<int>(dtype));
  if (!l) return fail(e, GM_INVALID_ARGUMENT, "layer", "layer is null");
  GM_TRY(check_size(e, "layer", l->struct_size, sizeof(gm_recurrent)));
  if (static_cast<int>(l->cell) < GM_LSTM || static_cast<int>(l->cell) > GM_LSTM_NORM)
    return fail(e, GM_INVALID_ARGUMENT, "cell", "cell is %d; expected 0 to 5", static_cast<int>(l->cell));
  struct {
    const char* name;
    int64_t value, least;
  } const counts[] = {
      {"T", l->T, 0}, {"N", l->N, 0}, {"I", l->I, 1}, {"H", l->H, 1}, {"recompute", l->recompute, 0},
      {"P", l->P, 0}};
  for (const auto& c : counts)
    if (c.value < c.least)
      return fail(e, GM_INVALID_ARGUMENT, c.name, "%s is %lld; expected %lld or more", c.name,
                  static_cast<long long>(c.value), static_cast<long long>(c.least));
  if (l->P && l->cell != GM_LSTM)
    return fail(e, GM_INVALID_ARGUMENT, "P", "P is %lld; expected 0 for a cell other than GM_LSTM",
                static_cast<long long>(l->P));
  if (l->cell != GM_LSTM_NORM &&
      (l->norm_weight_ih || l->norm_weight_hh || l->norm_weight_c || l->norm_bias_c))
    return fail(
        e, GM_INVALID_ARGUMENT, "norm_weight_ih",
        "norm_weight_ih, norm_weight_hh, norm_weight_c or norm_bias_c is given; expected null for a cell "
        "other than GM_LSTM_NORM");
  const int64_t outputs = l->P ? l->P : l->H;
  if (l->y_stride && l->y_stride < outputs)
    return fail(e, GM_INVALID_ARGUMENT, "y_stride", "y_stride is %lld; expected %lld or more, or 0",
                static_cast<long long>(l->y_stride), static_cast<long long>(outputs));
  const double T = static_cast<double>(l->T) + 1, N = static_cast<double>(l->N) + 1,
               features =
                   static_cast<double>(l->I) + static_cast<double>(l->H) + static_cast<double>(l->P) + 64;
  if (T * N * features * 256 > kMost || features * features * 256 > kMost)
    return fail(e, GM_INVALID_ARGUMENT, "x", "x of %lld x %lld x %lld elements with H = %lld is too big",
                static_cast<long long>(l->T), static_cast<long long>(l->N), static_cast<long long>(l->I),
                static_cast<long long>(l->H));
  if (const gm_recurrent_packed* p = l->packed)
    if (p->dtype != dtype || p->cell != l->cell || p->I != l->I || p->H != l->H || p->P != l->P)
      return fail(
          e, GM_INVALID_ARGUMENT, "packed",
          "packed is of dtype %d, cell %d, I = %lld, H = %lld, P = %lld; expected %d, %d, %lld, %lld, "
          "%lld",
          static_cast<int>(p->dtype), static_cast<int>(p->cell), static_cast<long long>(p->I),
          static_cast<long long>(p->H), static_cast<long long>(p->P), static_cast<int>(dtype),
          static_cast<int>(l->cell), static_cast<long long>(l->I), static_cast<long long>(l->H),
          static_cast<long long>(l->P));
  for (int64_t n = 0; l->lengths && n < l->N; n++)
    if (l->lengths[n] < 0 || l->lengths[n] > l->T)
      return fail(e, GM_INVALID_ARGUMENT, "lengths", "lengths[%lld] is %lld; expected 0 to %lld",
                  static_cast<long long>(n), static_cast<long long>(l->lengths[n]),
                  static_cast<long long>(l->T));
  return GM_OK;
}
gm_status check_given(gm_error* e, const char* argument, const void* p) {
  return p ? GM_OK : fail(e, GM_INVALID_ARGUMENT, argument, "%s is null", argument);
}

// Of an array that has elements.
gm_status check_given(gm_error* e, const char* argument, const void* p, int64_t elements) {
  return elements > 0 ? check_given(e, argument, p) : GM_OK;
}

gm_status check_weights(gm_error* e, const gm_recurrent* l) {
  GM_TRY(check_given(e, "weight_ih", l->weight_ih));
  GM_TRY(check_given(e, "weight_hh", l->weight_hh));
  return l->P ? check_given(e, "weight_hr", l->weight_hr) : GM_OK;
}

gm_status cancelled(gm_error* e) { return fail(e, GM_CANCELLED, "cancel", "cancelled by the caller"); }

int members_for(const gm_recurrent* l) {
  const double flops = 2.0 * static_cast<double>(l->T) * static_cast<double>(l->N) *
                       static_cast<double>(layout_of(l->cell).gates) * static_cast<double>(l->H) *
                       static_cast<double>(l->I + l->H);
  const double wanted = flops / kFlopsPerThread;
  const int most = threads();
  return wanted >= most ? most : wanted > 1 ? static_cast<int>(wanted) : 1;
}

// f(Recurrent<T>, T{}) for the type that dtype names.
template <class F>
void with_layer(const KernelTable& table, gm_dtype dtype, const gm_recurrent* l, F f) {
  if (dtype == GM_FLOAT32)
    f(Recurrent<float>(table, *l), float{});
  else
    f(Recurrent<double>(table, *l), double{});
}
template <class F>
void with_layer(gm_dtype dtype, const gm_recurrent* l, F f) {
  with_layer(l->packed ? *l->packed->table : kernels(), dtype, l, f);
}

// The memory of steps begins with the kernels that it was packed for.
void* after_table(void* memory) { return static_cast<char*>(memory) + kAlign; }

}  // namespace

extern "C" {

gm_status gm_recurrent_sizes(gm_dtype dtype, const gm_recurrent* l, gm_recurrent_memory* out, gm_error* e) {
  GM_TRY(check(dtype, l, e));
  GM_TRY(check_given(e, "out", out));
  GM_TRY(check_size(e, "out", out->struct_size, sizeof(gm_recurrent_memory)));
  with_layer(dtype, l, [&](auto layer, auto zero) {
    out->cache = layer.cache_size() * static_cast<int64_t>(sizeof zero);
    out->forward = layer.forward_bytes();
    out->backward = layer.backward_bytes();
    out->steps = layer.steps_bytes(false);
    out->stepper = kAlign + layer.stepper_bytes();
  });
  return ok(e);
}

gm_status gm_recurrent_pack(gm_dtype dtype, const gm_recurrent* l, gm_recurrent_packed** packed,
                            gm_error* e) {
  GM_TRY(check(dtype, l, e));
  GM_TRY(check_given(e, "packed", packed));
  GM_TRY(check_weights(e, l));
  gm_recurrent plain = *l;
  plain.packed = nullptr;
  int64_t bytes = 0;
  auto* made = static_cast<gm_recurrent_packed*>(malloc(sizeof(gm_recurrent_packed)));
  if (made) *made = {&kernels(), dtype, l->cell, l->I, l->H, l->P, nullptr};
  with_layer(dtype, &plain, [&](auto layer, auto) {
    bytes = layer.packed_bytes();
    if (made) made->data = allocate_huge(bytes);
    if (made && made->data) layer.pack(1, made->data);
  });
  if (!made || !made->data) {
    free(made);
    return out_of_memory(e, "layer", bytes);
  }
  *packed = made;
  return ok(e);
}
void gm_recurrent_packed_free(gm_recurrent_packed* packed) {
  if (packed) free(packed->data);
  free(packed);
}

gm_status gm_recurrent_forward(gm_dtype dtype, const gm_recurrent* l, const void* x, const void* h0,
                               const void* c0, void* y, void* h_n, void* c_n, void* cache, void* workspace,
                               gm_error* e) {
  GM_TRY(check(dtype, l, e));
  GM_TRY(check_given(e, "workspace", workspace));
  GM_TRY(check_given(e, "x", x, l->T * l->N));
  GM_TRY(check_given(e, "y", y, l->T * l->N));
  if (!l->packed) GM_TRY(check_weights(e, l));
  bool whole = true;
  with_layer(dtype, l, [&](auto layer, auto zero) {
    using T = decltype(zero);
    whole = layer.forward(members_for(l), static_cast<const T*>(x), static_cast<const T*>(h0),
                          static_cast<const T*>(c0), static_cast<T*>(y), static_cast<T*>(h_n),
                          layout_of(l->cell).memory ? static_cast<T*>(c_n) : nullptr, static_cast<T*>(cache),
                          workspace);
  });
  return whole ? ok(e) : cancelled(e);
}

gm_status gm_recurrent_backward(gm_dtype dtype, const gm_recurrent* l, const void* x, const void* h0,
                                const void* y, const void* cache, const gm_recurrent_gradients* gradients,
                                void* workspace, gm_error* e) {
  GM_TRY(check(dtype, l, e));
  GM_TRY(check_given(e, "workspace", workspace));
  GM_TRY(check_given(e, "x", x, l->T * l->N));
  GM_TRY(check_given(e, "y", y, l->T * l->N));
  int64_t kept = 0;
  with_layer(dtype, l, [&](auto layer, auto) { kept = layer.cache_size(); });
  GM_TRY(check_given(e, "cache", cache, kept));
  GM_TRY(check_weights(e, l));
  GM_TRY(check_given(e, "gradients", gradients));
  GM_TRY(check_size(e, "gradients", gradients->struct_size, sizeof(gm_recurrent_gradients)));
  if (gradients->steps) {
    GM_TRY(check_size(e, "steps", gradients->steps->struct_size, sizeof(gm_recurrent_steps)));
    GM_TRY(check_given(e, "steps", gradients->steps->workspace));
  }
  gm_recurrent_gradients g = *gradients;
  if (!layout_of(l->cell).memory) g.dc_n = g.dc0 = g.dc = nullptr;
  bool whole = true;
  with_layer(dtype, l, [&](auto layer, auto zero) {
    using T = decltype(zero);
    whole = layer.backward(members_for(l), static_cast<const T*>(x), static_cast<const T*>(h0),
                           static_cast<const T*>(y), static_cast<const T*>(cache), g, workspace);
  });
  return whole ? ok(e) : cancelled(e);
}

gm_status gm_recurrent_step_pack(gm_dtype dtype, const gm_recurrent* l, void* memory, gm_error* e) {
  GM_TRY(check(dtype, l, e));
  GM_TRY(check_given(e, "memory", memory));
  GM_TRY(check_weights(e, l));
  gm_recurrent plain = *l;
  plain.packed = nullptr;
  const KernelTable* const table = &kernels();
  memcpy(memory, &table, sizeof table);
  with_layer(*table, dtype, &plain, [&](auto layer, auto) { layer.pack_steps(after_table(memory)); });
  return ok(e);
}

gm_status gm_recurrent_step(gm_dtype dtype, const gm_recurrent* l, void* memory, const void* x, void* h,
                            void* c, gm_error* e) {
  GM_TRY(check(dtype, l, e));
  GM_TRY(check_given(e, "memory", memory));
  GM_TRY(check_given(e, "x", x));
  GM_TRY(check_given(e, "h", h));
  if (layout_of(l->cell).memory) GM_TRY(check_given(e, "c", c));
  gm_recurrent plain = *l;
  plain.packed = nullptr;
  const KernelTable* table;
  memcpy(&table, memory, sizeof table);
  with_layer(*table, dtype, &plain, [&](auto layer, auto zero) {
    using T = decltype(zero);
    layer.step(after_table(memory), static_cast<const T*>(x), static_cast<T*>(h), static_cast<T*>(c));
  });
  return ok(e);
}

gm_status gm_recurrent_gates(gm_dtype dtype, const gm_recurrent* l, const void* cache, void* gates, void* c,
                             void* workspace, gm_error* e) {
  GM_TRY(check(dtype, l, e));
  if (l->recompute)
    return fail(e, GM_INVALID_ARGUMENT, "recompute",
                "recompute is %lld; expected 0, a cache that holds every step",
                static_cast<long long>(l->recompute));
  GM_TRY(check_given(e, "workspace", workspace));
  GM_TRY(check_given(e, "cache", cache, l->T * l->N));
  GM_TRY(check_given(e, "gates", gates, l->T * l->N));
  with_layer(dtype, l, [&](auto layer, auto zero) {
    using T = decltype(zero);
    layer.show(members_for(l), static_cast<const T*>(cache), static_cast<T*>(gates),
               layout_of(l->cell).memory ? static_cast<T*>(c) : nullptr, workspace);
  });
  return ok(e);
}

}  // extern "C"
