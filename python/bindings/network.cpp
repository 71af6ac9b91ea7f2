// A network over NumPy's memory: the flat buffers are arrays that Python owns and views.
#include <pybind11/stl.h>

#ifdef _WIN32
#include <process.h>
#else
#include <unistd.h>
#endif

#include <cstring>
#include <memory>
#include <mutex>
#include <optional>

#include "arrays.hpp"
#include "loss.hpp"
#include "parameters.hpp"

namespace {

struct Optimizer {
  int index;
  std::vector<double> params;
  Optimizer(const std::string& name, const py::kwargs& given) {
    index = find_or_throw("optimizer", name, gm_optimizer_find, gm_optimizer_count, gm_optimizer_name);
    const gm_parameter* specs;
    int n = gm_optimizer_parameters(index, &specs);
    params = parameter_values(name, specs, n, given);
    check_ranges(name, specs, n, params);
  }
  int slots() const { return gm_optimizer_slots(index); }
};

int process_id() {
#ifdef _WIN32
  return _getpid();
#else
  return static_cast<int>(getpid());
#endif
}

class Graph {
 public:
  Graph(std::int64_t features, bool sequence) {
    Error e;
    check((sequence ? gm_graph_create_sequence : gm_graph_create)(features, &graph_, &e), e);
  }
  ~Graph() { gm_graph_destroy(graph_); }
  Graph(const Graph&) = delete;
  Graph& operator=(const Graph&) = delete;

  int add(const std::string& type, const std::vector<int>& inputs, const py::dict& given) {
    std::vector<std::string> texts;  // keeps names and texts alive
    texts.reserve(2 * given.size());
    std::vector<gm_attribute> attributes;
    for (auto item : given) {
      texts.push_back(py::str(item.first));
      gm_attribute a = {texts.back().c_str(), 0, nullptr};
      if (py::isinstance<py::str>(item.second)) {
        texts.push_back(py::str(item.second));
        a.text = texts.back().c_str();
      } else {
        a.number = item.second.cast<double>();
      }
      attributes.push_back(a);
    }
    int node = -1;
    Error e;
    check(gm_graph_add(graph_, type.c_str(), inputs.data(), static_cast<int>(inputs.size()),
                       attributes.data(), static_cast<int>(attributes.size()), &node, &e),
          e);
    return node;
  }
  py::dict memory(const std::string& dtype, std::int64_t batch, std::int64_t steps, unsigned taps) const {
    gm_memory m = {sizeof(gm_memory), 0, 0, 0};
    Error e;
    check(gm_network_memory(graph_, parse_dtype(dtype), batch, steps, taps, &m, &e), e);
    py::dict d;
    d["parameters"] = m.parameters;
    d["state"] = m.state;
    d["arena"] = m.arena;
    return d;
  }
  std::int64_t features(int node) const { return gm_graph_features(graph_, node); }
  bool is_sequence(int node) const { return gm_graph_is_sequence(graph_, node) == 1; }
  int size() const { return gm_graph_node_count(graph_); }
  const gm_graph* get() const { return graph_; }

 private:
  gm_graph* graph_ = nullptr;
};

// One call at a time: a network has one arena. Who waits does so without the GIL, which the one inside may
// want.
class Turn {
 public:
  std::unique_lock<std::mutex> alone() {
    if (process_ != process_id()) {  // a fork while another thread was inside: nobody is left to unlock
      busy_.release();
      busy_ = std::make_unique<std::mutex>();
      process_ = process_id();
    }
    std::unique_lock<std::mutex> mine(*busy_, std::try_to_lock);
    if (!mine) {
      Unlocked elsewhere;
      mine.lock();
    }
    return mine;
  }

