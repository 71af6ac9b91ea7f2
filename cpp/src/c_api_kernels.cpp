// The part of the C API that needs no network: library, activations, dense, batch norm, losses, measurement.
#include <math.h>

#include "batch_norm.hpp"
#include "cpu.hpp"
#include "dispatch.hpp"
#include "error.hpp"
#include "group_norm.hpp"
#include "loops/parallel.hpp"
#include "losses.hpp"
#include "memory.hpp"
#include "optimizers.hpp"
#include "parameters.hpp"

using namespace gradiometer;

namespace {

// Work below these sizes stays on the calling thread: a fork and join costs 0.4 to 1.4 us.
constexpr int64_t kElementsPerThread = 16384;
constexpr int64_t kFlopsPerThread = 500000;  // of float32; float64 takes twice as long

int team_for(int64_t work, int64_t per_thread) {
  int64_t wanted = work / per_thread;
  int most = threads();
  return wanted < most ? (wanted > 1 ? static_cast<int>(wanted) : 1) : most;
}

gm_status check_count(gm_error* e, const char* argument, int64_t n) {
  if (n >= 0) return GM_OK;
  return fail(e, GM_INVALID_ARGUMENT, argument, "%s is %lld; expected 0 or more", argument,
              static_cast<long long>(n));
}
gm_status check_dtype(gm_error* e, gm_dtype dtype) {
  if (dtype == GM_FLOAT32 || dtype == GM_FLOAT64) return GM_OK;
  return fail(e, GM_INVALID_ARGUMENT, "dtype", "dtype is %d; expected GM_FLOAT32 or GM_FLOAT64",
              static_cast<int>(dtype));
}
gm_status check_index(gm_error* e, const char* argument, int i, int count) {
  if (i >= 0 && i < count) return GM_OK;
  return fail(e, GM_INVALID_ARGUMENT, argument, "%s is %d; expected 0 to %d", argument, i, count - 1);
}
gm_status check_product(gm_error* e, const char* argument, int64_t a, int64_t b, size_t bytes) {
  int64_t n;
  if (multiply(a, b, &n) && multiply(n, static_cast<int64_t>(bytes), &n)) return GM_OK;
  return fail(e, GM_INVALID_ARGUMENT, argument, "%s of %lld x %lld elements is too big", argument,
              static_cast<long long>(a), static_cast<long long>(b));
}

// Calls f(T{}) with the type that dtype names.
template <class F>
auto with_type(gm_dtype dtype, F f) {
  return dtype == GM_FLOAT32 ? f(float{}) : f(double{});
}

// The greatest share of n units among `members`, over the mean share.
double imbalance(int64_t n, int members) {
  return static_cast<double>((n + members - 1) / members * members) / static_cast<double>(n);
}

// C (M, N) = A B by a team, which shares the columns of C or, where these do not come out even, its rows. By
// rows each member lays out all of B for itself: up to a tenth of imbalance costs less.
template <class T>
gm_status multiply_matrices(const Kernels<T>& k, const Gemm<T>& whole, gm_error* e) {
  const int64_t M = whole.M, N = whole.N, K = whole.K;
  if (M == 0 || N == 0) return ok(e);
  const double flops = 2.0 * static_cast<double>(M) * static_cast<double>(N) * static_cast<double>(K);
  const int64_t least = kFlopsPerThread * 4 / static_cast<int64_t>(sizeof(T));
  const int members = team_for(flops < 9e18 ? static_cast<int64_t>(flops) : INT64_MAX, least);
  const bool by_rows = members > 1 && imbalance((N + k.gemm_columns - 1) / k.gemm_columns, members) >
                                          imbalance(M, members) + 0.1;
  int64_t missing = 0;
  parallel_apart(members, [&](Team team) {
    Gemm<T> g = whole;
    if (by_rows) {
      const Range rows = team.share(M);
      g.M = rows.size();
      g.a += rows.begin * g.a_row;
      g.c += rows.begin * g.ldc;
    } else {
      const Range columns = team.share(N, k.gemm_columns);
      g.N = columns.size();
      g.c += columns.begin;
      if (g.packed) g.packed += columns.begin * K;
      if (g.b && K > 0) g.b += columns.begin * g.b_col;
      if (g.bias) g.bias += columns.begin;
    }
    const int64_t bytes = k.gemm_workspace(g) * static_cast<int64_t>(sizeof(T));
    Scratch scratch(team.rank, bytes);
    g.workspace = static_cast<T*>(scratch.data());
    if (bytes > 0 && !g.workspace)
      __atomic_store_n(&missing, bytes, __ATOMIC_RELAXED);
    else
      k.gemm(g);
  });
  return missing ? out_of_memory(e, "b", missing) : ok(e);
}

// run(kernels, rows) by a team that shares the rows.
template <class F>
gm_status share_rows(gm_dtype dtype, int64_t N, int64_t C, gm_error* e, F run) {
  GM_TRY(check_dtype(e, dtype));
  GM_TRY(check_count(e, "N", N));
  GM_TRY(check_count(e, "C", C));
  GM_TRY(check_product(e, "x", N, C, sizeof(double)));
  with_type(dtype, [&](auto zero) {
    using T = decltype(zero);
    if (N * C > 0)
      parallel_apart(team_for(N * C, kElementsPerThread),
                     [&](Team team) { run(of<T>(kernels()), team.share(N)); });
  });
  return ok(e);
}
// The rows from r on of a matrix of the table's type.
template <class T>
const T* from_row(const Kernels<T>&, const void* x, int64_t r, int64_t C) {
  return static_cast<const T*>(x) + r * C;
}
template <class T>
T* from_row(const Kernels<T>&, void* x, int64_t r, int64_t C) {
  return static_cast<T*>(x) + r * C;
}

// ---- batch norm

// From this size on an array is not looked for in a cache. With outputs that are used again 8 MiB is still
// better off there: 32 x 64 x 1024 floats forward, two threads, 132 us, past the caches 166; 65536 x 64 363
// and 350, 8192 x 1024 1272 and 890.
constexpr int64_t kFar = 16 << 20;

// How a team divides a batch norm: by channels, which need nothing from each other, or by samples, where a
// channel split would leave a member less than eight lines of a row or unequal shares, and a matrix wherever
// there are blocks enough: whole rows are one stream, and of halves of rows each member fetches ahead what
// the other one writes. Forward, floats, two threads, by channels and by samples: 128 x 256 23 and 4.3 us,
// 1024 x 1024 340 to 490 and 100, 8192 x 1024 1550 and 890.
struct BatchNormTeam {
  int size;
  bool far, by_samples;
  SampleBlocks blocks;
  int64_t bytes;  // of a team by samples: its sums
  Scratch scratch;
  double* sums;
  BatchNormTeam(int64_t N, int64_t C, int64_t L, gm_dtype dtype)
      : size(team_for(N * C * L, kElementsPerThread)),
        far(N * C * L * (dtype == GM_FLOAT32 ? 4 : 8) >= kFar),
        by_samples(shares_samples(N, C, L)),
        blocks{N, samples_a_block(N, L), C},
        bytes(by_samples ? blocks.doubles() * static_cast<int64_t>(sizeof(double)) : 0),
        scratch(0, bytes),
        sums(static_cast<double*>(scratch.data())) {}
  bool shares_samples(int64_t N, int64_t C, int64_t L) const {
    const int64_t count = SampleBlocks{N, samples_a_block(N, L), C}.count();
    const bool narrow = C * L < 128 * size || (L > 1 && C < 8 * size);
    return size > 1 &&
           ((narrow && count >= size) || (L == 1 && count >= 2 * size) || (far && count >= 4 * size));
  }
  gm_status check(gm_error* e) const { return bytes > 0 && !sums ? out_of_memory(e, "x", bytes) : GM_OK; }
  Range channels(Team team, int64_t L) const { return team.share(blocks.C, L == 1 ? 16 : 1); }
};

template <class T>
BatchNorm<T> whole(int64_t N, int64_t C, int64_t L, const void* x, const gm_batch_norm* norm,
                   const double* statistics) {
  const bool empty = N * L == 0;
  return {empty ? 0 : N,
          C,
          empty ? 1 : L,
          empty ? C : C * L,
          static_cast<const T*>(x),
          statistics,
          statistics + C,
          norm->eps,
          static_cast<const T*>(norm->gamma),
          static_cast<const T*>(norm->beta)};
}

// mean and var of some channels: those of the batch, which move the running ones, or those.
template <class T>
void settle(const BatchNorm<T>& b, const gm_batch_norm* norm, Range channels, double* mean, double* var) {
  T* running_mean = static_cast<T*>(norm->running_mean);
  T* running_var = static_cast<T*>(norm->running_var);
  const int64_t c = channels.begin;
  if (norm->training && b.N > 0) {
    if (running_mean && running_var)
      update_running(channels.size(), b.N * b.L, norm->momentum, mean + c, var + c, running_mean + c,
                     running_var + c);
    return;
  }
  for (int64_t i = channels.begin; i < channels.end; i++) {
    mean[i] = running_mean ? static_cast<double>(running_mean[i]) : 0;
    var[i] = running_var ? static_cast<double>(running_var[i]) : 1;
  }
}

}  // namespace

