// The raw kernels. The GIL is released around every native call: it touches no Python object, and the arrays
// are kept alive by the Input and output holders of the calling frame.
#include <algorithm>
#include <climits>
#include <memory>
#include <optional>

#include "arrays.hpp"
#include "loss.hpp"
#include "parameters.hpp"
#include "pieces.hpp"

void bind_library(py::module_& m) {
  m.def("version", [] { return std::string(gm_version()); });
  m.def("threaded", [] { return gm_threaded() != 0; });
  m.def("isas", [] {
    py::list names;
    for (int i = 0; i < gm_isa_count(); i++)
      if (gm_isa_supported(i)) names.append(gm_isa_name(i));
    return py::tuple(names);
  });
  m.def("isa", [] { return std::string(gm_isa()); });
  m.def("isa_error",
        []() -> py::object { return gm_isa_error() ? py::object(py::str(gm_isa_error())) : py::none(); });
  m.def(
      "set_isa",
      [](py::object name) {
        const std::string isa = name.is_none() ? "" : text(name, "name");
        Error e;
        check(gm_isa_set(name.is_none() ? nullptr : isa.c_str(), &e), e);
      },
      py::arg("name"));
  m.def("threads", [] { return gm_threads(); });
  m.def(
      "set_threads",
      [](py::object n_) {
        const std::int64_t n = whole(n_, "n");
        Error e;
        check(gm_threads_set(static_cast<int>(std::clamp<std::int64_t>(n, INT_MIN, INT_MAX)), &e), e);
      },
      py::arg("n"));
  m.def("flushes_subnormals", [] { return gm_flushes_subnormals() != 0; });
}

void bind_activations(py::module_& m) {
  m.def("activations", [] {
    py::dict rows;
    for (int i = 0; i < gm_activation_count(); i++) {
      const gm_parameter* p;
      int n = gm_activation_parameters(i, &p);
      rows[gm_activation_name(i)] = parameter_dict(p, n);
    }
    return rows;
  });
  m.def(
      "activation_forward",
      [](py::object name_, py::object x, py::object out, const py::kwargs& params) {
        const std::string name = text(name_, "name");
        int i = find_or_throw("name", name, gm_activation_find, gm_activation_count, gm_activation_name);
        const gm_parameter* specs;
        int n = gm_activation_parameters(i, &specs);
        std::vector<double> p = parameter_values(name, specs, n, params);
        Input in = input(x, "x");
        py::array y =
            output(out, "out", in.dtype, Shape(in.array.shape(), in.array.shape() + in.array.ndim()));
        separate(in, y);
        const py::ssize_t size = y.itemsize();
        const char* from = static_cast<const char*>(in.data());
        char* to = static_cast<char*>(y.mutable_data());
        in_pieces(in.size(), piece_of_activation(), [&](std::int64_t first, std::int64_t count, Error& e) {
          return gm_activation_forward(i, in.dtype, count, from + first * size, to + first * size, p.data(),
                                       &e);
        });
        return y;
      },
      py::arg("name"), py::arg("x"), py::arg("out") = py::none());
  m.def(
      "activation_backward",
      [](py::object name_, py::object x, py::object dy, py::object out, const py::kwargs& params) {
        const std::string name = text(name_, "name");
        int i = find_or_throw("name", name, gm_activation_find, gm_activation_count, gm_activation_name);
        const gm_parameter* specs;
        int n = gm_activation_parameters(i, &specs);
        std::vector<double> p = parameter_values(name, specs, n, params);
        Input in = input(x, "x"), d = input(dy, "dy", in.dtype);
        Shape shape(in.array.shape(), in.array.shape() + in.array.ndim());
        expect_shape(d.array, "dy", shape);
        py::array dx = output(out, "out", in.dtype, shape);
        separate(in, dx);
        separate(d, dx);
        const py::ssize_t size = dx.itemsize();
        const char *from = static_cast<const char*>(in.data()), *above = static_cast<const char*>(d.data());
        char* to = static_cast<char*>(dx.mutable_data());
        in_pieces(in.size(), piece_of_activation(), [&](std::int64_t first, std::int64_t count, Error& e) {
          return gm_activation_backward(i, in.dtype, count, from + first * size, above + first * size,
                                        to + first * size, p.data(), &e);
        });
        return dx;
      },
      py::arg("name"), py::arg("x"), py::arg("dy"), py::arg("out") = py::none());
}