 private:
  std::unique_ptr<std::mutex> busy_ = std::make_unique<std::mutex>();
  int process_ = process_id();
};

py::array real_numbers(py::handle x) {
  py::array a = py::isinstance<py::array>(x)
                    ? py::reinterpret_borrow<py::array>(x)
                    : py::module_::import("numpy").attr("asarray")(x).cast<py::array>();
  char kind = a.dtype().kind();
  if (kind != 'f' && kind != 'i' && kind != 'u' && kind != 'b')
    throw py::type_error("x has dtype " + py::str(a.dtype()).cast<std::string>() + "; expected real numbers");
  return a;
}

py::array as_contiguous(const py::array& a, gm_dtype dtype) {
  if (a.dtype().equal(numpy_dtype(dtype)) && a.dtype().byteorder() != '>') return input(a, "x").array;
  return py::module_::import("numpy")
      .attr("ascontiguousarray")(a, py::arg("dtype") = numpy_dtype(dtype))
      .cast<py::array>();
}

class Network {
 public:
  Network(const Graph& graph, const std::string& dtype) : dtype_(parse_dtype(dtype)) {
    py::dict m = graph.memory(dtype, 1, graph.is_sequence(0), 0);
    auto zeros = [&](const char* key) {
      return py::module_::import("numpy").attr("zeros")(m[key], numpy_dtype(dtype_)).cast<py::array>();
    };
    parameters = zeros("parameters");
    gradients = zeros("parameters");
    state = zeros("state");
    Error e;
    check(gm_network_create(graph.get(), dtype_, parameters.mutable_data(), gradients.mutable_data(),
                            state.mutable_data(), &network_, &e),
          e);
    gm_network_reset(network_);
    nodes_ = graph.size();
    in_ = graph.features(0);
    out_ = graph.features(graph.size() - 1);
    sequences_ = graph.is_sequence(0);
    every_step_ = graph.is_sequence(graph.size() - 1);
  }
  ~Network() { gm_network_destroy(network_); }
  Network(const Network&) = delete;
  Network& operator=(const Network&) = delete;

  py::array parameters, gradients, state;
  std::int64_t in() const { return in_; }
  std::int64_t out() const { return out_; }
  bool sequences() const { return sequences_; }
  bool every_step() const { return every_step_; }

  py::list tensors(bool of_state) const {
    py::list rows;
    int n = of_state ? gm_network_state_count(network_) : gm_network_parameter_count(network_);
    for (int i = 0; i < n; i++) {
      gm_tensor t = {};
      t.struct_size = sizeof t;
      of_state ? gm_network_state(network_, i, &t) : gm_network_parameter(network_, i, &t);
      py::list shape;
      for (int d = 0; d < t.rank; d++) shape.append(t.shape[d]);
      rows.append(py::make_tuple(t.node, t.name, py::tuple(shape), t.offset));
    }
    return rows;
  }

  py::array forward(py::object x_, py::object out, bool training, std::uint64_t seed, std::int64_t number,
                    py::object lengths_) {
    py::array x = batch(x_);
    std::int64_t N = x.shape(0);
    Lengths lengths = lengths_of(lengths_, x);
    Shape shape{N, out_};
    if (every_step_) shape = {N, static_cast<std::int64_t>(x.shape(1)), out_};
    py::array y = output(out, "out", dtype_, shape);
    if (overlap(x, y)) x = x.attr("copy")().cast<py::array>();  // a row of y may need all of its row of x
    gm_context c = context();
    c.training = training;
    c.seed = seed;
    c.step = number;
    set_steps(c, x, lengths);
    run([&](Error& e) { return gm_network_forward(network_, &c, N, x.data(), y.mutable_data(), &e); });
    return y;
  }

  py::tuple gradient(py::object x, py::object loss, py::object target, bool want_dx, bool training,
                     bool freeze_statistics, bool accumulate, unsigned taps, double mean_over,
                     std::uint64_t seed, std::int64_t first_row, std::int64_t number, int segments,
                     py::object lengths) {
    Batch b = batch_of(x, lengths, loss, target, {accumulate, mean_over, seed, first_row, number, segments});
    py::object dx = py::none();
    void* to = nullptr;
    if (want_dx) {
      py::array made(numpy_dtype(dtype_), Shape(b.x.shape(), b.x.shape() + b.x.ndim()));
      to = made.mutable_data();
      dx = made;
    }
    b.context.training = training;
    b.context.freeze_statistics = freeze_statistics;
    b.context.taps = taps;
    double value = 0;
    run([&](Error& e) {
      return gm_network_gradient(network_, &b.context, b.rows(), b.x.data(), b.loss.index, b.target.data(),
                                 &value, to, &e);
    });
    return py::make_tuple(value, dx);
  }

