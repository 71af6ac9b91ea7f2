// A loss with its parameters and class weights, as Python holds it.
#pragma once
#include <pybind11/numpy.h>

#include "parameters.hpp"

struct Loss {
  int index;
  std::vector<double> params, weights;

  Loss(const std::string& name, const py::object& class_weights, const py::dict& given) {
    index = find_or_throw("loss", name, gm_loss_find, gm_loss_count, gm_loss_name);
    const gm_parameter* specs;
    int n = gm_loss_parameters(index, &specs);
    params = parameter_values(name, specs, n, given);
    check_ranges(name, specs, n, params);
    if (class_weights.is_none()) return;
    if (gm_loss_target(index) != GM_CLASSES)
      throw py::type_error(name + " takes no class_weights: its target is values");
    auto a = py::array_t<double, py::array::c_style | py::array::forcecast>::ensure(class_weights);
    if (!a || a.ndim() != 1 || a.size() == 0) {
      PyErr_Clear();
      throw py::value_error("class_weights is " + py::repr(class_weights).cast<std::string>() +
                            "; expected one number a class");
    }
    weights.assign(a.data(), a.data() + a.size());
    for (size_t c = 0; c < weights.size(); c++)
      if (!(weights[c] >= 0 && std::isfinite(weights[c])))
        throw py::value_error("class_weights[" + std::to_string(c) + "] is " + std::to_string(weights[c]) +
                              "; expected a finite number, 0 or more");
  }
  // A name stands for the loss with its defaults.
  static Loss of(const py::handle& loss) {
    if (py::isinstance<Loss>(loss)) return loss.cast<Loss>();
    if (!py::isinstance<py::str>(loss))
      throw py::type_error("loss is " + py::repr(loss).cast<std::string>() + "; expected a name or a Loss");
    return Loss(loss.cast<std::string>(), py::none(), py::dict());
  }
  // Weights of C classes, or null for none.
  const double* class_weights(py::ssize_t C) const {
    if (weights.empty()) return nullptr;
    if (static_cast<py::ssize_t>(weights.size()) != C)
      throw py::value_error("class_weights has " + std::to_string(weights.size()) + " numbers; expected " +
                            std::to_string(C) + ", one a class");
    return weights.data();
  }
};