namespace {

// A B of `kernels.pack`.
struct Packed {
  gm_packed* handle = nullptr;
  gm_dtype dtype;
  py::ssize_t K, N;
  Packed(gm_dtype dtype_, py::ssize_t K_, py::ssize_t N_) : dtype(dtype_), K(K_), N(N_) {}
  Packed(const Packed&) = delete;
  Packed& operator=(const Packed&) = delete;
  ~Packed() { gm_packed_free(handle); }
};

gm_form form_of(const std::string& form) {
  if (form != "NN" && form != "NT" && form != "TN")
    throw py::value_error("form is '" + form + "'; expected 'NN', 'NT' or 'TN'");
  return form == "NN" ? GM_NN : form == "NT" ? GM_NT : GM_TN;
}

}  // namespace

void bind_dense(py::module_& m) {
  const py::handle packed_type =
      py::class_<Packed>(m, "Packed")
          .def_property_readonly("shape", [](const Packed& b) { return py::make_tuple(b.K, b.N); })
          .def_property_readonly(
              "dtype", [](const Packed& b) { return numpy_dtype(b.dtype); });  // as long as the module lives

  m.def(
      "pack",
      [](py::object b_, py::object form_) {
        const gm_form form = form_of(text(form_, "form"));
        Input b = input(b_, "b");
        expect_ndim(b.array, "b", 2);
        const bool turned = form == GM_NT;
        auto packed =
            std::make_unique<Packed>(b.dtype, b.array.shape(turned ? 1 : 0), b.array.shape(turned ? 0 : 1));
        Error e;
        gm_status status;
        {
          Unlocked elsewhere;
          status = gm_gemm_pack(form, b.dtype, packed->N, packed->K, b.data(), b.array.shape(1),
                                &packed->handle, &e);
        }
        check(status, e);
        return packed;
      },
      py::arg("b"), py::arg("form") = "NN");

  m.def(
      "gemm",
      [packed_type](py::object a_, py::object b_, py::object form_, py::object out, py::object accumulate_) {
        const bool accumulate = flag(accumulate_, "accumulate");
        const gm_form form = form_of(text(form_, "form"));
        const Packed* packed =
            py::type::handle_of(b_).is(packed_type) ? py::cast<const Packed*>(b_) : nullptr;
        Input a = input(a_, "a");
        std::optional<Input> b;  // an empty py::array costs 0.2 us
        if (packed && packed->dtype != a.dtype)
          throw py::type_error("b was packed as " + std::string(py::str(numpy_dtype(packed->dtype))) +
                               "; expected " + std::string(py::str(numpy_dtype(a.dtype))) + " to match a");
        expect_ndim(a.array, "a", 2);
        if (!packed) {
          b = input(b_, "b", a.dtype);
          expect_ndim(b->array, "b", 2);
        }
        py::ssize_t M = a.array.shape(form == GM_TN ? 1 : 0), K = a.array.shape(form == GM_TN ? 0 : 1);
        py::ssize_t N = packed ? packed->N : b->array.shape(form == GM_NT ? 0 : 1);
        py::ssize_t Kb = packed ? packed->K : b->array.shape(form == GM_NT ? 1 : 0);
        if (K != Kb)
          throw py::value_error("b has shape " + (packed ? shape_text(Shape{Kb, N}) : shape_text(b->array)) +
                                "; expected " + std::to_string(K) +
                                (form == GM_NT && !packed ? " columns" : " rows") + " to match a of shape " +
                                shape_text(a.array));
        if (accumulate && out.is_none())
          throw py::value_error("out is None; accumulate=True needs an array to add to");
        py::array c = output(out, "out", a.dtype, {M, N});
        if (!out.is_none()) {
          if (a.data() == c.data() || (!packed && b->data() == c.data()))
            throw py::value_error("out is one of the factors; expected memory of its own");
          separate(a, c);
          if (!packed) separate(*b, c);
        }
        if (packed) {
          const py::ssize_t step = (form == GM_TN ? 1 : K) * c.itemsize(), lda = a.array.shape(1);
          const char* from = static_cast<const char*>(a.data());
          char* to = static_cast<char*>(c.mutable_data());
          in_pieces(M, piece_of(M, 2.0 * static_cast<double>(K) * static_cast<double>(N)),
                    [&](std::int64_t row, std::int64_t count, Error& e) {
                      return gm_gemm_packed(form, count, from + row * step, lda, packed->handle,
                                            to + row * N * c.itemsize(), N, accumulate, &e);
                    });
        } else {
          gemm_in_pieces(form, a.dtype, M, N, K, a.data(), a.array.shape(1), b->data(), b->array.shape(1),
                         c.mutable_data(), N, accumulate);
        }
        return c;
      },
      py::arg("a"), py::arg("b"), py::arg("form") = "NN", py::arg("out") = py::none(),
      py::arg("accumulate") = false);

  m.def(
      "linear_forward",
      [](py::object x_, py::object weight_, py::object bias_, py::object out) {
        Input x = input(x_, "x"), w = input(weight_, "weight", x.dtype);
        expect_ndim(x.array, "x", 2);
        expect_ndim(w.array, "weight", 2);
        py::ssize_t N = x.array.shape(0), I = x.array.shape(1), H = w.array.shape(0);
        expect_shape(w.array, "weight", {H, I});
        std::optional<Input> b;
        if (!bias_.is_none()) {
          b = input(bias_, "bias", x.dtype);
          expect_shape(b->array, "bias", {H});
        }
        py::array y = output(out, "out", x.dtype, {N, H});
        if (!out.is_none() && (x.data() == y.data() || w.data() == y.data()))
          throw py::value_error("out is x or weight; expected memory of its own");
        separate(x, y);
        detach(w, y);
        if (b) detach(*b, y);
        const void* bias = bias_.is_none() ? nullptr : b->data();
        const py::ssize_t size = y.itemsize();
        const char* from = static_cast<const char*>(x.data());
        char* to = static_cast<char*>(y.mutable_data());
        const std::int64_t rows = piece_of(N, 2.0 * static_cast<double>(I) * static_cast<double>(H));
        in_pieces(N, rows, [&](std::int64_t first, std::int64_t count, Error& e) {
          return gm_linear_forward(x.dtype, count, I, H, from + first * I * size, w.data(), bias,
                                   to + first * H * size, &e);
        });
        return y;
      },
      py::arg("x"), py::arg("weight"), py::arg("bias") = py::none(), py::arg("out") = py::none());

  m.def(
      "linear_backward",
      [](py::object x_, py::object weight_, py::object dy_) {
        Input x = input(x_, "x"), w = input(weight_, "weight", x.dtype), dy = input(dy_, "dy", x.dtype);
        expect_ndim(x.array, "x", 2);
        expect_ndim(w.array, "weight", 2);
        py::ssize_t N = x.array.shape(0), I = x.array.shape(1), H = w.array.shape(0);
        expect_shape(w.array, "weight", {H, I});
        expect_shape(dy.array, "dy", {N, H});
        py::array dx(numpy_dtype(x.dtype), Shape{N, I}), dw(numpy_dtype(x.dtype), Shape{H, I}),
            db(numpy_dtype(x.dtype), Shape{H});
        gemm_in_pieces(GM_NN, x.dtype, N, I, H, dy.data(), H, w.data(), I, dx.mutable_data(), I, false);
        gemm_in_pieces(GM_TN, x.dtype, H, I, N, dy.data(), H, x.data(), I, dw.mutable_data(), I, false);
        in_pieces(1, 1, [&](std::int64_t, std::int64_t, Error& e) {
          return gm_linear_backward(x.dtype, N, I, H, x.data(), w.data(), dy.data(), nullptr, nullptr,
                                    db.mutable_data(), 0, &e);
        });
        return py::make_tuple(dx, dw, db);
      },
      py::arg("x"), py::arg("weight"), py::arg("dy"));
}

