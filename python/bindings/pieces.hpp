// Long native calls in pieces, so that Ctrl-C is seen within some 20 ms: a kernel call cannot be left
// halfway. The bits are those of one call, for an element's do not depend on where it stands or on the rows
// beside it. A small call is one piece and costs nothing more.
#pragma once
#include <gradiometer/gradiometer.h>

#include <algorithm>

#include "arrays.hpp"

// Elements of an activation for each thread (at most 14 ns an element, without vectors), enough for them to
// go past the caches (loops/map.hpp); and flops of a product.
inline std::int64_t piece_of_activation() { return std::int64_t{gm_threads()} << 22; }
constexpr double kFlopsPerPiece = 4.4e9;

// f(first, count, error) over n items, `piece` at a time, without the GIL: it touches no Python object, the
// arrays are held by the caller's frame. Between pieces Python's signal handlers run; an exception of theirs
// ends it.
template <class F>
void in_pieces(std::int64_t n, std::int64_t piece, F f) {
  for (std::int64_t first = 0;; first += piece) {
    if (first > 0 && PyErr_CheckSignals()) throw py::error_already_set();
    Error e;
    gm_status status;
    {
      Unlocked elsewhere;
      status = f(first, std::min(piece, n - first), e);
    }
    check(status, e);
    if (n - first <= piece) return;
  }
}

// How many of n rows (or columns) make a piece, where one costs `flops`: in whole blocks of 256, which
// packing the other factor anew for each piece is small beside.
inline std::int64_t piece_of(std::int64_t n, double flops) {
  if (flops * static_cast<double>(n) <= 1.5 * kFlopsPerPiece) return std::max<std::int64_t>(n, 1);
  return std::max<std::int64_t>(1, static_cast<std::int64_t>(kFlopsPerPiece / flops / 256)) * 256;
}

// gm_gemm of whole matrices, tile by tile.
inline void gemm_in_pieces(gm_form form, gm_dtype dtype, std::int64_t M, std::int64_t N, std::int64_t K,
                           const void* a, std::int64_t lda, const void* b, std::int64_t ldb, void* c,
                           std::int64_t ldc, bool accumulate) {
  const std::int64_t size = dtype == GM_FLOAT32 ? 4 : 8;
  const std::int64_t columns =
      piece_of(N, 2.0 * static_cast<double>(K) * static_cast<double>(std::min<std::int64_t>(M, 2048)));
  const std::int64_t a_step = form == GM_TN ? size : lda * size, b_step = form == GM_NT ? ldb * size : size;
  const std::int64_t rows =
      piece_of(M, 2.0 * static_cast<double>(K) * static_cast<double>(std::min(columns, N)));
  for (std::int64_t n = 0; n < N || n == 0; n += columns) {
    if (n > 0 && PyErr_CheckSignals()) throw py::error_already_set();
    in_pieces(M, rows, [&](std::int64_t m, std::int64_t count, Error& e) {
      return gm_gemm(form, dtype, count, std::min(columns, N - n), K,
                     static_cast<const char*>(a) + m * a_step, lda, static_cast<const char*>(b) + n * b_step,
                     ldb, static_cast<char*>(c) + (m * ldc + n) * size, ldc, accumulate, &e);
    });
  }
}
