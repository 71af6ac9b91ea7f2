#include "arrays.hpp"

#include <cstdint>

std::string shape_text(const Shape& shape) {
  std::string s = "(";
  for (size_t i = 0; i < shape.size(); i++) s += (i ? ", " : "") + std::to_string(shape[i]);
  return s + (shape.size() == 1 ? ",)" : ")");
}
std::string shape_text(const py::array& a) { return shape_text(Shape(a.shape(), a.shape() + a.ndim())); }

py::dtype numpy_dtype(gm_dtype dtype) {
  return dtype == GM_FLOAT32 ? py::dtype::of<float>() : py::dtype::of<double>();
}

gm_dtype parse_dtype(const std::string& name) {
  if (name == "float32") return GM_FLOAT32;
  if (name == "float64") return GM_FLOAT64;
  throw py::value_error("dtype is '" + name + "'; expected 'float32' or 'float64'");
}

static bool is_ready(const py::array& a) {
  constexpr int wanted =
      py::detail::npy_api::NPY_ARRAY_C_CONTIGUOUS_ | py::detail::npy_api::NPY_ARRAY_ALIGNED_;
  return (a.flags() & wanted) == wanted;
}

static py::array as_array(py::handle x) {
  if (py::isinstance<py::array>(x)) return py::reinterpret_borrow<py::array>(x);
  return py::module_::import("numpy").attr("asarray")(x).cast<py::array>();
}

static py::array contiguous(const py::array& a, const py::dtype& dtype) {
  return py::module_::import("numpy")
      .attr("array")(a, py::arg("dtype") = dtype, py::arg("order") = "C")
      .cast<py::array>();
}

Input input(py::handle x, const char* name) {
  py::array a = as_array(x);
  int type = a.dtype().num();
  bool is_float = type == py::detail::npy_api::NPY_FLOAT_,
       is_double = type == py::detail::npy_api::NPY_DOUBLE_;
  if (!is_float && !is_double)
    throw py::type_error(std::string(name) + " has dtype " + py::str(a.dtype()).cast<std::string>() +
                         "; expected float32 or float64 (convert with " + name + ".astype('float32'))");
  Input in{a, is_float ? GM_FLOAT32 : GM_FLOAT64};
  char order = a.dtype().byteorder();
  if (!is_ready(a) || (order != '=' && order != '|')) in.array = contiguous(a, numpy_dtype(in.dtype));
  return in;
}

Input input(py::handle x, const char* name, gm_dtype like) {
  Input in = input(x, name);
  if (in.dtype != like)
    throw py::type_error(std::string(name) + " has dtype " + py::str(in.array.dtype()).cast<std::string>() +
                         "; expected " + py::str(numpy_dtype(like)).cast<std::string>() +
                         " like the other arrays");
  return in;
}

void expect_shape(const py::array& a, const char* name, const Shape& shape) {
  if (Shape(a.shape(), a.shape() + a.ndim()) != shape)
    throw py::value_error(std::string(name) + " has shape " + shape_text(a) + "; expected " +
                          shape_text(shape));
}

void expect_ndim(const py::array& a, const char* name, py::ssize_t ndim) {
  if (a.ndim() != ndim)
    throw py::value_error(std::string(name) + " has shape " + shape_text(a) + "; expected " +
                          std::to_string(ndim) + " dimensions");
}

py::array output(py::handle out, const char* name, gm_dtype dtype, const Shape& shape) {
  if (out.is_none()) return py::array(numpy_dtype(dtype), shape);
  if (!py::isinstance<py::array>(out))
    throw py::type_error(std::string(name) + " is " + py::str(py::type::of(out)).cast<std::string>() +
                         "; expected a numpy.ndarray");
  py::array a = py::reinterpret_borrow<py::array>(out);
  if (!a.dtype().is(numpy_dtype(dtype)) && !a.dtype().equal(numpy_dtype(dtype)))
    throw py::type_error(std::string(name) + " has dtype " + py::str(a.dtype()).cast<std::string>() +
                         "; expected " + py::str(numpy_dtype(dtype)).cast<std::string>());
  expect_shape(a, name, shape);
  if (!a.writeable()) throw py::value_error(std::string(name) + " is read-only; expected a writable array");
  if (!is_ready(a))
    throw py::value_error(std::string(name) + " is strided or misaligned; expected a C-contiguous array");
  return a;
}