namespace {

// A factor or summand of each of C features, or null for None; `keep` holds it.
const void* features(py::handle h, const char* name, gm_dtype dtype, py::ssize_t C, Input& keep) {
  if (h.is_none()) return nullptr;
  keep = input(h, name, dtype);
  expect_shape(keep.array, name, {C});
  return keep.data();
}

// What a forward call saved: float64 whatever x is, and never converted.
Input saved_statistics(py::handle cache) {
  Input in = input(cache, "cache");
  if (in.dtype != GM_FLOAT64)
    throw py::type_error("cache has dtype float32; expected the float64 array that the forward call gave");
  return in;
}

// The arrays of a batch norm call, checked together.
struct Norm {
  Input x, gamma, beta;
  Shape shape;
  py::ssize_t N, C, L;
  gm_batch_norm c = {};
  Norm(py::handle x_, py::handle gamma_, py::handle beta_, py::handle mean, py::handle var, bool training,
       double momentum, py::handle eps)
      : x(input(x_, "x")) {
    const py::array& a = x.array;
    if (a.ndim() != 2 && a.ndim() != 3)
      throw py::value_error("x has shape " + shape_text(a) + "; expected (N, C) or (N, C, L)");
    shape = Shape(a.shape(), a.shape() + a.ndim());
    N = shape[0];
    C = shape[1];
    L = a.ndim() == 3 ? shape[2] : 1;
    c.struct_size = sizeof c;
    c.eps = number(eps, "eps");
    c.momentum = momentum;
    c.training = training;
    c.gamma = features(gamma_, "gamma", x.dtype, C, gamma);
    c.beta = features(beta_, "beta", x.dtype, C, beta);
    if (mean.is_none() != var.is_none())
      throw py::value_error("running_mean and running_var go together; one of them is None");
    if (!mean.is_none()) {
      c.running_mean = in_place(mean, "running_mean", x.dtype, C);
      c.running_var = in_place(var, "running_var", x.dtype, C);
    }
  }

