// The C API for C++17: owners that destroy what they own, and gradiometer::Error in place of a status.
// Each name and each argument is the C API's; gradiometer.h says what they mean.
#ifndef GRADIOMETER_HPP
#define GRADIOMETER_HPP
#include <gradiometer/gradiometer.h>

#include <initializer_list>
#include <memory>
#include <stdexcept>
#include <string>
#include <vector>

namespace gradiometer {
// A program that links the static library holds the library's own gradiometer::... too; the linker would take
// two inline functions of one name for one function. The inline namespace gives these names of their own.
inline namespace view {

class Error : public std::runtime_error {
 public:
  explicit Error(const gm_error& e) : std::runtime_error(e.message), status(e.status), argument(e.argument) {}
  gm_status status;
  std::string argument;
};

// call(f, arguments...): the C function f without its last argument, the error, which is thrown.
template <class F, class... Arguments>
void call(F f, Arguments... arguments) {
  gm_error error = {};
  error.struct_size = sizeof error;
  if (f(arguments..., &error) != GM_OK) throw Error(error);
}

template <class T>
constexpr gm_dtype dtype() = delete;
template <>
constexpr gm_dtype dtype<float>() {
  return GM_FLOAT32;
}
template <>
constexpr gm_dtype dtype<double>() {
  return GM_FLOAT64;
}

struct Attribute : gm_attribute {
  Attribute(const char* key, double value) : gm_attribute{key, value, nullptr} {}
  Attribute(const char* key, const char* value) : gm_attribute{key, 0, value} {}
};

class Graph {
 public:
  explicit Graph(int64_t features, bool sequence = false) {
    gm_graph* graph = nullptr;
    call(sequence ? gm_graph_create_sequence : gm_graph_create, features, &graph);
    graph_.reset(graph);
  }

  // The id of the new node, which reads the nodes `inputs`, or the last node added.
  int add(const char* type, const std::vector<int>& inputs,
          std::initializer_list<Attribute> attributes = {}) {
    std::vector<gm_attribute> plain(attributes.begin(), attributes.end());
    int node = -1;
    call(gm_graph_add, get(), type, inputs.data(), static_cast<int>(inputs.size()), plain.data(),
         static_cast<int>(plain.size()), &node);
    return node;
  }
  int add(const char* type, std::initializer_list<Attribute> attributes = {}) {
    return add(type, std::vector<int>{node_count() - 1}, attributes);
  }

  int node_count() const { return gm_graph_node_count(get()); }
  int64_t features(int node) const { return gm_graph_features(get(), node); }
  bool is_sequence(int node) const { return gm_graph_is_sequence(get(), node) == 1; }
  gm_graph* get() const { return graph_.get(); }

 private:
  struct Destroy {
    void operator()(gm_graph* graph) const { gm_graph_destroy(graph); }
  };
  std::unique_ptr<gm_graph, Destroy> graph_;
};

// What a run varies, with struct_size set and all else zero.
inline gm_context context() {
  gm_context c = {};
  c.struct_size = sizeof c;
  return c;
}

// A range of a flat buffer.
template <class T>
struct Span {
  T* data;
  int64_t size;
  T* begin() const { return data; }
  T* end() const { return data + size; }
  T& operator[](int64_t i) const { return data[i]; }
};

template <class T>
class Network {
 public:
  // Buffers that are null are the network's own.
  explicit Network(const Graph& graph, T* parameters = nullptr, T* gradients = nullptr, T* state = nullptr) {
    gm_network* network = nullptr;
    call(gm_network_create, graph.get(), dtype<T>(), static_cast<void*>(parameters),
         static_cast<void*>(gradients), static_cast<void*>(state), &network);
    network_.reset(network);
  }

  void reset() { gm_network_reset(get()); }
  void reserve(int64_t batch, unsigned taps = GM_TAP_NONE, int64_t steps = 0) {
    call(gm_network_reserve, get(), batch, steps, taps);
  }

  void limit_arena(int64_t bytes) { call(gm_network_limit_arena, get(), bytes); }
  int64_t arena(const gm_context& context, int64_t batch) const {
    int64_t bytes = 0;
    call(gm_network_arena, get(), &context, batch, &bytes);
    return bytes;
  }
  void set_taps(int node, unsigned of_value, unsigned of_gradient) {
    call(gm_network_set_taps, get(), int{node}, unsigned{of_value}, unsigned{of_gradient});
  }
  void set_trainable(int i, bool trainable) { call(gm_network_set_trainable, get(), i, int{trainable}); }
  bool trainable(int i) const { return gm_network_trainable(get(), i) != 0; }

  // Tensors in the order of the flat buffer; `parameter` and `gradient` are their places in it.
  std::vector<gm_tensor> parameters() const {
    return tensors(gm_network_parameter_count(get()), gm_network_parameter);
  }
  std::vector<gm_tensor> state() const { return tensors(gm_network_state_count(get()), gm_network_state); }
  Span<T> parameter(const gm_tensor& t) {
    return {static_cast<T*>(gm_network_parameters(get())) + t.offset, t.size};
  }
  Span<T> gradient(const gm_tensor& t) {
    return {static_cast<T*>(gm_network_gradients(get())) + t.offset, t.size};
  }
  Span<T> state(const gm_tensor& t) {
    return {static_cast<T*>(gm_network_state_buffer(get())) + t.offset, t.size};
  }

  void forward(const gm_context& context, int64_t N, const T* x, T* y) {
    call(gm_network_forward, get(), &context, N, x, y);
  }
  double gradient(const gm_context& context, int64_t N, const T* x, int loss, const void* target,
                  T* dx = nullptr) {
    double value = 0;
    call(gm_network_gradient, get(), &context, N, x, loss, target, &value, dx);
    return value;
  }
  double step(const gm_context& context, int64_t N, const T* x, int loss, const void* target, int optimizer,
              const double* params, T* slots) {
    double value = 0;
    call(gm_network_step, get(), &context, N, x, loss, target, optimizer, params, slots, &value);
    return value;
  }
  gm_tap tap(int node) const {
    gm_tap t = {};
    t.struct_size = sizeof t;
    call(gm_network_tap, get(), node, &t);
    return t;
  }

  gm_network* get() const { return network_.get(); }

 private:
  struct Destroy {
    void operator()(gm_network* network) const { gm_network_destroy(network); }
  };
  std::unique_ptr<gm_network, Destroy> network_;

  std::vector<gm_tensor> tensors(int count, void (*describe)(const gm_network*, int, gm_tensor*)) const {
    std::vector<gm_tensor> all(static_cast<size_t>(count));
    for (int i = 0; i < count; i++) {
      gm_tensor& tensor = all[static_cast<size_t>(i)];
      tensor.struct_size = sizeof tensor;
      describe(get(), i, &tensor);
    }
    return all;
  }
};

// A network as it was, packed once; `workspace` as gm_inference_forward has it.
template <class T>
class Inference {
 public:
  explicit Inference(const Network<T>& network) {
    gm_inference* inference = nullptr;
    call(gm_inference_create, network.get(), &inference);
    inference_.reset(inference);
  }
  int64_t workspace() const { return gm_inference_workspace(get()); }
  void forward(int64_t N, const T* x, T* y, void* workspace = nullptr) const {
    call(gm_inference_forward, get(), N, x, y, workspace);
  }
  gm_inference* get() const { return inference_.get(); }

 private:
  struct Destroy {
    void operator()(gm_inference* inference) const { gm_inference_destroy(inference); }
  };
  std::unique_ptr<gm_inference, Destroy> inference_;
};

// A layer of so many steps, samples, inputs and units, with struct_size set and all else zero: its weights
// are the caller's to name.
inline gm_recurrent recurrent(gm_cell cell, int64_t T, int64_t N, int64_t I, int64_t H) {
  gm_recurrent layer = {};
  layer.struct_size = sizeof layer;
  layer.cell = cell;
  layer.T = T, layer.N = N, layer.I = I, layer.H = H;
  return layer;
}
inline gm_recurrent_gradients recurrent_gradients() {
  gm_recurrent_gradients gradients = {};
  gradients.struct_size = sizeof gradients;
  return gradients;
}
template <class T>
gm_recurrent_memory recurrent_sizes(const gm_recurrent& layer) {
  gm_recurrent_memory memory = {};
  memory.struct_size = sizeof memory;
  call(gm_recurrent_sizes, dtype<T>(), &layer, &memory);
  return memory;
}

// What gm_recurrent.packed points at.
template <class T>
class PackedRecurrent {
 public:
  explicit PackedRecurrent(const gm_recurrent& layer) {
    gm_recurrent_packed* packed = nullptr;
    call(gm_recurrent_pack, dtype<T>(), &layer, &packed);
    packed_.reset(packed);
  }
  gm_recurrent_packed* get() const { return packed_.get(); }

 private:
  struct Destroy {
    void operator()(gm_recurrent_packed* packed) const { gm_recurrent_packed_free(packed); }
  };
  std::unique_ptr<gm_recurrent_packed, Destroy> packed_;
};

// A layer with the memory that its calls need: `layer` may name other weights from call to call, not other
// sizes.
template <class T>
class Recurrent {
 public:
  gm_recurrent layer;

  explicit Recurrent(const gm_recurrent& of) : layer(of) {
    const gm_recurrent_memory memory = recurrent_sizes<T>(layer);
    cache_.resize(static_cast<size_t>(memory.cache) / sizeof(T) + 1);
    workspace_.resize(
        static_cast<size_t>(memory.forward > memory.backward ? memory.forward : memory.backward));
  }
  // training: a backward follows.
  void forward(bool training, const T* x, T* y, const T* h0 = nullptr, const T* c0 = nullptr,
               T* h_n = nullptr, T* c_n = nullptr) {
    call(gm_recurrent_forward, dtype<T>(), &layer, x, h0, c0, y, h_n, c_n, training ? cache_.data() : nullptr,
         workspace_.data());
  }
  void backward(const T* x, const T* y, const gm_recurrent_gradients& gradients, const T* h0 = nullptr) {
    call(gm_recurrent_backward, dtype<T>(), &layer, x, h0, y, cache_.data(), &gradients, workspace_.data());
  }

 private:
  std::vector<T> cache_;
  std::vector<char> workspace_;
};

// One step at a time of the layer's N samples; h and c are the caller's.
template <class T>
class RecurrentStepper {
 public:
  explicit RecurrentStepper(const gm_recurrent& layer)
      : layer_(layer), memory_(static_cast<size_t>(recurrent_sizes<T>(layer).stepper)) {
    pack();
  }
  // After weights have been written into.
  void pack() { call(gm_recurrent_step_pack, dtype<T>(), &layer_, memory_.data()); }
  void step(const T* x, T* h, T* c = nullptr) {
    call(gm_recurrent_step, dtype<T>(), &layer_, memory_.data(), x, h, c);
  }

 private:
  gm_recurrent layer_;
  std::vector<char> memory_;
};

}  // namespace view
}  // namespace gradiometer
#endif