bool overlap(const py::array& x, const py::array& y) {
  auto a = reinterpret_cast<std::uintptr_t>(x.data()), b = reinterpret_cast<std::uintptr_t>(y.data());
  return a + static_cast<std::uintptr_t>(x.nbytes()) > b && b + static_cast<std::uintptr_t>(y.nbytes()) > a;
}

void separate(Input& in, const py::array& out) {
  if (overlap(in.array, out) && in.array.data() != out.data())
    in.array = contiguous(in.array, numpy_dtype(in.dtype));
}

void detach(Input& in, const py::array& out) {
  if (overlap(in.array, out)) in.array = contiguous(in.array, numpy_dtype(in.dtype));
}

void* in_place(py::handle h, const char* name, gm_dtype dtype, py::ssize_t size) {
  if (!py::isinstance<py::array>(h))  // a list would be converted, and what is written to it be lost
    throw py::type_error(std::string(name) + " is " +
                         py::str(py::type::of(h).attr("__name__")).cast<std::string>() +
                         "; expected an ndarray, which is written in place");
  const auto a = py::reinterpret_borrow<py::array>(h);
  if (!a.dtype().equal(numpy_dtype(dtype)) || a.size() != size || !is_ready(a) || !a.writeable())
    throw py::value_error(std::string(name) + " must be a writable C-contiguous " +
                          py::str(numpy_dtype(dtype)).cast<std::string>() + " array of " +
                          std::to_string(size) + " elements");
  return const_cast<void*>(a.data());
}

py::array targets(py::handle t, const char* name, gm_target kind, gm_dtype dtype, py::ssize_t rows,
                  py::ssize_t features, py::ssize_t steps) {
  py::array a = as_array(t);
  Shape shape = {rows};
  if (steps) shape.push_back(steps);
  char code = a.dtype().kind();
  if (kind == GM_CLASSES) {
    if (code != 'i' && code != 'u')
      throw py::type_error(std::string(name) + " has dtype " + py::str(a.dtype()).cast<std::string>() +
                           "; expected integer class indices");
    expect_shape(a, name, shape);
    py::dtype wanted = py::dtype::of<std::int64_t>();
    return a.dtype().equal(wanted) && is_ready(a) ? a : contiguous(a, wanted);
  }
  if (code != 'f' && code != 'i' && code != 'u' && code != 'b')
    throw py::type_error(std::string(name) + " has dtype " + py::str(a.dtype()).cast<std::string>() +
                         "; expected numbers");
  shape.push_back(features);
  expect_shape(a, name, shape);
  return a.dtype().equal(numpy_dtype(dtype)) && is_ready(a) ? a : contiguous(a, numpy_dtype(dtype));
}

int signals_pending(void*) {
  PyGILState_STATE state = PyGILState_UNLOCKED;
  Unlocked::or_sleep([&] { state = PyGILState_Ensure(); });
  int raised = PyErr_CheckSignals();
  PyGILState_Release(state);
  return raised != 0;
}

void check(gm_status status, const Error& error) {
  switch (status) {
    case GM_OK:
      return;
    case GM_CANCELLED:
      if (PyErr_Occurred()) throw py::error_already_set();
      throw std::runtime_error("cancelled");
    case GM_OUT_OF_MEMORY:
      PyErr_SetString(PyExc_MemoryError, (std::string(error.argument) + ": " + error.message).c_str());
      throw py::error_already_set();
    case GM_INDEX_OUT_OF_RANGE:
      throw py::index_error(error.message);
    case GM_INVALID_ARGUMENT:
      break;
  }
  throw py::value_error(error.message);
}