extern "C" {

const char* gm_version(void) { return GM_VERSION; }
int gm_abi_version(void) { return GM_ABI_VERSION; }
int gm_threaded(void) {
#ifdef GM_THREADS
  return 1;
#else
  return 0;
#endif
}

int gm_isa_count(void) { return isa_count(); }
const char* gm_isa_name(int i) { return i >= 0 && i < isa_count() ? isa_table(i).isa : nullptr; }
int gm_isa_supported(int i) { return i >= 0 && i < isa_count() && isa_supported(i); }
const char* gm_isa(void) { return kernels().isa; }
const char* gm_isa_error(void) { return isa_error(); }
gm_status gm_isa_set(const char* name, gm_error* e) {
  if (isa_set(name)) return ok(e);
  return fail(e, GM_INVALID_ARGUMENT, "name", "instruction set %.40s is unknown or not supported by this CPU",
              name);
}

int gm_threads(void) { return threads(); }
gm_status gm_threads_set(int n, gm_error* e) {
  if (n < 0 || n > 1024)
    return fail(e, GM_INVALID_ARGUMENT, "threads", "threads is %d; expected 1 to 1024, or 0 for the default",
                n);
  threads_set(n);
  return ok(e);
}
int gm_flushes_subnormals(void) { return cpu_flushes_subnormals(); }

// ---- activations

int gm_activation_count(void) { return kernels().activation_count; }
const char* gm_activation_name(int i) {
  return i >= 0 && i < gm_activation_count() ? kernels().activations[i].name : nullptr;
}
int gm_activation_find(const char* name) {
  return find(kernels().activations, kernels().activation_count, name);
}
int gm_activation_parameters(int i, const gm_parameter** parameters) {
  static const ParameterTable table(kernels().activations, kernels().activation_count);
  return table.row(i, parameters);
}

gm_status gm_activation_forward(int i, gm_dtype dtype, int64_t n, const void* x, void* y,
                                const double* params, gm_error* e) {
  GM_TRY(check_index(e, "activation", i, gm_activation_count()));
  GM_TRY(check_dtype(e, dtype));
  GM_TRY(check_count(e, "n", n));
  const Activation& a = kernels().activations[i];
  double p[kMaxParameters];
  GM_TRY(resolve(a, params, p, e));
  with_type(dtype, [&](auto zero) {
    using T = decltype(zero);
    parallel_apart(team_for(n, kElementsPerThread), [&](Team team) {
      Range r = team.share(n, 1024);
      of<T>(a).forward(r.size(), static_cast<const T*>(x) + r.begin, static_cast<T*>(y) + r.begin, p);
    });
  });
  return ok(e);
}

gm_status gm_activation_backward(int i, gm_dtype dtype, int64_t n, const void* x, const void* dy, void* dx,
                                 const double* params, gm_error* e) {
  GM_TRY(check_index(e, "activation", i, gm_activation_count()));
  GM_TRY(check_dtype(e, dtype));
  GM_TRY(check_count(e, "n", n));
  const Activation& a = kernels().activations[i];
  double p[kMaxParameters];
  GM_TRY(resolve(a, params, p, e));
  with_type(dtype, [&](auto zero) {
    using T = decltype(zero);
    parallel_apart(team_for(n, kElementsPerThread), [&](Team team) {
      Range r = team.share(n, 1024);
      of<T>(a).backward(r.size(), static_cast<const T*>(x) + r.begin, static_cast<const T*>(dy) + r.begin,
                        static_cast<T*>(dx) + r.begin, p);
    });
  });
  return ok(e);
}

// ---- dense

static gm_status check_form(gm_error* e, gm_form form) {
  if (form == GM_NN || form == GM_NT || form == GM_TN) return ok(e);
  return fail(e, GM_INVALID_ARGUMENT, "form", "form is %d; expected GM_NN, GM_NT or GM_TN",
              static_cast<int>(form));
}
static gm_status check_distance(gm_error* e, const char* argument, int64_t ld, int64_t least) {
  if (ld >= least) return ok(e);
  return fail(e, GM_INVALID_ARGUMENT, argument, "%s is %lld, less than a row; expected %lld or more",
              argument, static_cast<long long>(ld), static_cast<long long>(least));
}

gm_status gm_gemm(gm_form form, gm_dtype dtype, int64_t M, int64_t N, int64_t K, const void* a, int64_t lda,
                  const void* b, int64_t ldb, void* c, int64_t ldc, int accumulate, gm_error* e) {
  GM_TRY(check_dtype(e, dtype));
  GM_TRY(check_count(e, "M", M));
  GM_TRY(check_count(e, "N", N));
  GM_TRY(check_count(e, "K", K));
  GM_TRY(check_form(e, form));
  GM_TRY(check_distance(e, "lda", lda, form == GM_TN ? M : K));
  GM_TRY(check_distance(e, "ldb", ldb, form == GM_NT ? K : N));
  GM_TRY(check_distance(e, "ldc", ldc, N));
  return with_type(dtype, [&](auto zero) {
    using T = decltype(zero);
    Gemm<T> g = {};
    g.M = M, g.N = N, g.K = K;
    g.a = static_cast<const T*>(a);
    g.a_row = form == GM_TN ? 1 : lda, g.a_col = form == GM_TN ? lda : 1;
    g.b = static_cast<const T*>(b);
    g.b_row = form == GM_NT ? 1 : ldb, g.b_col = form == GM_NT ? ldb : 1;
    g.c = static_cast<T*>(c);
    g.ldc = ldc;
    g.accumulate = accumulate != 0;
    return multiply_matrices(of<T>(kernels()), g, e);
  });
}

// The layout is that of the instruction set in force when B was packed, and it is what multiplies.
struct gm_packed {
  const KernelTable* table;
  gm_dtype dtype;
  int64_t K, N;
  void* data;
};

gm_status gm_gemm_pack(gm_form form, gm_dtype dtype, int64_t N, int64_t K, const void* b, int64_t ldb,
                       gm_packed** packed, gm_error* e) {
  GM_TRY(check_dtype(e, dtype));
  GM_TRY(check_count(e, "N", N));
  GM_TRY(check_count(e, "K", K));
  GM_TRY(check_form(e, form));
  GM_TRY(check_distance(e, "ldb", ldb, form == GM_NT ? K : N));
  if (!packed) return fail(e, GM_INVALID_ARGUMENT, "packed", "packed is null");
  GM_TRY(check_product(e, "b", N < INT64_MAX - 64 ? N + 64 : N, K, sizeof(double)));
  return with_type(dtype, [&](auto zero) {
    using T = decltype(zero);
    const Kernels<T>& k = of<T>(kernels());
    const int64_t bytes = k.gemm_packed_size(K, N) * static_cast<int64_t>(sizeof(T));
    gm_packed* made = static_cast<gm_packed*>(malloc(sizeof(gm_packed)));
    void* data = made ? allocate_raw(bytes) : nullptr;
    if (!data) {
      free(made);
      return out_of_memory(e, "b", bytes);
    }
    if (K > 0)
      parallel_apart(team_for(N * K, kElementsPerThread), [&](Team team) {
        const Range n = team.share(N, k.gemm_columns);
        if (n.size() > 0)
          k.gemm_pack(K, N, static_cast<const T*>(b), form == GM_NT ? 1 : ldb, form == GM_NT ? ldb : 1,
                      n.begin, n.end, static_cast<T*>(data));
      });
    *made = {&kernels(), dtype, K, N, data};
    *packed = made;
    return ok(e);
  });
}

void gm_packed_free(gm_packed* packed) {
  if (packed) free(packed->data);
  free(packed);
}

gm_status gm_gemm_packed(gm_form form, int64_t M, const void* a, int64_t lda, const gm_packed* b, void* c,
                         int64_t ldc, int accumulate, gm_error* e) {
  GM_TRY(check_count(e, "M", M));
  GM_TRY(check_form(e, form));
  if (!b) return fail(e, GM_INVALID_ARGUMENT, "b", "b is null; expected what gm_gemm_pack made");
  GM_TRY(check_distance(e, "lda", lda, form == GM_TN ? M : b->K));
  GM_TRY(check_distance(e, "ldc", ldc, b->N));
  return with_type(b->dtype, [&](auto zero) {
    using T = decltype(zero);
    Gemm<T> g = {};
    g.M = M, g.N = b->N, g.K = b->K;
    g.a = static_cast<const T*>(a);
    g.a_row = form == GM_TN ? 1 : lda, g.a_col = form == GM_TN ? lda : 1;
    g.packed = static_cast<const T*>(b->data);
    g.c = static_cast<T*>(c);
    g.ldc = ldc;
    g.accumulate = accumulate != 0;
    return multiply_matrices(of<T>(*b->table), g, e);
  });
}

gm_status gm_linear_forward(gm_dtype dtype, int64_t N, int64_t I, int64_t H, const void* x,
                            const void* weight, const void* bias, void* y, gm_error* e) {
  GM_TRY(check_dtype(e, dtype));
  GM_TRY(check_count(e, "N", N));
  GM_TRY(check_count(e, "I", I));
  GM_TRY(check_count(e, "H", H));
  return with_type(dtype, [&](auto zero) {
    using T = decltype(zero);
    Gemm<T> g = {};
    g.M = N, g.N = H, g.K = I;
    g.a = static_cast<const T*>(x);
    g.a_row = I, g.a_col = 1;
    g.b = static_cast<const T*>(weight);
    g.b_row = 1, g.b_col = I;
    g.c = static_cast<T*>(y);
    g.ldc = H;
    g.bias = static_cast<const T*>(bias);
    return multiply_matrices(of<T>(kernels()), g, e);
  });
}

gm_status gm_linear_backward(gm_dtype dtype, int64_t N, int64_t I, int64_t H, const void* x,
                             const void* weight, const void* dy, void* dx, void* dweight, void* dbias,
                             int accumulate, gm_error* e) {
  GM_TRY(check_dtype(e, dtype));
  GM_TRY(check_count(e, "N", N));
  GM_TRY(check_count(e, "I", I));
  GM_TRY(check_count(e, "H", H));
  return with_type(dtype, [&](auto zero) {
    using T = decltype(zero);
    const Kernels<T>& k = of<T>(kernels());
    Gemm<T> g = {};
    g.a = static_cast<const T*>(dy);
    g.b_col = 1, g.N = I, g.b_row = I, g.ldc = I;
    if (dx) {
      Gemm<T> by_x = g;
      by_x.M = N, by_x.K = H;
      by_x.a_row = H, by_x.a_col = 1;
      by_x.b = static_cast<const T*>(weight);
      by_x.c = static_cast<T*>(dx);
      GM_TRY(multiply_matrices(k, by_x, e));
    }
    if (dweight) {
      Gemm<T> by_weight = g;
      by_weight.M = H, by_weight.K = N;
      by_weight.a_row = 1, by_weight.a_col = H;
      by_weight.b = static_cast<const T*>(x);
      by_weight.c = static_cast<T*>(dweight);
      by_weight.accumulate = accumulate != 0;
      GM_TRY(multiply_matrices(k, by_weight, e));
    }
    if (dbias)
      parallel_apart(team_for(N * H, kElementsPerThread), [&](Team team) {
        const Range c = team.share(H, 16);
        k.column_sum(N, c.size(), static_cast<const T*>(dy) + c.begin, H, static_cast<T*>(dbias) + c.begin,
                     accumulate != 0);
      });
    return ok(e);
  });
}

// ---- norms

// What a norm over (N, C, L) asks of its sizes and eps.
static gm_status check_norm(gm_error* e, gm_dtype dtype, int64_t N, int64_t C, int64_t L, const void* norm) {
  GM_TRY(check_dtype(e, dtype));
  GM_TRY(check_count(e, "N", N));
  GM_TRY(check_count(e, "L", L));
  if (C < 1)
    return fail(e, GM_INVALID_ARGUMENT, "C", "C is %lld; expected 1 or more features",
                static_cast<long long>(C));
  GM_TRY(check_product(e, "x", N, C, 2 * sizeof(double)));
  GM_TRY(check_product(e, "x", N * C, L, 2 * sizeof(double)));
  if (!norm) return fail(e, GM_INVALID_ARGUMENT, "norm", "norm is null");
  return GM_OK;
}
static gm_status check_eps(gm_error* e, double eps) {
  if (eps > 0 && eps < HUGE_VAL) return GM_OK;
  return fail(e, GM_INVALID_ARGUMENT, "eps", "eps is %g; expected a positive number", eps);
}

// ---- batch norm

static gm_status check_batch_norm(gm_error* e, gm_dtype dtype, int64_t N, int64_t C, int64_t L,
                                  const gm_batch_norm* norm) {
  GM_TRY(check_norm(e, dtype, N, C, L, norm));
  GM_TRY(check_eps(e, norm->eps));
  if (!(norm->momentum >= 0 && norm->momentum <= 1))
    return fail(e, GM_INVALID_ARGUMENT, "momentum", "momentum is %g; expected 0 to 1", norm->momentum);
  if (norm->training && N * L == 1)
    return fail(e, GM_INVALID_ARGUMENT, "x",
                "one value; expected more than 1 value per channel when training");
  if (!norm->training && (!norm->running_mean || !norm->running_var))
    return fail(e, GM_INVALID_ARGUMENT, "running_mean", "evaluation needs running_mean and running_var");
  return GM_OK;
}

gm_status gm_batch_norm_forward(gm_dtype dtype, int64_t N, int64_t C, int64_t L, const void* x,
                                const gm_batch_norm* norm, void* y, double* cache, gm_error* e) {
  GM_TRY(check_batch_norm(e, dtype, N, C, L, norm));
  BatchNormTeam shares(N, C, L, dtype);
  GM_TRY(shares.check(e));
  double* mean = cache;
  if (!mean) {
    mean = static_cast<double*>(allocate_raw(2 * C * static_cast<int64_t>(sizeof(double))));
    if (!mean) return out_of_memory(e, "cache", 2 * C * static_cast<int64_t>(sizeof(double)));
  }
  with_type(dtype, [&](auto zero) {
    using T = decltype(zero);
    const Kernels<T>& k = of<T>(kernels());
    double* var = mean + C;
    const BatchNorm<T> b = whole<T>(N, C, L, x, norm, mean);
    const bool far = shares.far;
    const bool batch = norm->training && b.N > 0;
    auto normalise = [&](Range samples, Range channels) {
      k.batch_norm_forward(part(b, samples, channels), part(b, samples, channels, static_cast<T*>(y)), far);
    };
    parallel(shares.size, [&](Team team) {
      const Range mine = shares.channels(team, b.L);
      if (!shares.by_samples) {
        for_channel_blocks(mine, [&](Range c) {
          if (batch) channel_statistics(k, b, c, far, mean + c.begin, var + c.begin);
          settle(b, norm, c, mean, var);
          normalise({0, b.N}, c);
        });
        return;
      }
      if (batch) {
        pivots(b, mine, mean + mine.begin);
        team.barrier();
        sums_by_team<T>(k, b, shares.blocks, team, mean, nullptr, far, shares.sums);
        k.batch_norm_statistics(values_a_channel(b), mine.size(), shares.sums + mine.begin,
                                shares.sums + C + mine.begin, mean + mine.begin, var + mine.begin);
      }
      settle(b, norm, mine, mean, var);
      team.barrier();
      const Range samples = shares.blocks.samples(team.share(shares.blocks.count()));
      for_channel_blocks({0, C}, [&](Range c) { normalise(samples, c); });
    });
  });
  if (!cache) free(mean);
  return ok(e);
}

gm_status gm_batch_norm_backward(gm_dtype dtype, int64_t N, int64_t C, int64_t L, const void* x,
                                 const gm_batch_norm* norm, const double* cache, const void* dy, void* dx,
                                 void* dgamma, void* dbeta, int accumulate, gm_error* e) {
  GM_TRY(check_batch_norm(e, dtype, N, C, L, norm));
  if (!cache)
    return fail(e, GM_INVALID_ARGUMENT, "cache", "cache is null; expected what the forward pass wrote");
  BatchNormTeam shares(N, C, L, dtype);
  GM_TRY(shares.check(e));
  with_type(dtype, [&](auto zero) {
    using T = decltype(zero);
    const Kernels<T>& k = of<T>(kernels());
    const BatchNorm<T> b = whole<T>(N, C, L, x, norm, cache);
    const bool far = shares.far;
    const T* d = static_cast<const T*>(dy);
    const BatchNormGradients<T> to = {static_cast<T*>(dx), static_cast<T*>(dgamma), static_cast<T*>(dbeta),
                                      accumulate != 0};
    const bool constant = !norm->training;
    parallel(shares.size, [&](Team team) {
      const Range mine = shares.channels(team, b.L);
      if (!shares.by_samples) return batch_norm_backward(k, b, mine, constant, d, to, far);
      const double *sum = shares.sums, *dot = sum + C;
      if (!constant || to.dgamma || to.dbeta) {
        sums_by_team(k, b, shares.blocks, team, b.mean, d, far, shares.sums);
        k.batch_norm_gradients(mine.size(), b.var + mine.begin, b.eps, sum + mine.begin, dot + mine.begin,
                               shifted(to.dgamma, mine.begin), shifted(to.dbeta, mine.begin), to.accumulate);
      }
      const Range samples = shares.blocks.samples(team.share(shares.blocks.count()));
      if (to.dx)
        for_channel_blocks({0, C}, [&](Range c) {
          k.batch_norm_backward(part(b, samples, c), values_a_channel(b), part(b, samples, c, d),
                                constant ? nullptr : sum + c.begin, constant ? nullptr : dot + c.begin,
                                part(b, samples, c, to.dx), far);
        });
    });
  });
  return ok(e);
}

// ---- norms within a row

static gm_status check_group_norm(gm_error* e, gm_dtype dtype, int64_t N, int64_t C,
                                  const gm_group_norm* norm) {
  GM_TRY(check_norm(e, dtype, N, C, 1, norm));
  if (norm->groups < 1 || C % norm->groups != 0)
    return fail(e, GM_INVALID_ARGUMENT, "groups", "groups is %lld; expected a divisor of %lld features",
                static_cast<long long>(norm->groups), static_cast<long long>(C));
  return check_eps(e, norm->eps);
}

gm_status gm_group_norm_forward(gm_dtype dtype, int64_t N, int64_t C, const void* x,
                                const gm_group_norm* norm, void* y, double* cache, gm_error* e) {
  GM_TRY(check_group_norm(e, dtype, N, C, norm));
  const int64_t each = 2 * norm->groups;
  double* statistics = cache;
  if (!statistics) {
    const int64_t bytes = N * each * static_cast<int64_t>(sizeof(double));
    statistics = static_cast<double*>(allocate(bytes));
    if (!statistics) return out_of_memory(e, "cache", bytes);
  }
  with_type(dtype, [&](auto zero) {
    using T = decltype(zero);
    parallel_apart(team_for(N * C, kElementsPerThread), [&](Team team) {
      Range r = team.share(N);
      of<T>(kernels()).group_norm_forward(
          r.size(), C, norm->groups, norm->centred != 0, norm->eps, static_cast<const T*>(x) + r.begin * C,
          static_cast<const T*>(norm->gamma), static_cast<const T*>(norm->beta),
          static_cast<T*>(y) + r.begin * C, statistics + r.begin * each);
    });
  });
  if (!cache) free(statistics);
  return ok(e);
}

gm_status gm_group_norm_backward(gm_dtype dtype, int64_t N, int64_t C, const void* x,
                                 const gm_group_norm* norm, const double* cache, const void* dy, void* dx,
                                 void* dgamma, void* dbeta, int accumulate, gm_error* e) {
  GM_TRY(check_group_norm(e, dtype, N, C, norm));
  if (!cache)
    return fail(e, GM_INVALID_ARGUMENT, "cache", "cache is null; expected what the forward pass wrote");
  const SampleBlocks blocks = {N, rows_a_block(N), C};
  const int members = team_for(N * C, kElementsPerThread);
  const int64_t bytes = blocks.doubles() * static_cast<int64_t>(sizeof(double));
  const Scratch scratch(0, bytes);
  double* sums = static_cast<double*>(scratch.data());
  if (!sums) return out_of_memory(e, "x", bytes);
  for (int64_t i = 0; N == 0 && i < 2 * C; i++) sums[i] = 0;
  with_type(dtype, [&](auto zero) {
    using T = decltype(zero);
    const Kernels<T>& k = of<T>(kernels());
    const GroupNorm<T> g = {N,
                            C,
                            norm->groups,
                            norm->centred != 0,
                            static_cast<const T*>(x),
                            cache,
                            static_cast<const T*>(norm->gamma),
                            static_cast<const T*>(dy)};
    const bool far = N * C * static_cast<int64_t>(sizeof(T)) >= kFarRows, summed = dgamma || dbeta;
    parallel(members, [&](Team team) {
      const Range mine = team.share(blocks.count());
      for (int64_t i = mine.begin; i < mine.end; i++)
        group_norm_block(k, g, blocks.samples({i, i + 1}), static_cast<T*>(dx), far,
                         summed ? sums + 2 * C * i : nullptr);
      if (!summed) return;
      team.barrier();
      const Range c = team.share(C, 16);
      double *sum = sums + c.begin, *dot = sum + C;
      for (int64_t i = 1; i < blocks.count(); i++) {
        add_to(c.size(), sum + 2 * C * i, sum);
        add_to(c.size(), dot + 2 * C * i, dot);
      }
      write_parameters(c.size(), sum, dot, shifted(static_cast<T*>(dgamma), c.begin),
                       shifted(static_cast<T*>(dbeta), c.begin), accumulate != 0);
    });
  });
  return ok(e);
}

// ---- prelu

static gm_status check_prelu(gm_error* e, gm_dtype dtype, int64_t N, int64_t C, int64_t weights,
                             const void* weight) {
  GM_TRY(check_dtype(e, dtype));
  GM_TRY(check_count(e, "N", N));
  GM_TRY(check_count(e, "C", C));
  GM_TRY(check_product(e, "x", N, C, sizeof(double)));
  if (weights != 1 && weights != C)
    return fail(e, GM_INVALID_ARGUMENT, "weights", "weights is %lld; expected 1 or %lld, a feature each",
                static_cast<long long>(weights), static_cast<long long>(C));
  if (!weight) return fail(e, GM_INVALID_ARGUMENT, "weight", "weight is null");
  return GM_OK;
}

gm_status gm_prelu_forward(gm_dtype dtype, int64_t N, int64_t C, int64_t weights, const void* x,
                           const void* weight, void* y, gm_error* e) {
  GM_TRY(check_prelu(e, dtype, N, C, weights, weight));
  with_type(dtype, [&](auto zero) {
    using T = decltype(zero);
    parallel_apart(team_for(N * C, kElementsPerThread), [&](Team team) {
      const Range r = team.share(N);
      of<T>(kernels()).prelu_forward(r.size(), C, weights == 1, static_cast<const T*>(x) + r.begin * C,
                                     static_cast<const T*>(weight), static_cast<T*>(y) + r.begin * C);
    });
  });
  return ok(e);
}

gm_status gm_prelu_backward(gm_dtype dtype, int64_t N, int64_t C, int64_t weights, const void* x,
                            const void* weight, const void* dy, void* dx, void* dweight, int accumulate,
                            gm_error* e) {
  GM_TRY(check_prelu(e, dtype, N, C, weights, weight));
  with_type(dtype, [&](auto zero) {
    using T = decltype(zero);
    const Kernels<T>& k = of<T>(kernels());
    const T *xs = static_cast<const T*>(x), *dys = static_cast<const T*>(dy);
    parallel(team_for(N * C, kElementsPerThread), [&](Team team) {
      const Range r = team.share(N), c = team.share(C, 16);
      if (dweight) {
        k.prelu_parameters(N, C, weights == 1, xs, dys, c.begin, c.end, static_cast<T*>(dweight),
                           accumulate != 0);
        if (dx == dy) team.barrier();
      }
      if (dx)
        k.prelu_backward(r.size(), C, weights == 1, xs + r.begin * C, static_cast<const T*>(weight),
                         dys + r.begin * C, static_cast<T*>(dx) + r.begin * C);
    });
  });
  return ok(e);
}

// ---- softmax

gm_status gm_softmax_forward(gm_dtype dtype, int64_t N, int64_t C, const void* x, void* y, gm_error* e) {
  return share_rows(dtype, N, C, e, [=](const auto& k, Range r) {
    k.softmax_forward(r.size(), C, from_row(k, x, r.begin, C), from_row(k, y, r.begin, C));
  });
}
gm_status gm_softmax_backward(gm_dtype dtype, int64_t N, int64_t C, const void* y, const void* dy, void* dx,
                              gm_error* e) {
  return share_rows(dtype, N, C, e, [=](const auto& k, Range r) {
    k.softmax_backward(r.size(), C, from_row(k, y, r.begin, C), from_row(k, dy, r.begin, C),
                       from_row(k, dx, r.begin, C));
  });
}
gm_status gm_log_softmax_forward(gm_dtype dtype, int64_t N, int64_t C, const void* x, void* y, gm_error* e) {
  return share_rows(dtype, N, C, e, [=](const auto& k, Range r) {
    k.log_softmax_forward(r.size(), C, from_row(k, x, r.begin, C), from_row(k, y, r.begin, C));
  });
}
gm_status gm_log_softmax_backward(gm_dtype dtype, int64_t N, int64_t C, const void* y, const void* dy,
                                  void* dx, gm_error* e) {
  return share_rows(dtype, N, C, e, [=](const auto& k, Range r) {
    k.log_softmax_backward(r.size(), C, from_row(k, y, r.begin, C), from_row(k, dy, r.begin, C),
                           from_row(k, dx, r.begin, C));
  });
}

gm_status gm_dropout(gm_dtype dtype, int64_t n, const void* x, double p, uint64_t seed, uint32_t step,
                     uint32_t node, void* y, gm_error* e) {
  if (!(p >= 0 && p <= 1)) return fail(e, GM_INVALID_ARGUMENT, "p", "p is %g; expected 0 to 1", p);
  return share_rows(dtype, n, 1, e, [=](const auto& k, Range r) {
    k.dropout(r.size(), r.begin, {p, seed, step, node}, from_row(k, x, r.begin, 1),
              from_row(k, y, r.begin, 1));
  });
}

// ---- losses

int gm_loss_count(void) { return kernels().loss_count; }
const char* gm_loss_name(int i) { return i >= 0 && i < gm_loss_count() ? kernels().losses[i].name : nullptr; }
int gm_loss_find(const char* name) { return find(kernels().losses, kernels().loss_count, name); }
gm_target gm_loss_target(int i) {
  return i >= 0 && i < gm_loss_count() && kernels().losses[i].target == Target::classes ? GM_CLASSES
                                                                                        : GM_VALUES;
}

int gm_loss_parameters(int i, const gm_parameter** parameters) {
  static const ParameterTable table(kernels().losses, kernels().loss_count);
  return table.row(i, parameters);
}

gm_status gm_loss(int i, gm_dtype dtype, int64_t N, int64_t C, const void* y, const void* target,
                  const double* params, const double* class_weights, double* value, void* dy, gm_error* e) {
  GM_TRY(check_index(e, "loss", i, gm_loss_count()));
  GM_TRY(check_dtype(e, dtype));
  GM_TRY(check_count(e, "N", N));
  if (C < 1)
    return fail(e, GM_INVALID_ARGUMENT, "C", "C is %lld; expected 1 or more features",
                static_cast<long long>(C));
  const Loss& loss = kernels().losses[i];
  double p[kMaxParameters];
  GM_TRY(resolve(loss, params, p, e));
  GM_TRY(check_class_weights(loss, C, class_weights, e));
  GM_TRY(check_target(loss, N, C, target, e));
  const double mean_over = sum_of_weights(loss, target, N, class_weights);
  double* rows = static_cast<double*>(allocate(N * static_cast<int64_t>(sizeof(double))));
  if (!rows) return out_of_memory(e, "loss", N * static_cast<int64_t>(sizeof(double)));
  with_type(dtype, [&](auto zero) {
    using T = decltype(zero);
    const T* t = static_cast<const T*>(target);
    const int64_t* classes = static_cast<const int64_t*>(target);
    parallel_apart(team_for(N * C, kElementsPerThread / 4), [&](Team team) {
      Range r = team.share(N);
      LossArgs<T> a = {r.size(),
                       C,
                       static_cast<const T*>(y) + r.begin * C,
                       loss.target == Target::classes ? static_cast<const void*>(classes + r.begin)
                                                      : static_cast<const void*>(t + r.begin * C),
                       loss.mean_over_rows && N > 0 ? 1 / mean_over : 1,
                       rows + r.begin,
                       dy ? static_cast<T*>(dy) + r.begin * C : nullptr,
                       p,
                       class_weights};
      run_loss(loss, a);
    });
  });
  if (value) *value = total_loss(loss, rows, N, mean_over);
  free(rows);
  return ok(e);
}

// ---- optimisers

int gm_optimizer_count(void) { return kernels().optimizer_count; }
const char* gm_optimizer_name(int i) {
  return i >= 0 && i < gm_optimizer_count() ? kernels().optimizers[i].name : nullptr;
}
int gm_optimizer_find(const char* name) {
  return find(kernels().optimizers, kernels().optimizer_count, name);
}
int gm_optimizer_slots(int i) {
  return i >= 0 && i < gm_optimizer_count() ? kernels().optimizers[i].slot_count : 0;
}
int gm_optimizer_parameters(int i, const gm_parameter** parameters) {
  static const ParameterTable table(kernels().optimizers, kernels().optimizer_count);
  return table.row(i, parameters);
}

gm_status gm_optimizer_step(int i, gm_dtype dtype, int64_t n, void* parameters, const void* gradients,
                            void* slots, double learning_rate, int64_t step, const double* params,
                            gm_error* e) {
  GM_TRY(check_index(e, "optimizer", i, gm_optimizer_count()));
  GM_TRY(check_dtype(e, dtype));
  GM_TRY(check_count(e, "n", n));
  const Optimizer& optimizer = kernels().optimizers[i];
  double p[kMaxParameters];
  GM_TRY(resolve(optimizer, params, p, e));
  GM_TRY(check_rate(learning_rate, step, e));
  with_type(dtype, [&](auto zero) {
    using T = decltype(zero);
    parallel_apart(team_for(n, kElementsPerThread), [&](Team team) {
      step_range(optimizer, team.share(n, 1024), n, static_cast<T*>(parameters),
                 static_cast<const T*>(gradients), static_cast<T*>(slots), learning_rate, step, p);
    });
  });
  return ok(e);
}

// ---- measurement

gm_status gm_measure(gm_dtype dtype, int64_t n, const void* x, gm_moments* out, gm_error* e) {
  GM_TRY(check_dtype(e, dtype));
  GM_TRY(check_count(e, "n", n));
  if (!out) return fail(e, GM_INVALID_ARGUMENT, "out", "out is null");
  with_type(dtype, [&](auto zero) {
    using T = decltype(zero);
    Moments m;
    of<T>(kernels()).moments(n, static_cast<const T*>(x), &m);
    *out = {m.count, m.zeros,       m.subnormals, m.nans, m.infs,
            m.sum,   m.sum_squares, m.max_abs,    m.norm, m.deviation};
  });
  return ok(e);
}

}  // extern "C"
