// Recurrent layers: arrays checked together, memory given, one native call.
#include <gradiometer/gradiometer.h>

#include <atomic>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <new>
#include <optional>

#ifdef __linux__
#include <sys/mman.h>
#endif

#include "arrays.hpp"
#include "parameters.hpp"

namespace {

const char* const kCells[] = {"lstm", "gru", "rnn_tanh", "rnn_relu", "gru_reset_before", "lstm_norm"};
const int kGates[] = {4, 3, 1, 1, 3, 4};

gm_cell cell_of(const std::string& name) {
  for (int i = 0; i < 6; i++)
    if (name == kCells[i]) return static_cast<gm_cell>(i);
  throw py::value_error("cell is '" + name + "'; expected 'lstm', 'lstm_norm', 'gru', 'gru_reset_before', " +
                        "'rnn_tanh' or 'rnn_relu'");
}

// A layer's weights of `recurrent.pack`.
struct PackedRecurrent {
  gm_recurrent_packed* handle = nullptr;
  gm_cell cell;
  gm_dtype dtype;
  py::ssize_t I, H, P;
  PackedRecurrent(gm_cell cell_, gm_dtype dtype_, py::ssize_t I_, py::ssize_t H_, py::ssize_t P_)
      : cell(cell_), dtype(dtype_), I(I_), H(H_), P(P_) {}
  PackedRecurrent(const PackedRecurrent&) = delete;
  PackedRecurrent& operator=(const PackedRecurrent&) = delete;
  ~PackedRecurrent() { gm_recurrent_packed_free(handle); }
};

// The arrays that say what a layer is, or what was packed of them. weights: (weight_ih, weight_hh, bias_ih,
// bias_hh), biases may be None, and weight_hr where there is a projection; of "lstm_norm" instead
// norm_weight_ih, norm_weight_hh, norm_weight_c, norm_bias_c, each of which may be None.
struct Layer {
  gm_recurrent c = {};
  gm_dtype dtype;
  py::ssize_t T, N, I, H, P = 0, G;  // P: of the projection, 0 for none
  gm_recurrent_memory memory = {};

  Layer(const std::string& cell, const Shape& shape, gm_dtype dtype_, const py::object& weights_,
        py::handle lengths, bool reverse, std::int64_t recompute, bool batch_first)
      : dtype(dtype_), T(shape[batch_first]), N(shape[!batch_first]), I(shape[2]) {
    c.struct_size = sizeof c;
    c.cell = cell_of(cell);
    if (py::isinstance<PackedRecurrent>(weights_)) {
      const auto& packed = weights_.cast<const PackedRecurrent&>();
      if (packed.cell != c.cell || packed.dtype != dtype || packed.I != I)
        throw py::value_error("parameters were packed for " + std::string(kCells[packed.cell]) +
                              " and x of " + std::to_string(packed.I) + " " +
                              std::string(py::str(numpy_dtype(packed.dtype))) + " features; expected " +
                              kCells[c.cell] + " and " + std::to_string(I) + " " +
                              std::string(py::str(numpy_dtype(dtype))));
      c.packed = packed.handle;
      H = packed.H, P = packed.P;
      G = kGates[c.cell] * H;
    } else {
      keep_weights(weights_.cast<py::tuple>());
    }
    c.T = T, c.N = N, c.I = I, c.H = H, c.P = P;
    c.reverse = reverse;
    c.batch_first = batch_first;
    c.recompute = recompute;
    c.cancel = signals_pending;
    if (!lengths.is_none()) {
      lengths_ = py::reinterpret_borrow<py::object>(lengths);
      const py::array given = py::module_::import("numpy").attr("asarray")(lengths).cast<py::array>();
      if (given.dtype().kind() != 'i' && given.dtype().kind() != 'u')
        throw py::type_error("lengths has dtype " + std::string(py::str(given.dtype())) +
                             "; expected integers");
      expect_shape(given, "lengths", {N});
      lengths_ = py::module_::import("numpy").attr("array")(given, "int64");
      c.lengths = static_cast<const std::int64_t*>(lengths_.cast<py::array>().data());
    }
    memory.struct_size = sizeof memory;
    Error e;
    check(gm_recurrent_sizes(dtype, &c, &memory, &e), e);
  }
  py::ssize_t cache_size() const { return memory.cache / (dtype == GM_FLOAT32 ? 4 : 8); }
  bool memory_cell() const { return c.cell == GM_LSTM || c.cell == GM_LSTM_NORM; }
  // Of h.
  py::ssize_t features() const { return P ? P : H; }
  Shape states() const { return {N, features()}; }
  Shape memories() const { return {N, H}; }
  Shape by_step(py::ssize_t features) const {
    return c.batch_first ? Shape{N, T, features} : Shape{T, N, features};
  }
  Shape outputs() const { return by_step(features()); }