  // gamma and beta share no memory with what is written.
  void detach(const py::array& out) {
    for (auto [input, pointer] : {std::pair(&gamma, &c.gamma), std::pair(&beta, &c.beta)})
      if (*pointer) {
        ::detach(*input, out);
        *pointer = input->data();
      }
  }
};

}  // namespace

void bind_batch_norm(py::module_& m) {
  m.def(
      "batch_norm_forward",
      [](py::object x, py::object gamma, py::object beta, py::object mean, py::object var,
         py::object training, py::object momentum, py::object eps, py::object out) {
        Norm norm(x, gamma, beta, mean, var, flag(training, "training"), number(momentum, "momentum"), eps);
        py::array y = output(out, "out", norm.x.dtype, norm.shape);
        separate(norm.x, y);
        norm.detach(y);
        py::array_t<double> cache(Shape{2, norm.C});
        double* saved = cache.mutable_data();
        Error e;
        gm_status status;
        {
          Unlocked elsewhere;
          status = gm_batch_norm_forward(norm.x.dtype, norm.N, norm.C, norm.L, norm.x.data(), &norm.c,
                                         y.mutable_data(), saved, &e);
        }
        check(status, e);
        return py::make_tuple(y, cache);
      },
      py::arg("x"), py::arg("gamma") = py::none(), py::arg("beta") = py::none(),
      py::arg("running_mean") = py::none(), py::arg("running_var") = py::none(), py::arg("training") = true,
      py::arg("momentum") = 0.1, py::arg("eps") = 1e-5, py::arg("out") = py::none());

  m.def(
      "batch_norm_backward",
      [](py::object x, py::object dy_, py::object cache_, py::object gamma, py::object training,
         py::object eps, py::object out) {
        Norm norm(x, gamma, py::none(), py::none(), py::none(), true, 0.1, eps);
        Input dy = input(dy_, "dy", norm.x.dtype);
        expect_shape(dy.array, "dy", norm.shape);
        Input cache = saved_statistics(cache_);
        expect_shape(cache.array, "cache", {2, norm.C});
        const bool trained = flag(training, "training");
        py::array dx = output(out, "out", norm.x.dtype, norm.shape);
        separate(norm.x, dx);
        norm.detach(dx);
        separate(dy, dx);
        detach(cache, dx);
        if (!trained) {  // the statistics are in the cache; the C API only wants to see that there are
                         // running ones
          norm.c.training = 0;
          norm.c.running_mean = norm.c.running_var = const_cast<void*>(cache.data());
        }
        py::array dgamma(numpy_dtype(norm.x.dtype), Shape{norm.C}),
            dbeta(numpy_dtype(norm.x.dtype), Shape{norm.C});
        const double* saved = static_cast<const double*>(cache.data());
        Error e;
        gm_status status;
        {
          Unlocked elsewhere;
          status = gm_batch_norm_backward(norm.x.dtype, norm.N, norm.C, norm.L, norm.x.data(), &norm.c, saved,
                                          dy.data(), dx.mutable_data(), dgamma.mutable_data(),
                                          dbeta.mutable_data(), 0, &e);
        }
        check(status, e);
        return py::make_tuple(dx, dgamma, dbeta);
      },
      py::arg("x"), py::arg("dy"), py::arg("cache"), py::arg("gamma") = py::none(),
      py::arg("training") = true, py::arg("eps") = 1e-5, py::arg("out") = py::none());
}

