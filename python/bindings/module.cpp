// gradiometer._core: the C API for Python, a room a file.
#include <pybind11/pybind11.h>

namespace py = pybind11;

void bind_library(py::module_& m);      // version, instruction sets, threads
void bind_activations(py::module_& m);  // forward, backward by name
void bind_dense(py::module_& m);        // gemm, linear
void bind_batch_norm(py::module_& m);
void bind_group_norm(py::module_& m);  // and layer norm, RMS norm
void bind_prelu(py::module_& m);
void bind_softmax(py::module_& m);  // and log-softmax
void bind_recurrent(py::module_& m);
void bind_losses(py::module_& m);
void bind_optimizers(py::module_& m);
void bind_measurement(py::module_& m);  // moments of an array
void bind_network(py::module_& m);      // Graph, Network

PYBIND11_MODULE(_core, m) {
  m.doc() = "Kernels and networks of Gradiometer's C++ core.";
  bind_library(m);
  bind_activations(m);
  bind_dense(m);
  bind_batch_norm(m);
  bind_group_norm(m);
  bind_prelu(m);
  bind_softmax(m);
  bind_recurrent(m);
  bind_losses(m);
  bind_optimizers(m);
  bind_measurement(m);
  bind_network(m);
}
