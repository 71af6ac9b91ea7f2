from __future__ import annotations

from gradiometer.diagnosis.findings import Finding, Rule
from gradiometer.measurement.result import Measurement

EXPLAIN = """
What     The network ends in a softmax, and cross-entropy takes the softmax of what it is given: it is done
         twice. The network trains, but slowly and to a floor, and nothing says so.

Why      The second softmax sees numbers between 0 and 1 that sum to 1. Of K classes it can give the right
         one at most e / (e + K - 1), which is 0.23 for 10 classes, so the loss cannot fall below

             ln(e + K - 1) - 1,      1.46 for 10 classes,

         and the gradient passes two softmax slopes, the inner of which is near 0 once the network is sure.
         After a log-softmax the second one changes nothing, for log-softmax of log-softmax is log-softmax:
         value and gradient stay right, and its work is done for nothing.

Measured By what the output of the network is and by the name of the loss.

Try      Leave the last softmax out: cross-entropy wants logits. Take the softmax of the logits where
         probabilities are wanted.

Sources  The formula of cross-entropy; torch.nn.CrossEntropyLoss wants "unnormalized logits for each class".
"""

LOSSES = ("cross_entropy", "CrossEntropyLoss")


def check(measurement: Measurement) -> Finding | None:
    if measurement.loss not in LOSSES or measurement.ends_in is None:
        return None
    last = measurement.layers[-1].index
    if measurement.ends_in == "softmax":
        return Finding(
            "double-softmax",
            "fail",
            "the output is a softmax already, and cross-entropy takes another of it",
            (last, last),
            {"classes": float(measurement.layers[-1].fan_out), "loss": measurement.loss_value},
            "The softmax at the end is one too many: cross-entropy wants logits. Leave it out.",
        )
    text = "log-softmax before cross-entropy is harmless: the one within changes nothing"
    return Finding("double-softmax", "ok", text)


RULE = Rule("double-softmax", "softmax before cross-entropy, which takes its own", EXPLAIN, check)