namespace {

// The arrays of a group norm call, checked together.
struct GroupNorm {
  Input x, gamma, beta;
  py::ssize_t N = 0, C = 0;
  gm_group_norm c = {};
  GroupNorm(py::handle x_, std::int64_t groups, py::handle gamma_, py::handle beta_, bool centred, double eps)
      : x(input(x_, "x")) {
    expect_ndim(x.array, "x", 2);
    N = x.array.shape(0);
    C = x.array.shape(1);
    c = {sizeof c, groups, centred, eps, nullptr, nullptr};
    c.gamma = features(gamma_, "gamma", x.dtype, C, gamma);
    c.beta = features(beta_, "beta", x.dtype, C, beta);
  }

  // `out`, or a new array; gamma and beta, read once a row, share no memory with it.
  py::array like_x(py::handle out) {
    py::array made = output(out, "out", x.dtype, {N, C});
    separate(x, made);
    if (c.gamma) {
      detach(gamma, made);
      c.gamma = gamma.data();
    }
    if (c.beta) {
      detach(beta, made);
      c.beta = beta.data();
    }
    return made;
  }
};

}  // namespace

void bind_group_norm(py::module_& m) {
  m.def(
      "group_norm_forward",
      [](py::object x, py::object groups_, py::object gamma, py::object beta, py::object centred,
         py::object eps, py::object out) {
        const std::int64_t groups = whole(groups_, "groups");
        GroupNorm norm(x, groups, gamma, beta, flag(centred, "centred"), number(eps, "eps"));
        py::array y = norm.like_x(out);
        py::array_t<double> cache(Shape{norm.N, groups > 0 && groups <= norm.C ? groups : 0, 2});
        double* saved = cache.mutable_data();
        Error e;
        gm_status status;
        {
          Unlocked elsewhere;
          status = gm_group_norm_forward(norm.x.dtype, norm.N, norm.C, norm.x.data(), &norm.c,
                                         y.mutable_data(), saved, &e);
        }
        check(status, e);
        return py::make_tuple(y, cache);
      },
      py::arg("x"), py::arg("groups") = 1, py::arg("gamma") = py::none(), py::arg("beta") = py::none(),
      py::arg("centred") = true, py::arg("eps") = 1e-5, py::arg("out") = py::none());

  m.def(
      "group_norm_backward",
      [](py::object x, py::object dy_, py::object cache_, py::object gamma, py::object centred,
         py::object out) {
        Input cache = saved_statistics(cache_);
        expect_ndim(cache.array, "cache", 3);
        const py::ssize_t groups = cache.array.shape(1);
        GroupNorm norm(x, groups, gamma, py::none(), flag(centred, "centred"), 1.0);  // eps is in the cache
        Input dy = input(dy_, "dy", norm.x.dtype);
        expect_shape(dy.array, "dy", {norm.N, norm.C});
        expect_shape(cache.array, "cache", {norm.N, groups, 2});
        py::array dx = norm.like_x(out);
        detach(norm.x, dx);  // the sums over the rows read x and dy again after dx is written
        detach(dy, dx);
        detach(cache, dx);
        py::array dgamma(numpy_dtype(norm.x.dtype), Shape{norm.C}),
            dbeta(numpy_dtype(norm.x.dtype), Shape{norm.C});
        const double* saved = static_cast<const double*>(cache.data());
        Error e;
        gm_status status;
        {
          Unlocked elsewhere;
          status =
              gm_group_norm_backward(norm.x.dtype, norm.N, norm.C, norm.x.data(), &norm.c, saved, dy.data(),
                                     dx.mutable_data(), dgamma.mutable_data(), dbeta.mutable_data(), 0, &e);
        }
        check(status, e);
        return py::make_tuple(dx, dgamma, dbeta);
      },
      py::arg("x"), py::arg("dy"), py::arg("cache"), py::arg("gamma") = py::none(), py::arg("centred") = true,
      py::arg("out") = py::none());
}