  // An array of the layer's type and that shape, held as long as the layer; null for None.
  const void* keep(py::handle a, const char* name, const Shape& shape) {
    const void* p = keep(a, name);
    expect_shape(kept_.back().array, name, shape);
    return p;
  }
  const void* optional(py::handle a, const char* name, const Shape& shape) {
    return a.is_none() ? nullptr : keep(a, name, shape);
  }
  py::array fresh(const Shape& shape) const { return py::array(numpy_dtype(dtype), shape); }
  py::array fresh_cache() const { return fresh({cache_size()}); }

 private:
  void keep_weights(const py::tuple& weights) {
    c.weight_hh = keep(weights[1], "weight_hh");
    expect_ndim(kept_[0].array, "weight_hh", 2);
    H = kept_[0].array.shape(1);
    const bool norms = c.cell == GM_LSTM_NORM;
    if (!norms && weights.size() > 4 && !weights[4].is_none()) {
      c.weight_hr = keep(weights[4], "weight_hr");
      expect_ndim(kept_[1].array, "weight_hr", 2);
      P = H, H = kept_[1].array.shape(1);
      expect_shape(kept_[1].array, "weight_hr", {P, H});
    }
    G = kGates[c.cell] * H;
    expect_shape(kept_[0].array, "weight_hh", {G, features()});
    c.weight_ih = keep(weights[0], "weight_ih", {G, I});
    if (!weights[2].is_none()) c.bias_ih = keep(weights[2], "bias_ih", {G});
    if (!weights[3].is_none()) c.bias_hh = keep(weights[3], "bias_hh", {G});
    if (!norms || weights.size() < 8) return;
    c.norm_weight_ih = optional(weights[4], "norm_weight_ih", {G});
    c.norm_weight_hh = optional(weights[5], "norm_weight_hh", {G});
    c.norm_weight_c = optional(weights[6], "norm_weight_c", {H});
    c.norm_bias_c = optional(weights[7], "norm_bias_c", {H});
  }
  const void* keep(py::handle a, const char* name) {
    kept_.push_back(input(a, name, dtype));
    return kept_.back().data();
  }
  std::vector<Input> kept_;
  py::object lengths_;
};

struct Free {
  void operator()(void* p) const { std::free(p); }
};
using Memory = std::unique_ptr<void, Free>;
// In huge pages where it is much and the system has them, as NumPy does: training 50 x 16 x 1024 with float32
// on one thread, half-width AVX-512, 422 ms and 410.
Memory memory_of(std::size_t size) {
  constexpr std::size_t kHugePage = std::size_t{2} << 20;
  const bool much = size >= 2 * kHugePage;
  void* p = nullptr;
  if (posix_memalign(&p, much ? kHugePage : 64, size)) throw std::bad_alloc();
#ifdef MADV_HUGEPAGE
  if (much) madvise(p, size, MADV_HUGEPAGE);  // may be refused
#endif
  return Memory(p);
}

// Memory for one call that the next one finds again, up to 64 MiB: fresh, it cost 1500 page faults a call of
// 100 x 32 x 128.
class Workspace {
 public:
  explicit Workspace(std::int64_t bytes) : block_(kept().exchange(nullptr)) {
    const std::size_t size = static_cast<std::size_t>(bytes);
    if (!block_ || block_->size < size) block_.reset(new Block{size, memory_of(size)});
  }
  ~Workspace() {
    if (block_->size <= std::size_t{64} << 20) delete kept().exchange(block_.release());
  }
  Workspace(const Workspace&) = delete;
  Workspace& operator=(const Workspace&) = delete;
  void* data() { return block_->memory.get(); }

