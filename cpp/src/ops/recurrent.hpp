// Cells of recurrent networks: one step of some samples, forward and backward side by side. The walk through
// time and the products with the weights are recurrent.hpp. Contract: Cell in kernel_table.hpp.
//
// A cell's row holds `width` planes of H values. The walk writes pre-activations there; forward leaves what
// backward reads. Of a tanh its pre-activation a, for tanh' = 4 e / (1 + e)², e = exp(-2 |a|): 1 - tanh² has
// lost all digits at 9.02. Of a sigmoid m, the smaller of σ(a) and σ(-a), with the sign of a: σ is |m| or
// 1 - |m| and σ' = |m| (1 - |m|), where nothing cancels, with no exp and no division. LSTM, float32, AVX-512:
// forward 0.96 and backward 0.83 ns a unit; with pre-activations kept 0.75 and 1.40.
#pragma once
#include "kernel_table.hpp"
#include "math/logistic.hpp"
#include "ops/group_norm.hpp"
#include "simd/lanes.hpp"

namespace gradiometer {
namespace GM_ISA {

template <class T>
struct Gate {
  V<T> m;
  static Gate of(V<T> a) { return {copysign(sigmoid(-abs(a)), a)}; }
  V<T> rest() const { return V<T>::set1(T(1)) - abs(m); }
  M<T> below() const { return lt(copysign(V<T>::set1(T(1)), m), V<T>::set1(T(0))); }
  V<T> value() const { return select(below(), abs(m), rest()); }
  V<T> complement() const { return select(below(), rest(), abs(m)); }  // 1 - σ(a)
  V<T> slope() const { return abs(m) * rest(); }
};
// What a step works on, at unit j of sample n.
template <class T, class Lanes>
struct Row {
  T* row;
  int64_t H, j;
  Lanes lanes;
  V<T> get(int plane) const { return load(static_cast<const T*>(row) + plane * H + j, lanes); }
  void put(int plane, V<T> v) const { store(v, row + plane * H + j, lanes); }
};
template <class T, class F>
inline void each_unit(int64_t N, int64_t units, F f) {
  for (int64_t n = 0; n < N; n++)
    for_lanes<V<T>::lanes>(units, [&](int64_t j, auto lanes) { f(n, j, lanes); });
}

// What backward sees of a sample (CellBackward::seen), and what it does where nobody looks.
template <class T>
class Seen {
 public:
  template <class Lanes>
  void square(int what, V<T> v, Lanes lanes) {
    const V<T> a = within(v, V<T>::set1(T(0)), lanes);
    V<double>& s = squares_[what];
    if constexpr (sizeof(T) == 8) {
      s = fma(a, a, s);
    } else {
      const V<double> low = widen_low(a);
      s = fma(low, low, s);
      if constexpr (V<T>::lanes > V<double>::lanes) {
        const V<double> high = widen_high(a);
        s = fma(high, high, s);
      }
    }
  }
  // The value of gate k, and the bounds from which on it counts as low or high.
  template <class Lanes>
  void gate(int k, V<T> value, double least, double most, Lanes lanes) {
    const V<T> zero = V<T>::set1(T(0)), middle = V<T>::set1(T(least + 0.5));
    const V<T> v = within(value, middle, lanes);
    sum_[k] = sum_[k] + within(value, zero, lanes);
    low_[k] += count(le(v, V<T>::set1(T(least))));
    high_[k] += count(le(V<T>::set1(T(most)), v));
  }
  template <class Lanes>
  void sigmoid_gate(int k, V<T> value, Lanes lanes) {
    gate(k, value, 0.1, 0.9, lanes);
  }
  template <class Lanes>
  void tanh_gate(int k, V<T> value, Lanes lanes) {
    gate(k, value, -0.9, 0.9, lanes);
  }
  void put(int gates, double* out) const {
    for (int i = 0; i < kSeen; i++) out[i] = sum(squares_[i]);
    for (int k = 0; k < gates; k++) {
      out[kSeen + 3 * k] = static_cast<double>(sum(sum_[k]));
      out[kSeen + 3 * k + 1] = static_cast<double>(low_[k]);
      out[kSeen + 3 * k + 2] = static_cast<double>(high_[k]);
    }
  }

