// Between NumPy arrays and the C API's pointers: dtype, layout and ownership are settled here, once.
#pragma once
#include <gradiometer/gradiometer.h>
#include <pybind11/numpy.h>
#include <pybind11/pybind11.h>

#include <chrono>
#include <string>
#include <thread>
#include <vector>

namespace py = pybind11;

using Shape = std::vector<py::ssize_t>;

// A C-contiguous, aligned, native array of float32 or float64 to read from; `array` keeps it alive.
struct Input {
  py::array array;
  gm_dtype dtype;
  const void* data() const { return array.data(); }
  py::ssize_t size() const { return array.size(); }
};

std::string shape_text(const Shape& shape);
std::string shape_text(const py::array& a);
py::dtype numpy_dtype(gm_dtype dtype);
gm_dtype parse_dtype(const std::string& name);

// Accepts what numpy.asarray does; TypeError for another dtype than float32 and float64. A layout that the
// kernels cannot read (strided, misaligned, byte-swapped) is copied. `like`: the dtype it must have.
Input input(py::handle x, const char* name);
Input input(py::handle x, const char* name, gm_dtype like);
void expect_shape(const py::array& a, const char* name, const Shape& shape);
void expect_ndim(const py::array& a, const char* name, py::ssize_t ndim);

// `out` if given (checked: an ndarray of that dtype and shape, C-contiguous, writable), else a new array.
py::array output(py::handle out, const char* name, gm_dtype dtype, const Shape& shape);
// If `in` shares memory with `out` without being the very same elements, in becomes a copy.
void separate(Input& in, const py::array& out);
// The same for what each element of `out` reads in another place: any shared memory makes a copy.
void detach(Input& in, const py::array& out);
bool overlap(const py::array& a, const py::array& b);  // of contiguous arrays
// An ndarray that Python code may hold on to, used in place (never copied).
void* in_place(py::handle h, const char* name, gm_dtype dtype, py::ssize_t size);

// Targets of a loss: int64 classes (any integer dtype is converted, floats are refused) or values of `dtype`,
// of every row, or of every one of `steps` of it.
py::array targets(py::handle t, const char* name, gm_target kind, gm_dtype dtype, py::ssize_t rows,
                  py::ssize_t features, py::ssize_t steps = 0);

struct Error : gm_error {
  Error() {
    struct_size = sizeof(gm_error);
    status = GM_OK;
    argument[0] = message[0] = '\0';
  }
};
// GM_OK returns; else ValueError, IndexError, MemoryError, or the Python exception that cancelled the call.
void check(gm_status status, const Error& error);

// Python code may run elsewhere while this lives. At its end Python ends a daemon thread that wants the lock
// back by unwinding it, which a destructor turns into std::terminate: it sleeps until the process has gone,
// as from Python 3.14 on.
class Unlocked {
 public:
  Unlocked() : state_(PyEval_SaveThread()) {}
  ~Unlocked() {
    or_sleep([this] { PyEval_RestoreThread(state_); });
  }
  Unlocked(const Unlocked&) = delete;
  Unlocked& operator=(const Unlocked&) = delete;
  template <class F>
  static void or_sleep(F take) {
    try {
      take();
    } catch (...) {
      for (;;) std::this_thread::sleep_for(std::chrono::hours(1));
    }
  }

 private:
  PyThreadState* state_;
};

// A cancel callback. Runs Python's pending signal handlers on the calling thread; an exception of theirs
// (Ctrl-C) cancels.
int signals_pending(void*);
