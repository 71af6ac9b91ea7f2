// Layer norm, RMS norm and group norm over (N, C): one kernel, rows-types. cache: mean and 1 / sqrt(var +
// eps) of every group of every row.
#include "../../group_norm.hpp"

#include "../layer_type.hpp"

namespace gradiometer {
namespace {

// Layer norm has the first three attributes, RMS norm the first two; what a type does not have set_up fills
// in.
enum { kEps, kAffine, kBias, kGroups, kCentred };
const Parameter attributes[] = {
    {"eps", 1e-5, 1e-300, 1e300}, {"affine", 1, 0, 1}, {"bias", 1, 0, 1}, {"groups", 1, 1, 1e9}};

gm_status set_up(Node& node, bool bias, int64_t groups, bool centred, gm_error* e) {
  const int64_t C = node.in_features[0];
  if (C % groups != 0)
    return fail(e, GM_INVALID_ARGUMENT, "groups", "%lld features in %lld groups; expected equal groups",
                static_cast<long long>(C), static_cast<long long>(groups));
  node.features = C;
  node.attributes[kGroups] = static_cast<double>(groups);
  node.attributes[kCentred] = centred;
  node.parameters[0] = {"weight", 1, {C, 1}, 1, 0};
  node.parameters[1] = {"bias", 1, {C, 1}, 0, 0};
  node.parameter_count = node.attributes[kAffine] == 0 ? 0 : bias ? 2 : 1;
  return GM_OK;
}
gm_status set_up_layer(Node& node, gm_error* e) {
  return set_up(node, node.attributes[kBias] != 0, 1, true, e);
}
gm_status set_up_rms(Node& node, gm_error* e) { return set_up(node, false, 1, false, e); }
gm_status set_up_group(Node& node, gm_error* e) {
  return set_up(node, node.attributes[kBias] != 0, static_cast<int64_t>(node.attributes[kGroups]), true, e);
}

int64_t groups(const Node& node) { return static_cast<int64_t>(node.attributes[kGroups]); }

template <class T>
void forward(const Call<T>& c, Range rows) {
  const int64_t C = c.node.features, at = rows.begin * C;
  c.k.group_norm_forward(rows.size(), C, groups(c.node), c.node.attributes[kCentred] != 0,
                         c.node.attributes[kEps], c.x[0] + at,
                         c.node.parameter_count > 0 ? c.parameters[0] : nullptr,
                         c.node.parameter_count > 1 ? c.parameters[1] : nullptr, c.y + at,
                         c.cache + 2 * rows.begin * groups(c.node));
}

template <class T>
void backward(const Call<T>& c, Range rows) {
  const int64_t C = c.node.features, at = rows.begin * C;
  c.k.group_norm_backward(rows.size(), C, groups(c.node), c.node.attributes[kCentred] != 0, c.x[0] + at,
                          c.cache + 2 * rows.begin * groups(c.node),
                          c.node.parameter_count > 0 ? c.parameters[0] : nullptr, c.dy + at, c.dx + at,
                          false);
}

template <class T>
void parameter_gradient(const Call<T>& c, Range columns) {
  group_norm_parameters(c.k, {c.N, c.node.features, groups(c.node), true, c.x[0], c.cache, nullptr, c.dy},
                        columns, c.gradients[0], c.gradients[1], c.accumulate);
}

template <class T>
constexpr LayerFunctions<T> all() {
  LayerFunctions<T> f;
  f.forward = forward<T>;
  f.backward = backward<T>;
  f.parameter_gradient = parameter_gradient<T>;
  return f;
}

constexpr LayerType type(const char* name, int attribute_count, gm_status (*set_up)(Node&, gm_error*)) {
  LayerType t;
  t.name = name;
  t.attribute_count = attribute_count;
  t.attributes = attributes;
  t.set_up = set_up;
  t.backward_in_place = false;  // its parameters' gradients want dy after the backward pass
  t.cache_size_of_row = [](const Node& node) { return 2 * groups(node); };
  t.flops = [](const Node& node) { return 10.0 * static_cast<double>(node.features); };
  t.f32 = all<float>();
  t.f64 = all<double>();
  return t;
}

}  // namespace

extern const LayerType layer_norm_layer, rms_norm_layer, group_norm_layer;
const LayerType layer_norm_layer = type("layer_norm", 3, set_up_layer);
const LayerType rms_norm_layer = type("rms_norm", 2, set_up_rms);
const LayerType group_norm_layer = type("group_norm", 4, set_up_group);

}  // namespace gradiometer