 private:
  V<double> squares_[kSeen] = {};
  V<T> sum_[4] = {};
  int64_t low_[4] = {}, high_[4] = {};
};
struct Unseen {};
// f(n, j, lanes, seen) for all units, where seen is a Seen<T> or Unseen, of rows of so many planes. The walk
// goes back through memory, and so do samples: the row before is asked for meanwhile. LSTM, 100 x 32 x 128,
// float32, half-width AVX-512: 3.6 ns a unit, then 2.6; one sample of 256 units 4.6 and 3.4.
template <int gates, int planes, int derivatives, class T, class F>
inline void each_unit_seen(const CellBackward<T>& s, F f) {
  const auto units = [&](int64_t n, auto& seen) {
    const T *const row = s.row + n * s.ld, *const drow = s.drow + n * s.ldd;
    for_lanes<V<T>::lanes>(s.units, [&](int64_t j, auto lanes) {
      for (int p = 0; p < planes; p++) __builtin_prefetch(row + p * s.H + j - s.ld);
      for (int p = 0; p < derivatives; p++) __builtin_prefetch(drow + p * s.H + j - s.ldd, 1);
      f(n, j, lanes, seen);
    });
  };
  for (int64_t n = s.N - 1; n >= 0; n--) {
    if (s.seen) {
      Seen<T> seen;
      units(n, seen);
      seen.put(gates, s.seen + n * s.seen_ld);
    } else {
      Unseen seen;
      units(n, seen);
    }
  }
}
template <class Look>  // decltype(seen)
constexpr bool looks = !__is_same(Look, Unseen&);

// i, f, o = σ, g = tanh; c = f c + i g; h = o tanh(c). Hochreiter, Schmidhuber 1997; forget gate: Gers 2000.
// Planes: i, f, g, o, the old c.
struct Lstm {
  static constexpr bool resets = false, norms = false;
  template <class T>
  static void forward(const CellForward<T>& s) {
    each_unit<T>(s.N, s.units, [&](int64_t n, int64_t j, auto lanes) {
      Row<T, decltype(lanes)> r{s.row + n * s.ld, s.H, j, lanes};
      T *c = s.c + n * s.H + j, *h = s.h + n * s.H + j;
      const auto i = Gate<T>::of(r.get(0)), f = Gate<T>::of(r.get(1)), o = Gate<T>::of(r.get(3));
      const V<T> old = load(static_cast<const T*>(c), lanes);
      const V<T> now = fma(f.value(), old, i.value() * tanh(r.get(2)));
      r.put(0, i.m);
      r.put(1, f.m);
      r.put(3, o.m);
      r.put(4, old);
      store(now, c, lanes);
      store(o.value() * tanh(now), h, lanes);
    });
  }
  template <class T>
  static void backward(const CellBackward<T>& s) {
    each_unit_seen<4, 5, 4>(s, [&](int64_t n, int64_t j, auto lanes, auto& seen) {
      Row<T, decltype(lanes)> r{s.row + n * s.ld, s.H, j, lanes}, d{s.drow + n * s.ldd, s.H, j, lanes};
      T* const dc = s.dc + n * s.H + j;
      const Gate<T> i{r.get(0)}, f{r.get(1)}, o{r.get(3)};
      const V<T> a = r.get(2), old = r.get(4), g = tanh(a), c = fma(f.value(), old, i.value() * g);
      const V<T> dh = load(static_cast<const T*>(s.dh) + n * s.H + j, lanes);
      const V<T> total = fma(dh * o.value(), tanh_slope(c), load(static_cast<const T*>(dc), lanes));
      if constexpr (looks<decltype(seen)>) {
        T* const path = s.path + n * s.H + j;
        const V<T> own = load(s.own + n * s.H + j, lanes);
        const V<T> kept = fma(own * o.value(), tanh_slope(c), load(static_cast<const T*>(path), lanes));
        store(kept * f.value(), path, lanes);
        seen.square(kSeenH, o.value() * tanh(c), lanes);
        seen.square(kSeenDh, dh, lanes);
        seen.square(kSeenC, c, lanes);
        seen.square(kSeenDc, total, lanes);
        seen.square(kSeenPath, kept, lanes);
        seen.square(kSeenRest, total - kept, lanes);
        seen.sigmoid_gate(0, i.value(), lanes);
        seen.sigmoid_gate(1, f.value(), lanes);
        seen.tanh_gate(2, g, lanes);
        seen.sigmoid_gate(3, o.value(), lanes);
      }
      d.put(0, total * g * i.slope());
      d.put(1, total * old * f.slope());
      d.put(2, total * i.value() * tanh_slope(a));
      d.put(3, dh * tanh(c) * o.slope());
      if (s.dc_total) store(total, s.dc_total + n * s.H + j, lanes);
      store(total * f.value(), dc, lanes);
    });
  }
  template <class T>
  static void show(const CellShow<T>& s) {
    each_unit<T>(s.N, s.H, [&](int64_t n, int64_t j, auto lanes) {
      Row<T, decltype(lanes)> r{s.row + n * s.ld, s.H, j, lanes}, out{s.gates + n * 4 * s.H, s.H, j, lanes};
      const Gate<T> i{r.get(0)}, f{r.get(1)}, o{r.get(3)};
      const V<T> g = tanh(r.get(2));
      out.put(0, i.value());
      out.put(1, f.value());
      out.put(2, g);
      out.put(3, o.value());
      if (s.c) store(fma(f.value(), r.get(4), i.value() * g), s.c + n * s.H + j, lanes);
    });
  }
};

// What backward sees of a GRU, a being n's pre-activation.
template <class T, class Lanes>
inline void look_at_gru(const CellBackward<T>& s, int64_t sample, int64_t j, Lanes lanes, Seen<T>& seen,
                        Gate<T> r, Gate<T> z, V<T> a, V<T> dh) {
  T* const path = s.path + sample * s.H + j;
  const V<T> kept = load(static_cast<const T*>(path), lanes) + load(s.own + sample * s.H + j, lanes);
  store(kept * z.value(), path, lanes);
  const V<T> h = fma(z.value(), load(s.h_old + sample * s.H + j, lanes), z.complement() * tanh(a));
  seen.square(kSeenH, h, lanes);
  seen.square(kSeenDh, dh, lanes);
  seen.square(kSeenPath, kept, lanes);
  seen.square(kSeenRest, dh - kept, lanes);
  seen.sigmoid_gate(0, r.value(), lanes);
  seen.sigmoid_gate(1, z.value(), lanes);
  seen.tanh_gate(2, tanh(a), lanes);
}

// r, z = σ; n = tanh(x-part + r q), q = U_n h + b; h = (1 - z) n + z h. Cho 2014, arXiv:1406.1078, in the
// form with the reset gate after the product, that of cuDNN and torch.nn.GRU. Planes: n, r, z, q.
struct Gru {
  static constexpr bool resets = false, norms = false;
  template <class T>
  static void forward(const CellForward<T>& s) {
    each_unit<T>(s.N, s.units, [&](int64_t n, int64_t j, auto lanes) {
      Row<T, decltype(lanes)> p{s.row + n * s.ld, s.H, j, lanes};
      T* const h = s.h + n * s.H + j;
      const auto r = Gate<T>::of(p.get(1)), z = Gate<T>::of(p.get(2));
      const V<T> a = fma(r.value(), p.get(3), p.get(0));
      p.put(0, a);
      p.put(1, r.m);
      p.put(2, z.m);
      store(fma(z.value(), load(static_cast<const T*>(h), lanes), z.complement() * tanh(a)), h, lanes);
    });
  }
  template <class T>
  static void backward(const CellBackward<T>& s) {
    each_unit_seen<3, 4, 4>(s, [&](int64_t n, int64_t j, auto lanes, auto& seen) {
      Row<T, decltype(lanes)> p{s.row + n * s.ld, s.H, j, lanes}, d{s.drow + n * s.ldd, s.H, j, lanes};
      T* const carried = s.dh + n * s.H + j;
      const Gate<T> r{p.get(1)}, z{p.get(2)};
      const V<T> a = p.get(0), dh = load(static_cast<const T*>(carried), lanes);
      const V<T> da = dh * z.complement() * tanh_slope(a);
      if constexpr (looks<decltype(seen)>) look_at_gru(s, n, j, lanes, seen, r, z, a, dh);
      d.put(0, da);
      d.put(1, da * p.get(3) * r.slope());
      d.put(2, dh * (load(s.h_old + n * s.H + j, lanes) - tanh(a)) * z.slope());
      d.put(3, da * r.value());
      store(dh * z.value(), carried, lanes);
    });
  }
  template <class T>
  static void show(const CellShow<T>& s) {
    each_unit<T>(s.N, s.H, [&](int64_t n, int64_t j, auto lanes) {
      Row<T, decltype(lanes)> p{s.row + n * s.ld, s.H, j, lanes}, out{s.gates + n * 3 * s.H, s.H, j, lanes};
      out.put(0, Gate<T>{p.get(1)}.value());
      out.put(1, Gate<T>{p.get(2)}.value());
      out.put(2, tanh(p.get(0)));
    });
  }
};

// n = tanh(x-part + U_n (r h) + b), else as Gru: the form of Cho 2014 itself, that of ONNX's
// linear_before_reset 0 and of Keras's reset_after False. Planes: r, z, n.
//
// With a = dL/dn's pre-activation and v = U_nᵀ a: dL/dr = v h, and the old h gets r v beside z dh and what
// comes by the pre-activations of r and z.
struct GruResetBefore {
  static constexpr bool resets = true, norms = false;
  template <class T>
  static void reset(const CellReset<T>& s) {
    each_unit<T>(s.N, s.units, [&](int64_t n, int64_t j, auto lanes) {
      Row<T, decltype(lanes)> p{s.row + n * s.ld, s.H, j, lanes};
      const auto r = Gate<T>::of(p.get(0));
      p.put(0, r.m);
      store(r.value() * load(s.h + n * s.H + j, lanes), s.rh + n * s.H + j, lanes);
    });
  }
  template <class T>
  static void forward(const CellForward<T>& s) {
    each_unit<T>(s.N, s.units, [&](int64_t n, int64_t j, auto lanes) {
      Row<T, decltype(lanes)> p{s.row + n * s.ld, s.H, j, lanes};
      T* const h = s.h + n * s.H + j;
      const auto z = Gate<T>::of(p.get(1));
      p.put(1, z.m);
      store(fma(z.value(), load(static_cast<const T*>(h), lanes), z.complement() * tanh(p.get(2))), h, lanes);
    });
  }
  template <class T>
  static void backward(const CellBackward<T>& s) {
    each_unit_seen<3, 3, 3>(s, [&](int64_t n, int64_t j, auto lanes, auto& seen) {
      Row<T, decltype(lanes)> p{s.row + n * s.ld, s.H, j, lanes}, d{s.drow + n * s.ldd, s.H, j, lanes};
      T* const carried = s.dh + n * s.H + j;
      const Gate<T> r{p.get(0)}, z{p.get(1)};
      const V<T> a = p.get(2), dh = load(static_cast<const T*>(carried), lanes);
      if constexpr (looks<decltype(seen)>) look_at_gru(s, n, j, lanes, seen, r, z, a, dh);
      d.put(1, dh * (load(s.h_old + n * s.H + j, lanes) - tanh(a)) * z.slope());
      d.put(2, dh * z.complement() * tanh_slope(a));
      store(dh * z.value(), carried, lanes);
    });
  }
  template <class T>
  static void reset_back(const CellResetBack<T>& s) {
    each_unit<T>(s.N, s.units, [&](int64_t n, int64_t j, auto lanes) {
      T* const dh = s.dh + n * s.H + j;
      const Gate<T> r{load(s.row + n * s.ld + j, lanes)};
      const V<T> h = load(s.h_old + n * s.H + j, lanes), v = load(s.drh + n * s.H + j, lanes);
      store(r.value() * h, s.rh + n * s.H + j, lanes);
      store(fma(r.value(), v, load(static_cast<const T*>(dh), lanes)), dh, lanes);
      store(v * h * r.slope(), s.drow + n * s.ldd + j, lanes);
    });
  }
  template <class T>
  static void show(const CellShow<T>& s) {
    each_unit<T>(s.N, s.H, [&](int64_t n, int64_t j, auto lanes) {
      Row<T, decltype(lanes)> p{s.row + n * s.ld, s.H, j, lanes}, out{s.gates + n * 3 * s.H, s.H, j, lanes};
      out.put(0, Gate<T>{p.get(0)}.value());
      out.put(1, Gate<T>{p.get(1)}.value());
      out.put(2, tanh(p.get(2)));
    });
  }
};

// h = φ(a), φ tanh or relu. Elman 1990. Plane: a.
struct TanhUnit {
  static constexpr double least = -0.9, most = 0.9;
  template <class T>
  static V<T> value(V<T> a) {
    return tanh(a);
  }
  template <class T>
  static V<T> slope(V<T> a) {
    return tanh_slope(a);
  }
};
struct ReluUnit {
  static constexpr double least = 0, most = __builtin_inf();
  template <class T>
  static V<T> value(V<T> a) {
    return max(V<T>::set1(T(0)), a);
  }
  template <class T>
  static V<T> slope(V<T> a) {
    const V<T> zero = V<T>::set1(T(0));
    return select(unordered(a, a), a, select(lt(zero, a), V<T>::set1(T(1)), zero));
  }
};
template <class Unit>
struct Rnn {
  static constexpr bool resets = false, norms = false;
  template <class T>
  static void forward(const CellForward<T>& s) {
    each_unit<T>(s.N, s.units, [&](int64_t n, int64_t j, auto lanes) {
      Row<T, decltype(lanes)> r{s.row + n * s.ld, s.H, j, lanes};
      store(Unit::value(r.get(0)), s.h + n * s.H + j, lanes);
    });
  }
  template <class T>
  static void backward(const CellBackward<T>& s) {
    each_unit_seen<1, 1, 1>(s, [&](int64_t n, int64_t j, auto lanes, auto& seen) {
      Row<T, decltype(lanes)> r{s.row + n * s.ld, s.H, j, lanes}, d{s.drow + n * s.ldd, s.H, j, lanes};
      const V<T> a = r.get(0), dh = load(static_cast<const T*>(s.dh) + n * s.H + j, lanes);
      if constexpr (looks<decltype(seen)>) {
        const V<T> h = Unit::value(a);
        seen.square(kSeenH, h, lanes);
        seen.square(kSeenDh, dh, lanes);
        seen.gate(0, h, Unit::least, Unit::most, lanes);
      }
      d.put(0, dh * Unit::slope(a));
    });
  }
  template <class T>
  static void show(const CellShow<T>& s) {
    each_unit<T>(s.N, s.H, [&](int64_t n, int64_t j, auto lanes) {
      Row<T, decltype(lanes)> r{s.row + n * s.ld, s.H, j, lanes}, out{s.gates + n * s.H, s.H, j, lanes};
      out.put(0, Unit::value(r.get(0)));
    });
  }
};

// The LSTM with layer norm of Ba, Kiros, Hinton 2016 (arXiv:1607.06450, appendix): gates = norm(W x) + norm(U
// h) + b, each norm over all four gates, c = f c + i g, h = o tanh(norm(c)). c itself is carried as it is.
// The shifts of the first two norms and b are one sum. Planes: norm(W x) and norm(U h) before their gains,
// four each, the old c, norm(c) before its gain.
//
// Statistics are float64, as in group_norm.hpp; what is normalised is rounded once. The gates are computed
// again in backward, which saves four of fourteen planes.
struct LstmNorm {
  static constexpr bool resets = false, norms = true;

