// The list of layer types: the one place that names them all.
#include "../layer_type.hpp"

namespace gradiometer {

extern const LayerType linear_layer, activation_layer, batch_norm_layer, layer_norm_layer, rms_norm_layer,
    group_norm_layer, add_layer, concat_layer, dropout_layer, prelu_layer, softmax_layer, log_softmax_layer,
    lstm_layer, gru_layer, rnn_layer, last_step_layer;

static const LayerType* const types[] = {
    &linear_layer,   &activation_layer, &batch_norm_layer, &layer_norm_layer,
    &rms_norm_layer, &group_norm_layer, &add_layer,        &concat_layer,
    &dropout_layer,  &prelu_layer,      &softmax_layer,    &log_softmax_layer,
    &lstm_layer,     &gru_layer,        &rnn_layer,        &last_step_layer};

int layer_type_count() { return static_cast<int>(sizeof types / sizeof types[0]); }
const LayerType& layer_type(int i) { return *types[i]; }

}  // namespace gradiometer