  double step(py::object x, py::object loss, py::object target, const Optimizer& optimizer, py::array slots,
              double learning_rate, std::int64_t number, double clip_norm, double clip_value,
              bool decay_matrices_only, bool accumulate, double mean_over, std::uint64_t seed,
              std::int64_t first_row, int segments, py::object lengths) {
    Batch b = batch_of(x, lengths, loss, target, {accumulate, mean_over, seed, first_row, number, segments});
    void* s = in_place(slots, "slots", dtype_, parameters.size() * optimizer.slots());
    b.context.training = 1;
    b.context.learning_rate = learning_rate;
    b.context.clip_norm = clip_norm;
    b.context.clip_value = clip_value;
    b.context.decay_matrices_only = decay_matrices_only;
    double value = 0;
    run([&](Error& e) {
      return gm_network_step(network_, &b.context, b.rows(), b.x.data(), b.loss.index, b.target.data(),
                             optimizer.index, optimizer.params.data(), s, &value, &e);
    });
    return value;
  }

  // Bytes of the arena for a gradient or a step on a batch.
  std::int64_t arena(std::int64_t rows, unsigned taps, int segments, std::int64_t steps) {
    gm_context c = context();
    c.steps = steps;
    c.taps = taps;
    c.segments = segments;
    std::int64_t bytes = 0;
    run([&](Error& e) { return gm_network_arena(network_, &c, rows, &bytes, &e); });
    return bytes;
  }
  void limit_arena(std::int64_t bytes) {
    run([&](Error& e) { return gm_network_limit_arena(network_, bytes, &e); });
  }
  void set_trainable(int parameter, bool trainable) {
    run([&](Error& e) { return gm_network_set_trainable(network_, parameter, trainable, &e); });
  }

  void set_taps(int node, unsigned of_value, unsigned of_gradient) {
    run([&](Error& e) { return gm_network_set_taps(network_, node, of_value, of_gradient, &e); });
  }

  // `tap` of every node, but for arrays.
  py::list taps() {
    const int count = nodes_;
    py::list all(static_cast<std::size_t>(count));
    auto one = turn_.alone();
    for (int id = 0; id < count; id++) {
      gm_tap t = {};
      t.struct_size = sizeof t;
      Error e;
      check(gm_network_tap(network_, id, &t, &e), e);
      all[static_cast<std::size_t>(id)] = numbers_of(t);
    }
    return all;
  }

  py::dict tap(int node) {
    gm_tap t = {};
    t.struct_size = sizeof t;
    std::vector<double> value_rows, gradient_rows;
    std::vector<unsigned char> active;
    py::object steps = py::none();
    {
      auto one = turn_.alone();  // the arena that rows point into stays where it is
      Error e;
      check(gm_network_tap(network_, node, &t, &e), e);
      if (t.value_row_norms) value_rows.assign(t.value_row_norms, t.value_row_norms + t.rows);
      if (t.gradient_row_norms) gradient_rows.assign(t.gradient_row_norms, t.gradient_row_norms + t.rows);
      if (t.active) active.assign(t.active, t.active + t.features);
      if (t.T) steps = steps_dict(t);
    }
    py::dict d = numbers_of(t);
    auto array = [](const void* seen, const auto& copy) {
      using E = typename std::decay_t<decltype(copy)>::value_type;
      return seen ? py::object(py::array_t<E>(static_cast<py::ssize_t>(copy.size()), copy.data()))
                  : py::none();
    };
    d["value_row_norms"] = array(t.value_row_norms, value_rows);
    d["gradient_row_norms"] = array(t.gradient_row_norms, gradient_rows);
    d["active"] = array(t.active, active);
    d["steps"] = steps;
    return d;
  }

  void reset() { gm_network_reset(network_); }

  gm_dtype dtype() const { return dtype_; }
  const gm_network* get() const { return network_; }

  // The native call without the GIL: it touches no Python object; arrays are held by the caller's frame.
  template <class F>
  void run(F f) const {
    Error e;
    gm_status status;
    {
      auto one = turn_.alone();
      Unlocked elsewhere;
      status = f(e);
    }
    check(status, e);
  }