namespace {

// x as a matrix for PReLU: (N, C), or with one slope any shape.
struct Slopes {
  Input x, weight;
  Shape shape;
  py::ssize_t C, N;
  Slopes(py::handle x_, py::handle weight_) : x(input(x_, "x")), weight(input(weight_, "weight", x.dtype)) {
    shape.assign(x.array.shape(), x.array.shape() + x.array.ndim());
    expect_ndim(weight.array, "weight", 1);
    if (weight.size() != 1) expect_ndim(x.array, "x", 2);
    C = shape.empty() ? 1 : shape.back();
    N = C > 0 ? x.size() / C : 0;
    if (weight.size() != 1) expect_shape(weight.array, "weight", {C});
  }
};

}  // namespace

void bind_prelu(py::module_& m) {
  m.def(
      "prelu_forward",
      [](py::object x, py::object weight, py::object out) {
        Slopes s(x, weight);
        py::array y = output(out, "out", s.x.dtype, s.shape);
        separate(s.x, y);
        detach(s.weight, y);
        Error e;
        gm_status status;
        {
          Unlocked elsewhere;
          status = gm_prelu_forward(s.x.dtype, s.N, s.C, s.weight.size(), s.x.data(), s.weight.data(),
                                    y.mutable_data(), &e);
        }
        check(status, e);
        return y;
      },
      py::arg("x"), py::arg("weight"), py::arg("out") = py::none());

  m.def(
      "prelu_backward",
      [](py::object x, py::object weight, py::object dy_) {
        Slopes s(x, weight);
        Input dy = input(dy_, "dy", s.x.dtype);
        expect_shape(dy.array, "dy", s.shape);
        py::array dx(numpy_dtype(s.x.dtype), s.shape), dw(numpy_dtype(s.x.dtype), Shape{s.weight.size()});
        Error e;
        gm_status status;
        {
          Unlocked elsewhere;
          status = gm_prelu_backward(s.x.dtype, s.N, s.C, s.weight.size(), s.x.data(), s.weight.data(),
                                     dy.data(), dx.mutable_data(), dw.mutable_data(), 0, &e);
        }
        check(status, e);
        return py::make_tuple(dx, dw);
      },
      py::arg("x"), py::arg("weight"), py::arg("dy"));
}