 private:
  struct Block {
    std::size_t size;
    Memory memory;
  };
  static std::atomic<Block*>& kept() {
    static std::atomic<Block*> one{nullptr};
    return one;
  }
  std::unique_ptr<Block> block_;
};

// y or dy (T, N, H) or (N, T, H), where it lies if its rows are equally far apart, as in a slice of the last
// axis; else a copy.
struct Outputs {
  py::array array;
  std::int64_t stride;
  static bool lies_well(const py::array& a, gm_dtype dtype, const Shape& shape) {
    if (!a.dtype().is(numpy_dtype(dtype)) || Shape(a.shape(), a.shape() + a.ndim()) != shape) return false;
    const py::ssize_t size = a.itemsize(), H = shape[2];
    return (a.flags() & py::detail::npy_api::NPY_ARRAY_ALIGNED_) && a.strides(2) == size &&
           a.strides(1) % size == 0 && a.strides(1) >= H * size && a.strides(0) == shape[1] * a.strides(1);
  }
  Outputs(py::handle a, const char* name, gm_dtype dtype, const Shape& shape, bool as_it_lies) {
    if (as_it_lies && py::isinstance<py::array>(a)) array = py::reinterpret_borrow<py::array>(a);
    if (as_it_lies && lies_well(array, dtype, shape)) {
      stride = array.strides(1) / array.itemsize();
      return;
    }
    array = input(a, name, dtype).array;
    expect_shape(array, name, shape);
    stride = shape[2];
  }
};
// The array that forward writes: `out`, or a new one.
Outputs written(py::handle out, gm_dtype dtype, const Shape& shape) {
  if (out.is_none()) return Outputs(py::array(numpy_dtype(dtype), shape), "out", dtype, shape, true);
  const bool right = py::isinstance<py::array>(out) &&
                     Outputs::lies_well(py::reinterpret_borrow<py::array>(out), dtype, shape) &&
                     py::reinterpret_borrow<py::array>(out).writeable();
  if (!right)
    throw py::value_error("out is not a writable " + std::string(py::str(numpy_dtype(dtype))) +
                          " array of shape " + shape_text(shape) + " with rows equally far apart");
  return Outputs(out, "out", dtype, shape, true);
}

// Layers of one direction above each other, a step at a time: weights packed once, the state kept.
class Stepper {
 public:
  py::array h;
  py::object c;
  Stepper(const std::string& cell, const py::list& layers, py::ssize_t N) {
    const gm_dtype dtype = input(layers[0].cast<py::tuple>()[0], "weight_ih").dtype;
    py::ssize_t features = 0;
    for (const py::handle each : layers) {
      const py::tuple weights = each.cast<py::tuple>();
      Input weight_ih = input(weights[0], "weight_ih", dtype);
      expect_ndim(weight_ih.array, "weight_ih", 2);
      if (layers_.empty()) features = weight_ih.array.shape(1);
      layers_.push_back(
          std::make_unique<Layer>(cell, Shape{1, N, features}, dtype, weights, py::none(), false, 0, false));
      Layer& l = *layers_.back();
      memory_.emplace_back(new unsigned char[static_cast<std::size_t>(l.memory.stepper)]);
      features = l.features();
    }
    const Layer& first = *layers_[0];
    for (const auto& l : layers_)
      if (l->H != first.H || l->P != first.P)
        throw py::value_error("weight_hh differs in size between layers");
    const py::ssize_t n = static_cast<py::ssize_t>(layers_.size());
    h = first.fresh({n, N, first.features()});
    c = first.memory_cell() ? py::object(first.fresh({n, N, first.H})) : py::none();
    reset();
    pack();
  }
  void reset() {
    std::memset(h.mutable_data(), 0, static_cast<std::size_t>(h.nbytes()));
    if (!c.is_none()) {
      py::array a = c.cast<py::array>();
      std::memset(a.mutable_data(), 0, static_cast<std::size_t>(a.nbytes()));
    }
  }
  void pack() {
    Error e;
    for (std::size_t i = 0; i < layers_.size(); i++)
      check(gm_recurrent_step_pack(layers_[i]->dtype, &layers_[i]->c, memory_[i].get(), &e), e);
  }
  py::array step(py::handle x_) {
    const Layer& first = *layers_[0];
    const Input x = input(x_, "x", first.dtype);
    expect_shape(x.array, "x", {first.N, first.I});
    const std::int64_t size = first.N * first.features() * h.itemsize(),
                       memory = first.N * first.H * h.itemsize();
    char* hp = static_cast<char*>(h.mutable_data());
    char* cp =
        c.is_none() ? nullptr : static_cast<char*>(py::reinterpret_borrow<py::array>(c).mutable_data());
    const void* from = x.data();
    Error e;
    for (std::size_t i = 0; i < layers_.size(); i++) {
      check(gm_recurrent_step(first.dtype, &layers_[i]->c, memory_[i].get(), from, hp, cp, &e), e);
      from = hp;
      hp += size;
      if (cp) cp += memory;
    }
    py::array y = first.fresh({first.N, first.features()});
    std::memcpy(y.mutable_data(), from, static_cast<std::size_t>(size));
    return y;
  }