 private:
  static gm_context context() {
    gm_context c = {};
    c.struct_size = sizeof c;
    c.step = 1;
    c.cancel = signals_pending;
    return c;
  }

  static py::dict numbers_of(const gm_tap& t) {
    static const Keys keys({"rows", "features", "value", "gradient", "spread", "saturated", "dead"});
    std::int64_t dead = 0;
    for (std::int64_t c = 0; t.active && c < t.features; c++) dead += t.active[c] == 0;
    py::dict d;
    int i = 0;
    keys.put(d, i++, t.rows);
    keys.put(d, i++, t.features);
    keys.put(d, i++, moments_dict(t.value));
    keys.put(d, i++, moments_dict(t.gradient));
    keys.put(d, i++, t.spread);
    keys.put(d, i++, t.saturated);
    keys.put(d, i++, dead);
    return d;
  }

  // What a pass with a loss holds while it runs: the context points into it.
  // Copies of a recurrent node's sums by time, (T) or (T, gates).
  static py::dict steps_dict(const gm_tap& t) {
    const gm_recurrent_steps& s = t.steps;
    py::dict d;
    const auto put = [&](const char* name, const double* from, const Shape& shape) {
      d[name] = py::array_t<double>(shape, from);
    };
    put("rows", s.rows, {t.T});
    put("h", s.h, {t.T});
    put("c", s.c, {t.T});
    put("dh", s.dh, {t.T});
    put("dc", s.dc, {t.T});
    put("path", s.path, {t.T});
    put("rest", s.rest, {t.T});
    put("gate", s.gate, {t.T, t.gates});
    put("low", s.low, {t.T, t.gates});
    put("high", s.high, {t.T, t.gates});
    return d;
  }

  using Lengths = std::optional<py::array_t<std::int64_t, py::array::c_style | py::array::forcecast>>;
  struct Batch {
    py::array x, target;
    Lengths lengths;
    Loss loss;
    gm_context context;
    std::int64_t rows() const { return x.shape(0); }
  };
  // Where the batch stands: within a larger one, and within a run.
  struct Place {
    bool accumulate;
    double mean_over;
    std::uint64_t seed;
    std::int64_t first_row, step;
    int segments;
  };
  Batch batch_of(const py::object& x, const py::object& lengths, const py::object& loss,
                 const py::object& target, const Place& place) const {
    py::array rows = batch(x);
    Loss kind = Loss::of(loss);
    const std::int64_t steps = every_step_ ? static_cast<std::int64_t>(rows.shape(1)) : 0;
    const char* name = std::strcmp(gm_loss_name(kind.index), "dot") == 0 ? "dy" : "target";
    py::array t = targets(target, name, gm_loss_target(kind.index), dtype_, rows.shape(0), out_, steps);
    Batch b = {rows, t, lengths_of(lengths, rows), kind, context()};
    set_steps(b.context, rows, b.lengths);
    b.context.loss_params = b.loss.params.data();
    b.context.class_weights = b.loss.class_weights(out_);
    b.context.accumulate = place.accumulate;
    b.context.mean_over = place.mean_over;
    b.context.seed = place.seed;
    b.context.first_row = place.first_row;
    b.context.step = place.step;
    b.context.segments = place.segments;
    return b;
  }

  // A batch in the network's own dtype: any real number type is converted.
  py::array batch(py::handle x) const {
    py::array a = real_numbers(x);
    const py::ssize_t dimensions = sequences_ ? 3 : 2;
    if (a.ndim() != dimensions || a.shape(dimensions - 1) != in_ || (sequences_ && a.shape(1) < 1))
      throw py::value_error("x has shape " + shape_text(a) + "; expected " +
                            (sequences_ ? "(N, T, " : "(N, ") + std::to_string(in_) + ")");
    return as_contiguous(a, dtype_);
  }
  Lengths lengths_of(const py::object& given, const py::array& x) const {
    if (given.is_none()) return std::nullopt;
    py::array a = py::module_::import("numpy").attr("asarray")(given).cast<py::array>();
    const char kind = a.dtype().kind();
    if (kind != 'i' && kind != 'u')
      throw py::type_error("lengths has dtype " + py::str(a.dtype()).cast<std::string>() +
                           "; expected integers");
    if (a.ndim() != 1 || a.shape(0) != x.shape(0))
      throw py::value_error("lengths has shape " + shape_text(a) + "; expected (" +
                            std::to_string(x.shape(0)) + ",)");
    return Lengths(a);
  }
  // Samples are sequences as long as x is, or as the lengths say.
  void set_steps(gm_context& c, const py::array& x, const Lengths& lengths) const {
    if (sequences_) c.steps = x.shape(1);
    if (lengths) c.lengths = lengths->data();
  }