namespace {

// Rows along the last axis.
struct Rows {
  Shape shape;
  py::ssize_t C, N;
  explicit Rows(const Input& x, const char* name) : shape(x.array.shape(), x.array.shape() + x.array.ndim()) {
    if (shape.empty())
      throw py::value_error(std::string(name) + " has no axis; expected rows along the last one");
    C = shape.back();
    N = C > 0 ? x.size() / C : 0;
  }
};

template <class F>
void bind_row_forward(py::module_& m, const char* name, F run) {
  m.def(
      name,
      [run](py::object x_, py::object out) {
        Input x = input(x_, "x");
        Rows rows(x, "x");
        py::array y = output(out, "out", x.dtype, rows.shape);
        separate(x, y);
        Error e;
        gm_status status;
        {
          Unlocked elsewhere;
          status = run(x.dtype, rows.N, rows.C, x.data(), y.mutable_data(), &e);
        }
        check(status, e);
        return y;
      },
      py::arg("x"), py::arg("out") = py::none());
}
template <class F>
void bind_row_backward(py::module_& m, const char* name, F run) {
  m.def(
      name,
      [run](py::object y_, py::object dy_, py::object out) {
        Input y = input(y_, "y"), dy = input(dy_, "dy", y.dtype);
        Rows rows(y, "y");
        expect_shape(dy.array, "dy", rows.shape);
        py::array dx = output(out, "out", y.dtype, rows.shape);
        separate(y, dx);
        separate(dy, dx);
        Error e;
        gm_status status;
        {
          Unlocked elsewhere;
          status = run(y.dtype, rows.N, rows.C, y.data(), dy.data(), dx.mutable_data(), &e);
        }
        check(status, e);
        return dx;
      },
      py::arg("y"), py::arg("dy"), py::arg("out") = py::none());
}

}  // namespace

void bind_softmax(py::module_& m) {
  bind_row_forward(m, "softmax_forward", gm_softmax_forward);
  bind_row_backward(m, "softmax_backward", gm_softmax_backward);
  bind_row_forward(m, "log_softmax_forward", gm_log_softmax_forward);
  bind_row_backward(m, "log_softmax_backward", gm_log_softmax_backward);
  m.def(
      "dropout",
      [](py::object x_, py::object p_, py::object seed_, py::object step_, py::object node_) {
        const double p = number(p_, "p");
        const std::uint64_t seed = natural(seed_, "seed");
        const auto step = static_cast<std::uint32_t>(natural(step_, "step", UINT32_MAX));
        const auto node = static_cast<std::uint32_t>(natural(node_, "node", UINT32_MAX));
        Input x = input(x_, "x");
        py::array y(numpy_dtype(x.dtype), Shape(x.array.shape(), x.array.shape() + x.array.ndim()));
        Error e;
        check(gm_dropout(x.dtype, x.array.size(), x.data(), p, seed, step, node, y.mutable_data(), &e), e);
        return y;
      },
      py::arg("x"), py::arg("p"), py::arg("seed"), py::arg("step") = 0, py::arg("node") = 0);
}