  template <class T, class Lanes>
  struct Gates {
    Row<T, Lanes> row;
    const T* norm;
    V<T> of(int plane) const { return load(norm + plane * row.H + row.j, row.lanes); }
    V<T> before(int k) const {
      return fma(of(kNormX + k), row.get(k), fma(of(kNormH + k), row.get(4 + k), of(kNormBias + k)));
    }
    Gate<T> gate(int k) const { return Gate<T>::of(before(k)); }
    V<T> old() const { return row.get(8); }
    V<T> hat() const { return row.get(9); }
    V<T> within_tanh() const { return fma(of(kNormC), hat(), of(kNormShift)); }
  };
  template <class T, class Lanes>
  static Gates<T, Lanes> at(T* row, const T* norm, int64_t H, int64_t j, Lanes lanes) {
    return {{row, H, j, lanes}, norm};
  }
  // (x - mean) / sqrt(var + eps), and the second factor.
  template <class T>
  static double standardise(int64_t n, const T* x, T* y) {
    double mean, rstd;
    group_norm_statistics(n, true, kNormEps, x, &mean, &rstd);
    const V<double> m = V<double>::set1(mean), s = V<double>::set1(rstd);
    for_lanes<V<double>::lanes>(
        n, [&](int64_t i, auto lanes) { narrow((widen(x + i, lanes) - m) * s, y + i, lanes); });
    return rstd;
  }
  template <class T>
  static void keep(T* row, int64_t H, size_t which, double value) {
    __builtin_memcpy(reinterpret_cast<char*>(row + 10 * H) + which * sizeof value, &value, sizeof value);
  }
  template <class T>
  static double kept(const T* row, int64_t H, size_t which) {
    double value;
    __builtin_memcpy(&value, reinterpret_cast<const char*>(row + 10 * H) + which * sizeof value,
                     sizeof value);
    return value;
  }

