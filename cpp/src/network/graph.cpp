#include "graph.hpp"

#include "../parameters.hpp"

namespace gradiometer {
namespace {

const LayerType* find_type(const char* name) {
  for (int i = 0; name && i < layer_type_count(); i++)
    if (!strcmp(layer_type(i).name, name)) return &layer_type(i);
  return nullptr;
}

// One attribute of a node: the activation's name, a number of the type, or a parameter of the named
// activation.
gm_status set_attribute(Node& node, const gm_attribute& a, gm_error* e) {
  const LayerType& type = *node.type;
  if (type.text_attribute && !strcmp(a.name, type.text_attribute)) return GM_OK;  // taken before the others
  for (int i = 0; i < type.attribute_count; i++)
    if (!strcmp(type.attributes[i].name, a.name)) {
      node.attributes[i] = a.number;
      return check_parameter(type.name, type.attributes[i], a.number, e);
    }
  if (node.activation >= 0) {
    const Activation& f = kernels().activations[node.activation];
    for (int i = 0; i < f.parameter_count; i++)
      if (!strcmp(f.parameters[i].name, a.name)) {
        node.activation_parameters[i] = a.number;
        return check_parameter(f.name, f.parameters[i], a.number, e);
      }
  }
  return fail(e, GM_INVALID_ARGUMENT, "attributes", "%s has no attribute '%.40s'", type.name, a.name);
}

gm_status set_activation(Node& node, const gm_attribute* attributes, int count, gm_error* e) {
  node.activation = -1;
  const char* wanted = node.type->text_attribute;
  if (!wanted) return GM_OK;
  for (int i = 0; i < count; i++)
    if (!strcmp(attributes[i].name, wanted)) {
      node.activation = find(kernels().activations, kernels().activation_count, attributes[i].text);
      if (node.activation < 0)
        return fail(e, GM_INVALID_ARGUMENT, wanted, "%s is '%.40s'; expected the name of an activation",
                    wanted, attributes[i].text ? attributes[i].text : "");
      const Activation& f = kernels().activations[node.activation];
      for (int j = 0; j < f.parameter_count; j++) node.activation_parameters[j] = f.parameters[j].initial;
      return GM_OK;
    }
  return fail(e, GM_INVALID_ARGUMENT, wanted, "%s needs the attribute '%s'", node.type->name, wanted);
}

}  // namespace

gm_status Graph::create(int64_t features, bool sequence, gm_error* e) {
  if (features < 1 || features > 1000000000)
    return fail(e, GM_INVALID_ARGUMENT, "features", "features is %lld; expected 1 to 1e9",
                static_cast<long long>(features));
  Node input = {};
  input.features = features;
  input.sequence = sequence;
  input.activation = -1;
  if (!nodes.push(input)) return out_of_memory(e, "graph", static_cast<long long>(sizeof(Node)));
  return ok(e);
}

gm_status Graph::add(const char* type, const int* inputs, int input_count, const gm_attribute* attributes,
                     int attribute_count, int* id, gm_error* e) {
  Node node = {};
  node.type = find_type(type);
  if (!node.type)
    return fail(e, GM_INVALID_ARGUMENT, "type", "layer type '%.40s' is unknown", type ? type : "");
  if (input_count != node.type->input_count)
    return fail(e, GM_INVALID_ARGUMENT, "inputs", "%s has %d inputs; expected %d", type, input_count,
                node.type->input_count);
  node.input_count = input_count;
  for (int i = 0; i < input_count; i++) {
    if (inputs[i] < 0 || inputs[i] >= nodes.size)
      return fail(e, GM_INVALID_ARGUMENT, "inputs", "input node %d; expected 0 to %d", inputs[i],
                  nodes.size - 1);
    node.inputs[i] = inputs[i];
    node.in_features[i] = nodes[inputs[i]].features;
    node.sequence = nodes[inputs[i]].sequence;
    if (node.sequence != nodes[inputs[0]].sequence)
      return fail(e, GM_INVALID_ARGUMENT, "inputs",
                  "%s of a sequence and a single row a sample; expected two of the same kind", type);
  }
  if (node.type->time != Time::rows && !node.sequence)
    return fail(e, GM_INVALID_ARGUMENT, "inputs", "%s gets a single row a sample; expected a sequence", type);
  if (node.type->time == Time::row) node.sequence = false;
  for (int i = 0; i < node.type->attribute_count; i++) node.attributes[i] = node.type->attributes[i].initial;
  GM_TRY(set_activation(node, attributes, attribute_count, e));
  for (int i = 0; i < attribute_count; i++) GM_TRY(set_attribute(node, attributes[i], e));
  GM_TRY(node.type->set_up(node, e));
  if (!nodes.push(node)) return out_of_memory(e, "graph", static_cast<long long>(sizeof(Node)));
  if (id) *id = nodes.size - 1;
  return ok(e);
}

int Graph::consumers(int id) const {
  int n = 0;
  for (const Node& node : nodes)
    for (int i = 0; i < node.input_count; i++) n += node.inputs[i] == id;
  return n;
}

gm_status Graph::check_complete(gm_error* e) const {
  if (nodes.size < 2)
    return fail(e, GM_INVALID_ARGUMENT, "graph", "the graph has no layer; expected one or more");
  Array<int> used;
  if (!used.reserve(nodes.size)) return out_of_memory(e, "graph", nodes.size);
  for (int i = 0; i < nodes.size; i++) used.push(0);
  for (const Node& node : nodes)
    for (int i = 0; i < node.input_count; i++) used[node.inputs[i]]++;
  for (int i = 0; i < output(); i++)
    if (!used[i])
      return fail(e, GM_INVALID_ARGUMENT, "graph",
                  "the output of node %d is not used; the last node is the output", i);
  return ok(e);
}

}  // namespace gradiometer