 private:
  std::vector<std::unique_ptr<Layer>> layers_;
  std::vector<std::unique_ptr<unsigned char[]>> memory_;
};

Shape sequence(const Input& x) {
  expect_ndim(x.array, "x", 3);
  return Shape(x.array.shape(), x.array.shape() + 3);
}

// run(error) without the GIL: it touches no Python object.
template <class F>
void native(F run) {
  Error e;
  gm_status status;
  {
    Unlocked elsewhere;
    status = run(&e);
  }
  check(status, e);
}

}  // namespace

void bind_recurrent(py::module_& m) {
  py::class_<PackedRecurrent>(m, "PackedRecurrent")
      .def_property_readonly("shape", [](const PackedRecurrent& p) { return py::make_tuple(p.I, p.H, p.P); });
  m.def(
      "recurrent_pack",
      [](const std::string& cell, py::tuple weights) {
        Input weight_ih = input(weights[0], "weight_ih");
        expect_ndim(weight_ih.array, "weight_ih", 2);
        Layer l(cell, {0, 0, weight_ih.array.shape(1)}, weight_ih.dtype, weights, py::none(), false, 0,
                false);
        auto packed = std::make_unique<PackedRecurrent>(l.c.cell, l.dtype, l.I, l.H, l.P);
        native([&](Error* e) { return gm_recurrent_pack(l.dtype, &l.c, &packed->handle, e); });
        return packed;
      },
      py::arg("cell"), py::arg("weights"));
  py::class_<Stepper>(m, "RecurrentStepper")
      .def(py::init<const std::string&, const py::list&, py::ssize_t>(), py::arg("cell"), py::arg("layers"),
           py::arg("batch"))
      .def("step", &Stepper::step, py::arg("x"))
      .def("reset", &Stepper::reset)
      .def("pack", &Stepper::pack)
      .def_readonly("h", &Stepper::h)
      .def_readonly("c", &Stepper::c);

  m.def(
      "recurrent_forward",
      [](const std::string& cell, py::object x_, py::object weights, py::object h0_, py::object c0_,
         py::object lengths, py::object reverse, py::object recompute, py::object training_, py::object out,
         py::object batch_first) {
        const bool training = flag(training_, "training");
        Input x = input(x_, "x");
        Layer l(cell, sequence(x), x.dtype, weights, lengths, flag(reverse, "reverse"),
                whole(recompute, "recompute"), flag(batch_first, "batch_first"));
        const void *h0 = l.optional(h0_, "h0", l.states()), *c0 = l.optional(c0_, "c0", l.memories());
        Outputs y = written(out, l.dtype, l.outputs());
        l.c.y_stride = y.stride;
        py::array h_n = l.fresh(l.states());
        Workspace work(l.memory.forward);
        py::object c_n = l.memory_cell() ? py::object(l.fresh(l.memories())) : py::none();
        py::object cache = training ? py::object(l.fresh_cache()) : py::none();
        void *yp = y.array.mutable_data(), *hp = h_n.mutable_data(), *wp = work.data();
        void* cp = c_n.is_none() ? nullptr : c_n.cast<py::array>().mutable_data();
        void* kp = training ? cache.cast<py::array>().mutable_data() : nullptr;
        native([&](Error* e) {
          return gm_recurrent_forward(l.dtype, &l.c, x.data(), h0, c0, yp, hp, cp, kp, wp, e);
        });
        return py::make_tuple(y.array, h_n, c_n, cache);
      },
      py::arg("cell"), py::arg("x"), py::arg("weights"), py::arg("h0") = py::none(),
      py::arg("c0") = py::none(), py::arg("lengths") = py::none(), py::arg("reverse") = false,
      py::arg("recompute") = 0, py::arg("training") = true, py::arg("out") = py::none(),
      py::arg("batch_first") = false);

  m.def(
      "recurrent_backward",
      [](const std::string& cell, py::object x_, py::tuple weights, py::object y_, py::object cache_,
         py::object dy, py::object dh_n, py::object dc_n, py::object h0_, py::object lengths,
         py::object reverse, py::object recompute, bool steps, py::object batch_first, bool measure,
         bool from_end, bool by_x, bool by_weights) {
        Input x = input(x_, "x");
        Layer l(cell, sequence(x), x.dtype, weights, lengths, flag(reverse, "reverse"),
                whole(recompute, "recompute"), flag(batch_first, "batch_first"));
        const void* h0 = l.optional(h0_, "h0", l.states());
        const void* cache = l.keep(cache_, "cache", {l.cache_size()});
        gm_recurrent_gradients g = {};
        g.struct_size = sizeof g;
        std::optional<Outputs> y(std::in_place, y_, "y", l.dtype, l.outputs(), true), d;
        if (!dy.is_none()) d.emplace(dy, "dy", l.dtype, l.outputs(), true);
        if (d && d->stride != y->stride) {
          y.emplace(y_, "y", l.dtype, l.outputs(), false);
          d.emplace(dy, "dy", l.dtype, l.outputs(), false);
        }
        l.c.y_stride = y->stride;
        g.dy = d ? d->array.data() : nullptr;
        const void* yp = y->array.data();
        g.dh_n = l.optional(dh_n, "dh_n", l.states());
        g.dc_n = l.optional(dc_n, "dc_n", l.memories());
        py::dict out;
        auto made = [&](const char* name, const Shape& shape) {
          py::array a = l.fresh(shape);
          out[name] = a;
          return a.mutable_data();
        };
        if (by_x) g.dx = made("dx", l.by_step(l.I));
        if (by_weights) {
          g.dweight_ih = made("dweight_ih", {l.G, l.I});
          g.dweight_hh = made("dweight_hh", {l.G, l.features()});
          if (l.P) g.dweight_hr = made("dweight_hr", {l.P, l.H});
          if (l.c.bias_ih) g.dbias_ih = made("dbias_ih", {l.G});
          if (l.c.bias_hh) g.dbias_hh = made("dbias_hh", {l.G});
          if (l.c.norm_weight_ih) g.dnorm_weight_ih = made("dnorm_weight_ih", {l.G});
          if (l.c.norm_weight_hh) g.dnorm_weight_hh = made("dnorm_weight_hh", {l.G});
          if (l.c.norm_weight_c) g.dnorm_weight_c = made("dnorm_weight_c", {l.H});
          if (l.c.norm_bias_c) g.dnorm_bias_c = made("dnorm_bias_c", {l.H});
        }
        g.dh0 = made("dh0", l.states());
        if (l.memory_cell()) g.dc0 = made("dc0", l.memories());
        if (steps) g.dh = made("dh", l.outputs());
        if (steps && l.memory_cell()) g.dc = made("dc", l.by_step(l.H));
        gm_recurrent_steps sums = {};
        sums.struct_size = sizeof sums;
        sums.from_end = from_end;
        if (measure) {
          py::dict measured;
          auto row = [&](const char* name, const Shape& shape) {
            py::array_t<double> a(shape);
            measured[name] = a;
            return a.mutable_data();
          };
          const Shape by_gate = {l.T, kGates[l.c.cell]};
          sums.rows = row("rows", {l.T});
          sums.h = row("h", {l.T}), sums.dh = row("dh", {l.T});
          if (l.memory_cell()) sums.c = row("c", {l.T}), sums.dc = row("dc", {l.T});
          if (kGates[l.c.cell] > 1) sums.path = row("path", {l.T}), sums.rest = row("rest", {l.T});
          sums.gate = row("gate", by_gate), sums.low = row("low", by_gate), sums.high = row("high", by_gate);
          g.steps = &sums;
          out["measured"] = measured;
        }
        Workspace work(l.memory.backward + (measure ? l.memory.steps : 0));
        void* wp = work.data();
        sums.workspace = static_cast<char*>(wp) + l.memory.backward;
        native([&](Error* e) {
          return gm_recurrent_backward(l.dtype, &l.c, x.data(), h0, yp, cache, &g, wp, e);
        });
        return out;
      },
      py::arg("cell"), py::arg("x"), py::arg("weights"), py::arg("y"), py::arg("cache"),
      py::arg("dy") = py::none(), py::arg("dh_n") = py::none(), py::arg("dc_n") = py::none(),
      py::arg("h0") = py::none(), py::arg("lengths") = py::none(), py::arg("reverse") = false,
      py::arg("recompute") = 0, py::arg("steps") = false, py::arg("batch_first") = false,
      py::arg("measure") = false, py::arg("from_end") = false, py::arg("by_x") = true,
      py::arg("by_weights") = true);

  m.def(
      "recurrent_gates",
      [](const std::string& cell, py::tuple weights, py::object y_, py::object cache_, py::object lengths,
         py::object reverse, py::object batch_first) {
        Input y = input(y_, "y"), weight_ih = input(weights[0], "weight_ih", y.dtype);
        expect_ndim(y.array, "y", 3);
        expect_ndim(weight_ih.array, "weight_ih", 2);
        Layer l(cell, {y.array.shape(0), y.array.shape(1), weight_ih.array.shape(1)}, y.dtype, weights,
                lengths, flag(reverse, "reverse"), 0, flag(batch_first, "batch_first"));
        expect_shape(y.array, "y", l.outputs());
        const void* cache = l.keep(cache_, "cache", {l.cache_size()});
        py::array gates = l.fresh(l.by_step(l.G));
        Workspace work(l.memory.forward);
        py::object c = l.memory_cell() ? py::object(l.fresh(l.by_step(l.H))) : py::none();
        void *gp = gates.mutable_data(), *wp = work.data();
        void* cp = c.is_none() ? nullptr : c.cast<py::array>().mutable_data();
        native([&](Error* e) { return gm_recurrent_gates(l.dtype, &l.c, cache, gp, cp, wp, e); });
        return py::make_tuple(gates, c);
      },
      py::arg("cell"), py::arg("weights"), py::arg("y"), py::arg("cache"), py::arg("lengths") = py::none(),
      py::arg("reverse") = false, py::arg("batch_first") = false);
}