  template <class T>
  static void enter(const CellEnter<T>& s) {
    for (int64_t n = 0; n < s.N; n++) {
      T* const row = s.row + n * s.ld;
      keep(row, s.H, 0, standardise(4 * s.H, row, row));
    }
  }
  template <class T>
  static void forward(const CellForward<T>& s) {
    for (int64_t n = 0; n < s.N; n++) {
      T *const row = s.row + n * s.ld, *const h = s.h + n * s.H, *const c = s.c + n * s.H;
      keep(row, s.H, 1, standardise(4 * s.H, row + 4 * s.H, row + 4 * s.H));
      for_lanes<V<T>::lanes>(s.H, [&](int64_t j, auto lanes) {
        const auto r = at(row, s.norm, s.H, j, lanes);
        const auto i = r.gate(0), f = r.gate(1), o = r.gate(3);
        const V<T> old = load(static_cast<const T*>(c) + j, lanes);
        r.row.put(8, old);
        store(fma(f.value(), old, i.value() * tanh(r.before(2))), c + j, lanes);
        store(o.value(), h + j, lanes);
      });
      keep(row, s.H, 2, standardise(s.H, static_cast<const T*>(c), row + 9 * s.H));
      for_lanes<V<T>::lanes>(s.H, [&](int64_t j, auto lanes) {
        const auto r = at(row, s.norm, s.H, j, lanes);
        store(load(static_cast<const T*>(h) + j, lanes) * tanh(r.within_tanh()), h + j, lanes);
      });
    }
  }