  gm_dtype dtype_;
  gm_network* network_ = nullptr;
  std::int64_t in_ = 0, out_ = 0;
  int nodes_ = 0;
  bool sequences_ = false, every_step_ = false;
  mutable Turn turn_;
};

// A network as it was, packed once. A short call keeps the GIL: giving it back and taking it again costs
// more.
class Inference {
 public:
  explicit Inference(const Network& network)
      : dtype_(network.dtype()), kind_(numpy_dtype(dtype_)), in_(network.in()), out_(network.out()) {
    network.run([&](Error& e) { return gm_inference_create(network.get(), &inference_, &e); });
  }
  ~Inference() { gm_inference_destroy(inference_); }
  Inference(const Inference&) = delete;
  Inference& operator=(const Inference&) = delete;
  std::int64_t in() const { return in_; }
  std::int64_t out() const { return out_; }

  py::array forward(py::object x_, py::object out) {
    py::array x = samples(x_);
    const bool one = x.ndim() == 1;
    const std::int64_t N = one ? 1 : x.shape(0);
    py::array y = usable(out) && fits(out, one, N) ? py::reinterpret_borrow<py::array>(out)
                  : one                            ? output(out, "out", dtype_, {out_})
                                                   : output(out, "out", dtype_, {N, out_});
    if (overlap(x, y)) x = x.attr("copy")().cast<py::array>();
    Error e;
    gm_status status;
    const auto call = [&] {
      return gm_inference_forward(inference_, N, x.data(), y.mutable_data(), nullptr, &e);
    };
    {
      auto mine = turn_.alone();
      if (N <= kShort) {
        status = call();
      } else {
        Unlocked elsewhere;
        status = call();
      }
    }
    check(status, e);
    return y;
  }

 private:
  static constexpr std::int64_t kShort = 16;

  // An array that can be used as it is.
  bool usable(py::handle a) const {
    if (!py::isinstance<py::array>(a)) return false;
    const auto array = py::reinterpret_borrow<py::array>(a);
    constexpr int wanted =
        py::detail::npy_api::NPY_ARRAY_C_CONTIGUOUS_ | py::detail::npy_api::NPY_ARRAY_ALIGNED_;
    return array.dtype().is(kind_) && (array.flags() & wanted) == wanted;
  }
  bool fits(py::handle out, bool one, std::int64_t N) const {
    const auto y = py::reinterpret_borrow<py::array>(out);
    return y.writeable() && (one ? y.ndim() == 1 && y.shape(0) == out_
                                 : y.ndim() == 2 && y.shape(0) == N && y.shape(1) == out_);
  }
  py::array samples(py::handle x) const {
    py::array a = usable(x) ? py::reinterpret_borrow<py::array>(x) : real_numbers(x);
    if ((a.ndim() != 1 && a.ndim() != 2) || a.shape(a.ndim() - 1) != in_)
      throw py::value_error("x has shape " + shape_text(a) + "; expected (N, " + std::to_string(in_) +
                            ") or (" + std::to_string(in_) + ",)");
    return usable(a) ? a : as_contiguous(a, dtype_);
  }

  gm_dtype dtype_;
  py::dtype kind_;
  gm_inference* inference_ = nullptr;
  std::int64_t in_, out_;
  Turn turn_;
};

}  // namespace