void bind_losses(py::module_& m) {
  m.def("losses", [] {
    py::dict rows;
    for (int i = 0; i < gm_loss_count(); i++) {
      const gm_parameter* p;
      int n = gm_loss_parameters(i, &p);
      py::dict row;
      row["parameters"] = parameter_dict(p, n);
      row["target"] = gm_loss_target(i) == GM_CLASSES ? "classes" : "values";
      rows[gm_loss_name(i)] = row;
    }
    return rows;
  });
  m.def(
      "loss",
      [](py::object name, py::object y_, py::object target, py::object class_weights,
         const py::kwargs& params) {
        Loss loss(text(name, "name"), class_weights, params);
        int i = loss.index;
        Input y = input(y_, "y");
        expect_ndim(y.array, "y", 2);
        py::ssize_t N = y.array.shape(0), C = y.array.shape(1);
        py::array t = targets(target, "target", gm_loss_target(i), y.dtype, N, C);
        py::array dy(numpy_dtype(y.dtype), Shape{N, C});
        double value = 0;
        Error e;
        gm_status status;
        {
          Unlocked elsewhere;
          status = gm_loss(i, y.dtype, N, C, y.data(), t.data(), loss.params.data(), loss.class_weights(C),
                           &value, dy.mutable_data(), &e);
        }
        check(status, e);
        return py::make_tuple(value, dy);
      },
      py::arg("name"), py::arg("y"), py::arg("target"), py::arg("class_weights") = py::none());
}

void bind_optimizers(py::module_& m) {
  m.def("optimizers", [] {
    py::dict rows;
    for (int i = 0; i < gm_optimizer_count(); i++) {
      const gm_parameter* p;
      int n = gm_optimizer_parameters(i, &p);
      py::dict row;
      row["parameters"] = parameter_dict(p, n);
      row["slots"] = gm_optimizer_slots(i);
      rows[gm_optimizer_name(i)] = row;
    }
    return rows;
  });
  m.def(
      "optimizer_step",
      [](py::object name_, py::object w, py::object g_, py::object slots, py::object learning_rate_,
         py::object step_, const py::kwargs& params) {
        const std::string name = text(name_, "name");
        const double learning_rate = number(learning_rate_, "learning_rate");
        const std::int64_t step = whole(step_, "step");
        int i = find_or_throw("optimizer", name, gm_optimizer_find, gm_optimizer_count, gm_optimizer_name);
        Input g = input(g_, "gradients");
        const gm_parameter* specs;
        int n = gm_optimizer_parameters(i, &specs);
        std::vector<double> p = parameter_values(name, specs, n, params);
        void* parameters = in_place(w, "parameters", g.dtype, g.size());
        void* state = in_place(slots, "slots", g.dtype, g.size() * gm_optimizer_slots(i));
        Error e;
        gm_status status;
        {
          Unlocked elsewhere;
          status = gm_optimizer_step(i, g.dtype, g.size(), parameters, g.data(), state, learning_rate, step,
                                     p.data(), &e);
        }
        check(status, e);
      },
      py::arg("name"), py::arg("parameters"), py::arg("gradients"), py::arg("slots"),
      py::arg("learning_rate"), py::arg("step"));
}

void bind_measurement(py::module_& m) {
  m.def(
      "moments",
      [](py::object x_) {
        Input x = input(x_, "x");
        gm_moments out;
        Error e;
        gm_status status;
        {
          Unlocked elsewhere;
          status = gm_measure(x.dtype, x.size(), x.data(), &out, &e);
        }
        check(status, e);
        return moments_dict(out);
      },
      py::arg("x"));
  m.def(
      "moments_of_each",
      [](const py::list& arrays) {
        std::vector<Input> x;
        for (py::handle each : arrays) x.push_back(input(py::reinterpret_borrow<py::object>(each), "arrays"));
        std::vector<gm_moments> out(x.size());
        Error e;
        gm_status status = GM_OK;
        {
          Unlocked elsewhere;
          for (std::size_t i = 0; i < x.size() && status == GM_OK; i++)
            status = gm_measure(x[i].dtype, x[i].size(), x[i].data(), &out[i], &e);
        }
        check(status, e);
        py::list made;
        for (const gm_moments& each : out) made.append(moments_dict(each));
        return made;
      },
      py::arg("arrays"));
}