  // The derivative by x of a norm is rstd (d - sum d / n - y sum(d y) / n), d = dy gain, y the row before its
  // gain (group_norm.hpp).
  template <class T>
  struct Back {
    V<T> middle, dot, rstd;
    Back(int64_t n, const T* dy, const T* gain, const T* y, double factor) {
      double sum, product;
      two_sums_over(
          n,
          [=](int64_t i, auto lanes, V<double>& a, V<double>& b) {
            const V<double> d = widen(dy + i, lanes) * widen(gain + i, lanes);
            a = a + d;
            b = b + d * widen(y + i, lanes);
          },
          &sum, &product);
      middle = V<T>::set1(static_cast<T>(sum / static_cast<double>(n)));
      dot = V<T>::set1(static_cast<T>(product / static_cast<double>(n)));
      rstd = V<T>::set1(static_cast<T>(factor));
    }
    V<T> of(V<T> dy, V<T> gain, V<T> y) const { return fnma(y, dot, dy * gain - middle) * rstd; }
  };
  // Scratch: first what dc is multiplied with to give the derivatives by i, f, g before their functions, and
  // that by o; then those; f; the derivative by norm(c), and the part of it that is the step's own.
  template <class T>
  static void backward(const CellBackward<T>& s) {
    const int64_t H = s.H;
    const T* const row = s.row;
    T *const da = s.scratch, *const keep_f = da + 4 * H, *const dnorm = da + 5 * H, *const own = da + 6 * H;
    Seen<T> seen;
    for_lanes<V<T>::lanes>(H, [&](int64_t j, auto lanes) {
      const auto r = at(s.row, s.norm, H, j, lanes);
      const Row<T, decltype(lanes)> d{da, H, j, lanes};
      const auto i = r.gate(0), f = r.gate(1), o = r.gate(3);
      const V<T> a = r.before(2), g = tanh(a), u = r.within_tanh(), out = tanh(u), slope = tanh_slope(u);
      const V<T> dh = load(static_cast<const T*>(s.dh) + j, lanes);
      d.put(0, g * i.slope());
      d.put(1, r.old() * f.slope());
      d.put(2, i.value() * tanh_slope(a));
      d.put(3, dh * out * o.slope());
      store(f.value(), keep_f + j, lanes);
      store(dh * o.value() * slope, dnorm + j, lanes);
      if (s.seen) {
        store(load(s.own + j, lanes) * o.value() * slope, own + j, lanes);
        seen.square(kSeenH, o.value() * out, lanes);
        seen.square(kSeenDh, dh, lanes);
        seen.square(kSeenC, fma(f.value(), r.old(), i.value() * g), lanes);
        seen.sigmoid_gate(0, i.value(), lanes);
        seen.sigmoid_gate(1, f.value(), lanes);
        seen.tanh_gate(2, g, lanes);
        seen.sigmoid_gate(3, o.value(), lanes);
      }
    });
    const T *const hat = row + 9 * H, *const gain = s.norm + kNormC * H;
    const Back<T> by_c(H, dnorm, gain, hat, kept(row, H, 2));
    const Back<T> by_own(s.seen ? H : 0, own, gain, hat, kept(row, H, 2));
    for_lanes<V<T>::lanes>(H, [&](int64_t j, auto lanes) {
      const Row<T, decltype(lanes)> d{da, H, j, lanes};
      const V<T> dy = load(static_cast<const T*>(dnorm) + j, lanes), w = load(gain + j, lanes),
                 y = load(hat + j, lanes), f = load(static_cast<const T*>(keep_f) + j, lanes);
      const V<T> total = by_c.of(dy, w, y) + load(static_cast<const T*>(s.dc) + j, lanes);
      if (s.seen) {
        const V<T> part = by_own.of(load(static_cast<const T*>(own) + j, lanes), w, y) +
                          load(static_cast<const T*>(s.path) + j, lanes);
        store(part * f, s.path + j, lanes);
        seen.square(kSeenDc, total, lanes);
        seen.square(kSeenPath, part, lanes);
        seen.square(kSeenRest, total - part, lanes);
      }
      for (int k = 0; k < 3; k++) d.put(k, total * d.get(k));
      if (s.dc_total) store(total, s.dc_total + j, lanes);
      store(total * f, s.dc + j, lanes);
      if (s.sums) {
        const Row<T, decltype(lanes)> sum{s.sums, H, j, lanes};
        sum.put(kNormC, fma(dy, y, sum.get(kNormC)));
        sum.put(kNormShift, sum.get(kNormShift) + dy);
      }
    });
    if (s.seen) seen.put(4, s.seen);
    const T *const gain_x = s.norm + kNormX * H, *const gain_h = s.norm + kNormH * H;
    const Back<T> by_x(4 * H, da, gain_x, row, kept(row, H, 0));
    const Back<T> by_h(4 * H, da, gain_h, row + 4 * H, kept(row, H, 1));
    for_lanes<V<T>::lanes>(4 * H, [&](int64_t j, auto lanes) {
      const V<T> d = load(static_cast<const T*>(da) + j, lanes), x = load(row + j, lanes),
                 h = load(row + 4 * H + j, lanes);
      store(by_x.of(d, load(gain_x + j, lanes), x), s.drow + j, lanes);
      store(by_h.of(d, load(gain_h + j, lanes), h), s.drow + 4 * H + j, lanes);
      if (s.sums) {
        const auto add = [&](int plane, V<T> y) {
          T* const sum = s.sums + plane * H + j;
          store(fma(d, y, load(static_cast<const T*>(sum), lanes)), sum, lanes);
        };
        add(kNormBias, V<T>::set1(T(1)));
        add(kNormX, x);
        add(kNormH, h);
      }
    });
  }
  template <class T>
  static void show(const CellShow<T>& s) {
    each_unit<T>(s.N, s.H, [&](int64_t n, int64_t j, auto lanes) {
      const auto r = at(s.row + n * s.ld, s.norm, s.H, j, lanes);
      const Row<T, decltype(lanes)> out{s.gates + n * 4 * s.H, s.H, j, lanes};
      const auto i = r.gate(0), f = r.gate(1);
      const V<T> g = tanh(r.before(2));
      out.put(0, i.value());
      out.put(1, f.value());
      out.put(2, g);
      out.put(3, r.gate(3).value());
      if (s.c) store(fma(f.value(), r.old(), i.value() * g), s.c + n * s.H + j, lanes);
    });
  }
};

template <class... Ops>
struct CellList {};
// In the order of gm_cell.
using AllCells = CellList<Lstm, Gru, Rnn<TanhUnit>, Rnn<ReluUnit>, GruResetBefore, LstmNorm>;

}  // namespace GM_ISA
}  // namespace gradiometer
