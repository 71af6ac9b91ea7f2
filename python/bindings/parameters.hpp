// Between keyword arguments and the numbers of a table row.
#pragma once
#include <gradiometer/gradiometer.h>
#include <pybind11/pybind11.h>

#include <cmath>
#include <cstdint>
#include <initializer_list>
#include <string>
#include <vector>

namespace py = pybind11;

// Arguments as what they must be; TypeError naming the argument, what came and what was expected.
[[noreturn]] inline void refuse(py::handle v, const char* name, const char* expected) {
  PyErr_Clear();
  throw py::type_error(std::string(name) + " is " + py::repr(v).cast<std::string>() + "; expected " +
                       expected);
}

inline double number(py::handle v, const char* name) {
  const double value = PyFloat_AsDouble(v.ptr());
  if (value == -1.0 && PyErr_Occurred()) refuse(v, name, "a number");
  return value;
}

inline std::int64_t whole(py::handle v, const char* name) {
  if (!PyIndex_Check(v.ptr())) refuse(v, name, "an integer");
  const auto integer = py::reinterpret_steal<py::object>(PyNumber_Index(v.ptr()));
  int overflow = 0;
  const long long value = integer ? PyLong_AsLongLongAndOverflow(integer.ptr(), &overflow) : 0;
  if (!integer) refuse(v, name, "an integer");
  if (overflow)
    throw py::value_error(std::string(name) + " is " + py::repr(v).cast<std::string>() +
                          "; expected an integer of 64 bits");
  return value;
}

// An integer of 0 to `most`.
inline std::uint64_t natural(py::handle v, const char* name, std::uint64_t most = UINT64_MAX) {
  if (!PyIndex_Check(v.ptr())) refuse(v, name, "an integer");
  const auto integer = py::reinterpret_steal<py::object>(PyNumber_Index(v.ptr()));
  const unsigned long long value = integer ? PyLong_AsUnsignedLongLong(integer.ptr()) : 0;
  if (!integer) refuse(v, name, "an integer");
  const bool outside = PyErr_Occurred() != nullptr;
  if (outside) PyErr_Clear();
  if (outside || value > most)
    throw py::value_error(std::string(name) + " is " + py::repr(v).cast<std::string>() +
                          "; expected an integer, 0 to " + std::to_string(most));
  return value;
}

inline bool flag(py::handle v, const char* name) {
  const bool is_bool = PyBool_Check(v.ptr()) || py::isinstance(v, py::module_::import("numpy").attr("bool_"));
  if (!is_bool) refuse(v, name, "True or False");
  return PyObject_IsTrue(v.ptr()) != 0;
}

inline std::string text(py::handle v, const char* name) {
  if (!PyUnicode_Check(v.ptr())) refuse(v, name, "a string");
  return v.cast<std::string>();
}

// {name: (default, low, high)}
inline py::dict parameter_dict(const gm_parameter* p, int n) {
  py::dict d;
  for (int i = 0; i < n; i++) d[p[i].name] = py::make_tuple(p[i].initial, p[i].low, p[i].high);
  return d;
}

// The row's numbers from keywords; TypeError for a keyword it does not have or a value that is no number.
inline std::vector<double> parameter_values(const std::string& owner, const gm_parameter* specs, int n,
                                            const py::dict& given) {
  std::vector<double> values(static_cast<size_t>(n) + 1);
  size_t used = 0;
  for (int i = 0; i < n; i++) {
    values[static_cast<size_t>(i)] = specs[i].initial;
    if (!given.contains(specs[i].name)) continue;
    py::object v = given[specs[i].name];
    values[static_cast<size_t>(i)] = number(v, specs[i].name);
    used++;
  }
  if (used != given.size())
    for (auto item : given) {
      std::string key = py::str(item.first), known;
      bool found = false;
      for (int i = 0; i < n; i++) {
        found = found || key == specs[i].name;
        known += (i ? ", " : "") + std::string(specs[i].name);
      }
      if (!found)
        throw py::type_error(owner + " has no parameter '" + key + "'; expected " +
                             (n ? "one of: " + known : "none"));
    }
  return values;
}

// ValueError for a number outside its parameter's range.
inline void check_ranges(const std::string& owner, const gm_parameter* specs, int n,
                         const std::vector<double>& values) {
  for (int i = 0; i < n; i++) {
    const double v = values[static_cast<size_t>(i)];
    if (v >= specs[i].low && v <= specs[i].high) continue;
    py::str text = py::str("{} of {} is {!r}; expected {:g} to {:g}")
                       .format(specs[i].name, owner, v, specs[i].low, specs[i].high);
    throw py::value_error(text.cast<std::string>());
  }
}

// Index of a row by name; ValueError that lists the names.
template <class Find, class Count, class Name>
int find_or_throw(const char* what, const std::string& name, Find find, Count count, Name name_of) {
  int i = find(name.c_str());
  if (i >= 0) return i;
  std::string known;
  for (int j = 0; j < count(); j++) known += (j ? ", " : "") + std::string(name_of(j));
  throw py::value_error(std::string(what) + " is '" + name + "'; expected one of: " + known);
}

// Keys of dictionaries that are made by the thousand: made once, and kept as long as the process.
class Keys {
 public:
  explicit Keys(std::initializer_list<const char*> names) {
    for (const char* name : names) keys_.push_back(PyUnicode_InternFromString(name));
  }
  void put(py::dict& d, int i, py::handle value) const {
    if (PyDict_SetItem(d.ptr(), keys_[static_cast<std::size_t>(i)], value.ptr()) != 0)
      throw py::error_already_set();
  }
  void put(py::dict& d, int i, std::int64_t value) const { put(d, i, py::int_(value)); }
  void put(py::dict& d, int i, double value) const { put(d, i, py::float_(value)); }

 private:
  std::vector<PyObject*> keys_;
};

inline py::dict moments_dict(const gm_moments& m) {
  static const Keys keys(
      {"count", "zeros", "subnormals", "nans", "infs", "sum", "sum_squares", "max_abs", "norm", "deviation"});
  py::dict d;
  int i = 0;
  for (const std::int64_t n : {m.count, m.zeros, m.subnormals, m.nans, m.infs}) keys.put(d, i++, n);
  for (const double v : {m.sum, m.sum_squares, m.max_abs, m.norm, m.deviation}) keys.put(d, i++, v);
  return d;
}