void bind_network(py::module_& m) {
  m.def("layer_types", [] {
    py::dict rows;
    for (int i = 0; i < gm_layer_type_count(); i++) {
      const gm_parameter* p;
      int n = gm_layer_type_attributes(i, &p);
      rows[gm_layer_type_name(i)] = parameter_dict(p, n);
    }
    return rows;
  });
  m.attr("TAP_MOMENTS") = static_cast<int>(GM_TAP_MOMENTS);
  m.attr("TAP_ROWS") = static_cast<int>(GM_TAP_ROWS);
  m.attr("TAP_COLUMNS") = static_cast<int>(GM_TAP_COLUMNS);
  m.attr("TAP_STEPS") = static_cast<int>(GM_TAP_STEPS);
  m.attr("TAP_NORMS") = static_cast<int>(GM_TAP_NORMS);
  m.attr("TAP_SLOPE") = static_cast<int>(GM_TAP_SLOPE);

  py::class_<Optimizer>(m, "Optimizer")
      .def(py::init<const std::string&, const py::kwargs&>(), py::arg("name"))
      .def_property_readonly("slots", &Optimizer::slots);
  py::class_<Loss>(m, "Loss").def(py::init<const std::string&, const py::object&, const py::kwargs&>(),
                                  py::arg("name"), py::arg("class_weights") = py::none());
  py::class_<Graph>(m, "Graph")
      .def(py::init<std::int64_t, bool>(), py::arg("features"), py::arg("sequence") = false)
      .def("add", &Graph::add, py::arg("type"), py::arg("inputs"), py::arg("attributes"))
      .def("memory", &Graph::memory, py::arg("dtype"), py::arg("batch"), py::arg("steps") = 0,
           py::arg("taps") = 0)
      .def("features", &Graph::features, py::arg("node"))
      .def("is_sequence", &Graph::is_sequence, py::arg("node"))
      .def("__len__", &Graph::size);
  py::class_<Network>(m, "Network")
      .def(py::init<const Graph&, const std::string&>(), py::arg("graph"), py::arg("dtype"))
      .def_readonly("parameters", &Network::parameters)
      .def_readonly("gradients", &Network::gradients)
      .def_readonly("state", &Network::state)
      .def_property_readonly("in_features", &Network::in)
      .def_property_readonly("out_features", &Network::out)
      .def_property_readonly("sequences", &Network::sequences)
      .def_property_readonly("every_step", &Network::every_step)
      .def("tensors", &Network::tensors, py::arg("of_state"))
      .def("forward", &Network::forward, py::arg("x"), py::arg("out") = py::none(),
           py::arg("training") = false, py::arg("seed") = 0, py::arg("step") = 1,
           py::arg("lengths") = py::none())
      .def("gradient", &Network::gradient, py::arg("x"), py::arg("loss"), py::arg("target"),
           py::arg("want_dx") = false, py::arg("training") = true, py::arg("freeze_statistics") = true,
           py::arg("accumulate") = false, py::arg("taps") = 0, py::arg("mean_over") = 0, py::arg("seed") = 0,
           py::arg("first_row") = 0, py::arg("step") = 1, py::arg("segments") = 1,
           py::arg("lengths") = py::none())
      .def("step", &Network::step, py::arg("x"), py::arg("loss"), py::arg("target"), py::arg("optimizer"),
           py::arg("slots"), py::arg("learning_rate"), py::arg("step"), py::arg("clip_norm") = 0.0,
           py::arg("clip_value") = 0.0, py::arg("decay_matrices_only") = false, py::arg("accumulate") = false,
           py::arg("mean_over") = 0.0, py::arg("seed") = 0, py::arg("first_row") = 0, py::arg("segments") = 1,
           py::arg("lengths") = py::none())
      .def("arena", &Network::arena, py::arg("batch"), py::arg("taps") = 0, py::arg("segments") = 1,
           py::arg("steps") = 0)
      .def("limit_arena", &Network::limit_arena, py::arg("bytes"))
      .def("set_taps", &Network::set_taps, py::arg("node"), py::arg("of_value"), py::arg("of_gradient"))
      .def("taps", &Network::taps)
      .def("set_trainable", &Network::set_trainable, py::arg("parameter"), py::arg("trainable"))
      .def("tap", &Network::tap, py::arg("node"))
      .def("reset", &Network::reset);
  py::class_<Inference>(m, "Inference")
      .def(py::init<const Network&>(), py::arg("network"))
      .def_property_readonly("in_features", &Inference::in)
      .def_property_readonly("out_features", &Inference::out)
      .def("forward", &Inference::forward, py::arg("x"), py::arg("out") = py::none());
}
