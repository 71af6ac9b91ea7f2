"""Odd and bad input: what is accepted gives the right bits, what is not is refused by the name of the argument, what
came and what was expected; and nothing has changed then."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from fractions import Fraction
from pathlib import Path
from typing import Any

import gradiometer as gm
import numpy as np
import pytest

Array = Any
K = gm.kernels

FOREIGN = {
    "int64": np.ones((4, 4), np.int64),
    "bool": np.ones((4, 4), bool),
    "float16": np.ones((4, 4), np.float16),
    "longdouble": np.ones((4, 4), np.longdouble),
    "complex128": np.ones((4, 4), complex),
    "object": np.full((4, 4), Fraction(1, 2)),
    "<U1": np.full((4, 4), "a"),
    "datetime64": np.full((4, 4), np.datetime64(datetime(2020, 1, 1))),
}


def square(dtype: str = "float32") -> Array:
    return np.random.default_rng(0).normal(size=(4, 4)).astype(dtype)


def vector() -> Array:
    return np.random.default_rng(1).normal(size=4).astype("float32")


KERNELS: dict[str, Callable[[Array], Any]] = {
    "forward": lambda x: K.forward("tanh", x),
    "backward": lambda x: K.backward("tanh", x, x),
    "gemm": lambda x: K.gemm(x, x),
    "linear_forward": lambda x: K.linear_forward(x, x),
    "linear_backward": lambda x: K.linear_backward(x, x, x)[0],
    "batch_norm_forward": lambda x: K.batch_norm_forward(x)[0],
    "batch_norm_backward": lambda x: K.batch_norm_backward(x, x, K.batch_norm_forward(x)[1])[0],
    "group_norm_forward": lambda x: K.group_norm_forward(x, 2)[0],
    "group_norm_backward": lambda x: K.group_norm_backward(x, x, K.group_norm_forward(x)[1])[0],
    "prelu_forward": lambda x: K.prelu_forward(x, vector()),
    "prelu_backward": lambda x: K.prelu_backward(x, vector(), x)[0],
    "softmax_forward": lambda x: K.softmax_forward(x),
    "softmax_backward": lambda x: K.softmax_backward(x, x),
    "log_softmax_forward": lambda x: K.log_softmax_forward(x),
    "log_softmax_backward": lambda x: K.log_softmax_backward(x, x),
    "loss": lambda x: K.loss("mse", x, square())[1],
    "moments": lambda x: K.moments(x),
}


# ---- types


@pytest.mark.parametrize("dtype", FOREIGN)
@pytest.mark.parametrize("kernel", KERNELS)
def test_kernels_take_two_types(kernel: str, dtype: str) -> None:
    with pytest.raises(TypeError, match="expected float32 or float64"):
        KERNELS[kernel](FOREIGN[dtype])


@pytest.mark.parametrize("kernel", KERNELS)
def test_kernels_take_any_layout(kernel: str) -> None:
    x = square()
    wanted = KERNELS[kernel](x)
    wide = np.zeros((8, 12), np.float32)
    wide[::2, ::3] = x
    raw = np.zeros(x.nbytes + 1, np.uint8)[1:].view(np.float32).reshape(4, 4)
    raw[...] = x
    record = np.zeros((4, 4), [("flag", "u1"), ("x", "f4")])
    record["x"] = x
    frozen = x.copy()
    frozen.flags.writeable = False
    others = {
        "strided": wide[::2, ::3],
        "reversed": x[::-1, ::-1].copy()[::-1, ::-1],
        "fortran": np.asfortranarray(x),
        "misaligned": raw,
        "field": record["x"],
        "swapped": x.astype(">f4"),
        "read-only": frozen,
        "memoryview": memoryview(x),
    }
    for name, other in others.items():
        np.testing.assert_array_equal(KERNELS[kernel](other), wanted, err_msg=name)
    row = vector()
    same = np.broadcast_to(row, (4, 4))
    np.testing.assert_array_equal(KERNELS[kernel](same), KERNELS[kernel](same.copy()))


def test_types_do_not_mix() -> None:
    a, b = square("float32"), square("float64")
    for call in (
        lambda: K.backward("tanh", a, b),
        lambda: K.gemm(a, b),
        lambda: K.linear_forward(a, b),
        lambda: K.linear_forward(a, a, np.ones(4)),
        lambda: K.linear_backward(a, a, b),
        lambda: K.batch_norm_forward(a, np.ones(4)),
    ):
        with pytest.raises(TypeError, match="has dtype float64; expected float32 like the other arrays"):
            call()


def test_lists() -> None:
    np.testing.assert_array_equal(K.forward("relu", [[-1.0, 2.0]]), [[0.0, 2.0]])
    for ragged in ([[1.0], [1.0, 2.0]],):
        with pytest.raises(ValueError, match="inhomogeneous"):
            K.forward("relu", ragged)
        with pytest.raises(TypeError, match="x is list of unequal parts"):
            gm.Linear(2, 2)(ragged)
    with pytest.raises(TypeError, match="x has dtype object"):
        K.forward("relu", None)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match=r"x has dtype object|x has shape"):
        gm.Linear(2, 2)([[None, None]])  # type: ignore[list-item]


@pytest.mark.parametrize("dtype", ["complex128", "object", "<U1", "datetime64"])
def test_networks_refuse_what_is_no_number(dtype: str) -> None:
    net = gm.mlp(4, [4], 4, rng=0)
    x = FOREIGN[dtype]
    for call in (
        lambda: net(x),
        lambda: net.predict(x),
        lambda: net.evaluate((x, [0] * 4)),
        lambda: net.fit((x, [0] * 4), steps=1),
        lambda: gm.measure(net, x, [0] * 4),
        lambda: net.backward(x, np.ones((4, 4))),
    ):
        with pytest.raises(TypeError, match=r"x has dtype .*; expected real numbers"):
            call()


# ---- shapes


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda x: K.backward("tanh", x, x[:3]), r"dy has shape \(3, 4\); expected \(4, 4\)"),
        (lambda x: K.gemm(x, x[:3]), r"\(3, 4\)"),
        (lambda x: K.gemm(x[0], x), r"a has shape \(4,\); expected 2 dimensions"),
        (lambda x: K.gemm(x, x, "TT"), "'TT'"),  # type: ignore[arg-type]
        (lambda x: K.gemm(x, x, out=np.zeros((4, 3), np.float32)), r"out has shape \(4, 3\); expected \(4, 4\)"),
        (lambda x: K.linear_forward(x, x[:, :3]), r"weight has shape \(4, 3\)"),
        (lambda x: K.linear_forward(x, x, x[0, :3]), r"bias has shape \(3,\); expected \(4,\)"),
        (lambda x: K.linear_backward(x, x, x[:3]), r"dy has shape \(3, 4\); expected \(4, 4\)"),
        (lambda x: K.batch_norm_forward(x, x[0, :3]), r"gamma has shape \(3,\); expected \(4,\)"),
        (lambda x: K.batch_norm_forward(x[0]), r"x has shape \(4,\); expected \(N, C\) or \(N, C, L\)"),
        (lambda x: K.batch_norm_forward(x[:1]), "more than 1 value per channel"),
        (lambda x: K.group_norm_backward(x, x[:3], np.zeros((4, 1, 2))), r"dy has shape \(3, 4\); expected \(4, 4\)"),
        (lambda x: K.group_norm_forward(x, 1, x[0, :3]), r"gamma has shape \(3,\); expected \(4,\)"),
        (lambda x: K.batch_norm_backward(x, x, np.zeros((2, 3))), r"cache has shape \(2, 3\); expected \(2, 4\)"),
        (lambda x: K.batch_norm_forward(x[:, :0]), "C is 0; expected 1 or more"),
        (lambda x: K.softmax_backward(x, x[:3]), r"dy has shape \(3, 4\); expected \(4, 4\)"),
        (lambda x: K.prelu_forward(x, x[0, :3]), r"weight has shape \(3,\)"),
        (lambda x: K.loss("mse", x[:3], x[:3, :1]), r"target has shape \(3, 1\); expected \(3, 4\)"),
        (lambda x: K.loss("mse", x[:, :1], x[:, 0]), r"target has shape \(4,\); expected \(4, 1\)"),
        (lambda x: K.loss("cross_entropy", x, [0, 1]), r"target has shape \(2,\); expected \(4,\)"),
        (lambda x: K.loss("hinge", x, x), "'hinge'; expected one of"),
        (lambda x: K.forward("tanhh", x), "'tanhh'"),
        (lambda x: K.forward("tanh", x, out=x[:3]), r"out has shape \(3, 4\); expected \(4, 4\)"),
        (lambda x: K.forward("tanh", x, out=np.asfortranarray(x)), "out is strided or misaligned"),
        (lambda x: gm.Linear(4, 2)(x[:, :3]), r"x has shape \(4, 3\); expected \(N, 4\)"),
        (lambda x: gm.Linear(4, 2)(x[0]), r"x has shape \(4,\); expected \(N, 4\)"),
        (lambda x: gm.Linear(4, 2)(x[None]), r"x has shape \(1, 4, 4\)"),
        (lambda x: gm.Activation("relu")(x[0]), r"x has shape \(4,\); expected \(N, features\)"),
        (lambda x: gm.Activation("relu")(x[:, :0]), r"x has shape \(4, 0\)"),
        (lambda x: gm.Linear(4, 2).backward(x, x), r"dy has shape \(4, 4\); expected \(4, 2\)"),
        (lambda x: gm.BatchNorm1d(4)(x[:1], training=True), "more than 1 value per channel"),
        (lambda x: gm.mlp(4, [3], 2).predict(x[:, :3]), r"x has shape \(4, 3\); expected \(N, 4\)"),
        (lambda x: gm.mlp(4, [3], 2).evaluate((x, [0, 1])), r"y has shape \(2,\); expected \(4,\)"),
    ],
)
def test_shapes_that_do_not_fit(call: Callable[[Array], Any], message: str) -> None:
    x = square()
    before = x.copy()
    with pytest.raises(ValueError, match=message):
        call(x)
    np.testing.assert_array_equal(x, before)


def test_outputs_that_cannot_be_written() -> None:
    x = square()
    out = np.zeros_like(x)
    out.flags.writeable = False
    for call in (lambda: K.forward("tanh", x, out=out), lambda: K.gemm(x, x, out=out)):
        with pytest.raises(ValueError, match="out is read-only; expected a writable array"):
            call()
    with pytest.raises(TypeError, match=r"out has dtype float64; expected float32"):
        K.forward("tanh", x, out=np.zeros((4, 4)))
    with pytest.raises(TypeError, match=r"expected a numpy\.ndarray"):
        K.forward("tanh", x, out=[[0.0] * 4] * 4)
    assert not out.any()


def test_classes_outside_the_range() -> None:
    x = square()
    net = gm.mlp(4, [3], 4, rng=0)
    for bad in (-1, 4):
        target = np.array([0, 1, bad, 2])
        with pytest.raises(IndexError, match=rf"class {bad}; expected 0 to 3"):
            K.loss("cross_entropy", x, target)
        with pytest.raises(IndexError, match="expected 0 to 3"):
            net.evaluate((x, target))
        with pytest.raises(IndexError, match=r"target\[2\] is class"):
            net._compile().network.gradient(x, "cross_entropy", target)
    with pytest.raises(TypeError, match="target has dtype float64; expected integer class indices"):
        K.loss("cross_entropy", x, [0.0, 1.0, 2.0, 3.0])
    with pytest.raises(TypeError, match="target has dtype bool"):
        K.loss("cross_entropy", x, np.ones(4, bool))
    value, _ = K.loss("cross_entropy", x[:0], np.zeros(0, int))
    assert np.isnan(value)


# ---- numbers


SEQUENCE = np.ones((1, 4, 3), np.float32)
LSTM = gm.LSTM(3, 2, rng=0).state_dict()


def walk(**options: Any) -> Any:
    return gm.kernels.lstm_forward(SEQUENCE, list(LSTM.values()), **options)


def mask(**options: Any) -> Any:
    return gm.kernels.dropout(SEQUENCE, **{"p": 0.5, "seed": 0, **options})


def stacked(**options: Any) -> Any:
    return gm.recurrent.forward("lstm", SEQUENCE, LSTM, **options)


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: gm.Linear(0, 3), ValueError, "in_features is 0; expected 1 or more"),
        (lambda: gm.Linear(3, -1), ValueError, "out_features is -1"),
        (lambda: gm.Linear(2.0, 3), TypeError, "in_features is 2.0; expected an integer"),  # type: ignore[arg-type]
        (lambda: gm.Linear(True, 3), ValueError, "in_features is True"),
        (lambda: gm.Linear("3", 3), TypeError, "in_features is '3'"),  # type: ignore[arg-type]
        (lambda: gm.Linear(3, 3, dtype="float16"), ValueError, "dtype is 'float16'; expected 'float32' or 'float64'"),
        (lambda: gm.BatchNorm1d(0), ValueError, "num_features is 0"),
        (lambda: gm.BatchNorm1d(2.5), TypeError, "num_features is 2.5"),  # type: ignore[arg-type]
        (lambda: gm.BatchNorm1d(3, eps=0), ValueError, "eps is 0; expected a positive number"),
        (lambda: gm.BatchNorm1d(3, eps=-1e-5), ValueError, "eps is -1e-05"),
        (lambda: gm.BatchNorm1d(3, eps=float("nan")), ValueError, "eps is nan"),
        (lambda: gm.BatchNorm1d(3, eps="small"), TypeError, "eps is 'small'; expected a number"),  # type: ignore[arg-type]
        (lambda: gm.BatchNorm1d(3, momentum=2), ValueError, "momentum is 2; expected 0 to 1"),
        (lambda: gm.BatchNorm1d(3, momentum="fast"), TypeError, "momentum is 'fast'"),  # type: ignore[arg-type]
        (lambda: gm.Activation("swish"), ValueError, "'swish' .*; expected one of: identity"),
        (lambda: gm.Activation(3), TypeError, "name is 3; expected a string"),  # type: ignore[arg-type]
        (lambda: gm.Activation("elu", alpha=float("nan")), ValueError, "alpha of elu is nan; expected 0 to"),
        (lambda: gm.Activation("elu", alpha=-1), ValueError, "alpha of elu is -1"),
        (lambda: gm.Activation("elu", alpha="1"), TypeError, "alpha of elu is '1'; expected a number"),  # type: ignore[arg-type]
        (lambda: gm.Activation("elu", slope=1), TypeError, "elu has no parameter 'slope'; expected one of: alpha"),
        (lambda: gm.Residual(), ValueError, "the branch is empty"),
        (lambda: gm.Residual(gm.Linear(3, 3), scale=float("inf")), ValueError, "scale is inf; expected a finite"),
        (lambda: gm.Residual(gm.Linear(3, 3), scale="1"), TypeError, "scale is '1'"),  # type: ignore[arg-type]
        (lambda: gm.Residual(gm.Linear(3, 4)), ValueError, "takes 3 features and gives 4.*expected equal widths"),
        (lambda: gm.Residual(gm.Linear(3, 4), gm.Linear(5, 3)), ValueError, "gets 4 features; expected 5"),
        (lambda: gm.Sequential(), ValueError, "the network is empty"),
        (lambda: gm.Sequential(gm.Linear(3, 3), "relu"), TypeError, "module 1 is 'relu'; expected a layer"),  # type: ignore[arg-type]
        (lambda: gm.Sequential(gm.Linear(3, 4), gm.Linear(5, 2)), ValueError, "gets 4 features; expected 5"),
        (
            lambda: gm.Sequential(gm.Linear(3, 4), gm.Linear(4, 2, dtype="float64")),
            ValueError,
            "layer 1 has dtype float64; expected float32 like the network",
        ),
        (lambda: gm.mlp(3, 5, 2), TypeError, "hidden is 5; expected a sequence"),  # type: ignore[arg-type]
        (lambda: gm.mlp(3, [5, 0], 2), ValueError, r"hidden\[1\] is 0; expected 1 or more"),
        (lambda: gm.mlp(3, [5.5], 2), TypeError, r"hidden\[0\] is 5.5"),  # type: ignore[list-item]
        (lambda: gm.mlp(3, [5], 0), ValueError, "out_features is 0"),
        (lambda: gm.mlp(3, [5], 2, norm="instance"), ValueError, "norm is 'instance'; expected None or one of"),
        (lambda: gm.mlp(3, [5], 2, init="magic"), ValueError, "'magic'"),
        (lambda: gm.mlp(3, [5], 2, activation="magic"), ValueError, "activation is 'magic'; expected one of"),
        (lambda: gm.mlp(3, [5], 2, activation="Rellu"), ValueError, "'Rellu' .did you mean 'relu'"),
        (lambda: gm.mlp(3, [5], 2, gain=float("nan")), ValueError, "gain is nan; expected a finite number"),
        (lambda: gm.mlp(3, [5], 2, gain="1"), TypeError, "gain is '1'; expected a number"),  # type: ignore[arg-type]
        (lambda: gm.mlp(3, [3], 2, residual="yes"), TypeError, "residual is 'yes'"),  # type: ignore[arg-type]
        (lambda: gm.mlp(3, [3], 2, residual=float("inf")), ValueError, "residual is inf"),
        (lambda: gm.mlp(3, [3], 2, dtype="f4"), ValueError, "dtype is 'f4'"),
        (lambda: gm.mlp(3, [3], 2).memory(0), ValueError, "batch is 0"),
        (lambda: gm.LSTM(3, 2).backward(SEQUENCE, np.ones((1, 3))), ValueError, r"^dy has shape \(1, 3\)"),
        (lambda: gm.datasets.adding(6, rng=-1), ValueError, "rng is -1; expected None, an integer of 0 or more"),
        (lambda: gm.datasets.copy_memory(6, rng="a"), TypeError, "rng is 'a'; expected None, an integer"),
        (lambda: gm.init.he_normal((3, 3), gain="a"), TypeError, "gain is 'a'; expected a number"),  # type: ignore[arg-type]
        (lambda: walk(recompute=1.5), TypeError, "recompute is 1.5; expected an integer"),
        (lambda: walk(recompute=2**70), ValueError, "recompute is 1180591620717411303424; expected an integer of 64"),
        (lambda: walk(reverse="a"), TypeError, "reverse is 'a'; expected True or False"),
        (lambda: walk(training=1), TypeError, "training is 1; expected True or False"),
        (lambda: walk(batch_first="a"), TypeError, "batch_first is 'a'; expected True or False"),
        (lambda: mask(p="a"), TypeError, "p is 'a'; expected a number"),
        (lambda: mask(seed=-1), ValueError, "seed is -1; expected an integer, 0 to 18446744073709551615"),
        (lambda: mask(seed=0.5), TypeError, "seed is 0.5; expected an integer"),
        (lambda: mask(step=2**32), ValueError, "step is 4294967296; expected an integer, 0 to 4294967295"),
        (lambda: mask(node=None), TypeError, "node is None; expected an integer"),
        (lambda: stacked(dropout="a"), TypeError, "dropout is 'a'; expected a number"),
        (lambda: stacked(recompute="a"), TypeError, "recompute is 'a'; expected an integer"),
        (lambda: gm.recurrent.Stepper("lstm", LSTM, 1.5), TypeError, "batch is 1.5; expected an integer"),  # type: ignore[arg-type]
        (lambda: gm.optim.SGD(-0.1), ValueError, "learning_rate is -0.1; expected a finite number, 0 or more"),
        (lambda: gm.optim.SGD(float("nan")), ValueError, "learning_rate is nan"),
        (lambda: gm.optim.SGD("0.1"), TypeError, "learning_rate is '0.1'; expected a number"),  # type: ignore[arg-type]
        (lambda: gm.optim.SGD(0.1, momentum=1.5), ValueError, "momentum of sgd is 1.5; expected 0 to 1"),
        (lambda: gm.optim.Adam(beta1=float("nan")), ValueError, "beta1 of adam is nan"),
        (lambda: gm.optim.Adam(eps="x"), TypeError, "eps is 'x'; expected a number"),  # type: ignore[arg-type]
        (lambda: gm.optim.Optimizer("sgd", 0.1, beta=1), TypeError, "sgd has no parameter 'beta'"),
        (lambda: gm.optim.Optimizer("lion", 0.1), ValueError, "'lion'; expected one of"),
        (lambda: gm.optim.Adam(lr=0.1), TypeError, r"Adam has no parameter 'lr' \(here it is learning_rate\)"),
        (lambda: gm.optim.SGD(0.1, momentun=0.9), TypeError, r"'momentun' \(did you mean 'momentum'\?\)"),
        (lambda: gm.optim.as_optimizer("Adam"), ValueError, r"optimizer is 'Adam' \(did you mean 'adam'\?\)"),
        (lambda: gm.optim.as_optimizer("adm"), ValueError, r"optimizer is 'adm' \(did you mean 'adam'\?\)"),
        (lambda: gm.optim.as_optimizer(gm.optim.RMSprop), TypeError, r"that is made, as gm.optim.RMSprop\(0.001\)"),
        (lambda: gm.losses.as_loss("crossentropy"), ValueError, r"did you mean 'cross_entropy'\?"),
        (lambda: gm.losses.as_loss(gm.losses.Huber), TypeError, r"that is made, as gm.losses.Huber\(\)"),
        (lambda: gm.mlp(3, [5], 2, init="he"), ValueError, r"init is 'he' \(did you mean 'he_uniform'\?\)"),
        (lambda: gm.mlp(3, [5], 2, norm="bach"), ValueError, r"norm is 'bach' \(did you mean 'batch'\?\)"),
        (lambda: gm.mlp(3, [5], 2, rng="a"), TypeError, "rng is 'a'; expected None, an integer of 0 or more"),
        (lambda: gm.Linear(3, 5, rng=-1), ValueError, "rng is -1; expected None, an integer of 0 or more"),
        (lambda: gm.schedules.Cosine(5), ValueError, "floor is 5; expected 0 to 1"),
        (lambda: gm.schedules.StepDecay(2, 1.5), ValueError, "gamma is 1.5; expected 0 to 1"),
        (lambda: gm.schedules.WarmUp(2, start=2), ValueError, "start is 2; expected 0 to 1"),
        (lambda: gm.schedules.WarmUp(2, 0.5), TypeError, "then is 0.5; expected one of gm.schedules"),
        (lambda: gm.schedules.OneCycle(30), ValueError, "rise is 30; expected 0 to 1"),
        (lambda: gm.schedules.OneCycle(divide=0), ValueError, "divide is 0; expected a finite number, 1 or more"),
        (lambda: gm.schedules.Plateau(gamma=10), ValueError, "gamma is 10; expected 0 to 1"),
        (lambda: gm.Dropout(1.5), ValueError, "p is 1.5"),
        (lambda: gm.Dropout(float("nan")), ValueError, "p is nan"),
        (lambda: gm.Dropout("0.5"), TypeError, "p is '0.5'; expected a number"),  # type: ignore[arg-type]
        (lambda: gm.LayerNorm(0), ValueError, "is 0; expected 1 or more"),
        (lambda: gm.LayerNorm(3, eps=-1.0), ValueError, "eps is -1"),
        (lambda: gm.RMSNorm(3, eps=0.0), ValueError, "eps is 0"),
        (lambda: gm.GroupNorm(0, 4), ValueError, "num_groups is 0"),
        (lambda: gm.GroupNorm(3, 4), ValueError, "3"),
        (lambda: gm.losses.Huber(float("nan")), ValueError, "delta of huber is nan"),
        (lambda: gm.losses.CrossEntropy(label_smoothing=1.5), ValueError, "label_smoothing of cross_entropy is 1.5"),
        (lambda: gm.losses.CrossEntropy([1.0, -1.0]), ValueError, "class_weights"),
        (lambda: gm.losses.CrossEntropy([1.0, float("inf")]), ValueError, "class_weights"),
        (lambda: K.set_threads(-1), ValueError, "threads is -1; expected 1 to 1024"),
        (lambda: K.set_threads("2"), TypeError, "n is '2'; expected an integer"),  # type: ignore[arg-type]
        (lambda: K.group_norm_forward(square(), 3), ValueError, "groups is 3; expected a divisor of 4"),
        (lambda: K.forward("elu", square(), alpha=float("nan")), ValueError, "alpha of elu is nan"),
        (lambda: K.forward("elu", square(), beta=1.0), TypeError, "no parameter 'beta'"),
        (lambda: K.batch_norm_forward(square(), eps=0.0), ValueError, "eps is 0"),
        (lambda: K.batch_norm_forward(square(), momentum=-1.0), ValueError, "momentum is -1"),
    ],
)
def test_numbers_out_of_range(call: Callable[[], Any], error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        call()


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_numbers_that_are_not_finite_are_not_trained_on(bad: float, tmp_path: Path) -> None:
    """Refused before anything has changed, with the place of the first and how many; only predict passes them on."""
    x, y = np.ones((6, 4)), np.arange(6) % 2
    odd = x.copy()
    odd[4, 1] = odd[4, 3] = odd[5, 0] = bad
    net = gm.mlp(4, [3], 2, rng=0)
    before = net.parameters.copy()
    message = r"x has 3 numbers that are not finite as float32, first x\[4, 1\] = "
    for call in (
        lambda: net.fit((odd, y), steps=1),
        lambda: net.fit([(odd, y)], epochs=1),
        lambda: net.fit((x, y), (odd, y), epochs=1),
        lambda: net.evaluate((odd, y)),
        lambda: gm.measure(net, odd, y),
        lambda: gm.cure(net, (x, y), (x, y), test=(odd, y), steps=1),
    ):
        with pytest.raises(ValueError, match=message.replace("float32", "float(32|64)")):
            call()
    np.save(tmp_path / "x.npy", odd)
    with pytest.raises(ValueError, match="not finite"):
        net.fit((np.load(tmp_path / "x.npy", mmap_mode="r"), y), epochs=1, batch_size=6)
    one = gm.mlp(4, [3], 1, rng=0)
    with pytest.raises(ValueError, match=r"y has a number that is not finite as float32, first y\[2, 0\] = "):
        one.fit((x, [0.0, 1.0, bad, 0.0, 0.0, 0.0]), steps=1, loss="mse")
    with pytest.raises(ValueError, match=r"x has 24 numbers .* first x\[0, 0\] = inf"):
        net.fit((x * 1e39, y), steps=1)
    assert np.array_equal(net.parameters, before)
    assert np.isnan(net.predict(odd)[4]).any() or np.isinf(bad)
    assert np.isfinite(net.predict(odd)[:4]).all()


def test_evaluate_knows_the_loss_of_the_last_fit() -> None:
    x, y = np.ones((6, 4)), np.arange(6.0)
    net = gm.mlp(4, [3], 1, rng=0)
    with pytest.raises(TypeError, match=r"expected integer classes for cross_entropy \(loss='mse' takes values\)"):
        net.evaluate((x, y))
    net.fit((x, y), steps=1, loss=gm.losses.Huber(0.5))
    wanted = net.evaluate((x, y), loss=gm.losses.Huber(0.5))
    assert net.evaluate((x, y)) == wanted == net.copy().evaluate((x, y))
    assert net.evaluate((x, y), loss="mse") != wanted


def test_a_budget_beyond_64_bits_is_none() -> None:
    net = gm.mlp(4, [3], 2, rng=0)
    assert len(net.fit((square(), np.zeros(4, int)), steps=1, memory_budget=10**30).loss) == 1


def test_targets_of_a_network() -> None:
    """A column of values is not taken for a matrix, nor a vector for several columns."""
    x = square()
    net, one = gm.mlp(4, [3], 2, rng=0), gm.mlp(4, [3], 1, rng=0)
    for y in (np.ones((4, 1)), np.ones(4), np.ones((3, 2))):
        with pytest.raises(ValueError, match=r"y has shape .*; expected \(4, 2\) for mse"):
            net.fit((x, y), steps=1, loss="mse")
    y = np.arange(4.0)
    assert one.evaluate((x, y), "mse") == one.evaluate((x, y[:, None]), "mse")
    with pytest.raises(ValueError, match="train has no samples"):
        net.fit((x[:0], np.zeros(0, int)), steps=1)


@pytest.mark.parametrize("pair", [(0, 4), (4, 0), (1, 17), (16, 4)])
def test_outputs_that_overlap_their_inputs_in_part(pair: tuple[int, int]) -> None:
    """As if the input had been copied."""
    memory = np.random.default_rng(0).normal(size=100).astype(np.float32)
    source, goal = (slice(start, start + 60) for start in pair)
    for call in (
        lambda x, out: K.forward("tanh", x, out=out),
        lambda x, out: K.backward("tanh", x, x, out=out),
        lambda x, out: K.softmax_forward(x.reshape(6, 10), out=out.reshape(6, 10)).reshape(-1),
    ):
        shared = memory.copy()
        wanted = call(shared[source].copy(), np.empty(60, np.float32))
        call(shared[source], shared[goal])
        np.testing.assert_array_equal(shared[goal], wanted)


def test_outputs_that_overlap_parameters() -> None:
    """Every row reads all of them: as if they had been copied."""
    memory = np.random.default_rng(0).normal(size=(31, 30)).astype(np.float32)
    x = memory[:30].copy()
    for call, parameters, goal in (
        (lambda p, out: K.linear_forward(x, p, out=out), slice(0, 30), slice(1, 31)),
        (lambda p, out: K.linear_forward(x, x, p, out=out), 0, slice(0, 30)),
        (lambda p, out: K.prelu_forward(x, p, out=out), 1, slice(1, 31)),
        (lambda p, out: K.batch_norm_forward(x, p, p, out=out)[0], 0, slice(0, 30)),
        (lambda p, out: K.batch_norm_backward(x, x, np.ones((2, 30)), p, out=out)[0], 0, slice(0, 30)),
    ):
        shared = memory.copy()
        wanted = call(shared[parameters].copy(), np.empty((30, 30), np.float32))
        call(shared[parameters], shared[goal])
        np.testing.assert_array_equal(shared[goal], wanted)


def test_sizes_that_no_memory_holds() -> None:
    """Views of one element: the output alone would take 2**44 bytes and more."""
    wide = np.broadcast_to(np.float32(1), (1 << 21, 1 << 21))
    for call in (
        lambda: gm.Linear(1 << 30, 1 << 30),
        lambda: gm.Linear(1 << 62, 1 << 62),
        lambda: K.forward("tanh", wide),
        lambda: K.gemm(np.ones((1 << 22, 0), np.float32), np.ones((0, 1 << 22), np.float32)),
    ):
        with pytest.raises((MemoryError, ValueError)):
            call()


# ---- sizes at the ends


def test_empty_batches() -> None:
    x = square()[:0]
    assert K.forward("gelu", x).shape == (0, 4)
    assert K.linear_forward(x, square()).shape == (0, 4)
    dx, dweight, dbias = K.linear_backward(x, square(), x)
    assert dx.shape == (0, 4)
    assert not dweight.any()
    assert not dbias.any()
    mean, var = np.full(4, 0.5, np.float32), np.full(4, 2, np.float32)
    y, _ = K.batch_norm_forward(x, running_mean=mean, running_var=var)
    assert y.shape == (0, 4)
    np.testing.assert_array_equal(mean, np.full(4, 0.5))
    np.testing.assert_array_equal(var, np.full(4, 2))
    moments = K.moments(x)
    assert (moments.count, moments.sum_squares) == (0, 0)


def test_no_dimension_and_one_element() -> None:
    long = np.random.default_rng(0).normal(size=1001).astype(np.float32)
    whole = K.forward("tanh", long)
    for i in (0, 7, 1000):
        assert K.forward("tanh", long[i : i + 1])[0] == whole[i]
        assert K.forward("tanh", np.array(long[i])) == whole[i]
        assert K.forward("tanh", np.array(long[i])).shape == ()


def test_in_place_and_overlapping() -> None:
    x = np.random.default_rng(0).normal(size=500)
    wanted = K.forward("silu", x)
    here = x.copy()
    assert K.forward("silu", here, out=here) is here
    np.testing.assert_array_equal(here, wanted)
    both = np.concatenate([x, [0.0] * 3])
    K.forward("silu", both[:500], out=both[3:])
    np.testing.assert_array_equal(both[3:], wanted)
    slope = K.backward("silu", x, x)
    dy = x.copy()
    K.backward("silu", x, dy, out=dy)
    np.testing.assert_array_equal(dy, slope)


def test_a_failed_call_leaves_a_layer_as_it_was() -> None:
    net = gm.Sequential(gm.Linear(4, 3, rng=0), gm.BatchNorm1d(3), gm.Linear(3, 2, rng=1))
    x = square()
    y, state = net(x), {name: a.tobytes() for name, a in net.state_dict().items()}
    before = {name: g.tobytes() for name, g in net.gradients.items()}
    for call in (
        lambda: net(x[:, :2]),
        lambda: net(x[:1], training=True),
        lambda: net.backward(x, x),
        lambda: net.backward(x[:1], x[:1, :2]),
        lambda: net.fit((x, [0, 1, 2, 3]), steps=1),
        lambda: gm.measure(net, x, [0, 1, 0, 7]),
    ):
        with pytest.raises((ValueError, IndexError)):
            call()
    assert {name: a.tobytes() for name, a in net.state_dict().items()} == state
    assert {name: g.tobytes() for name, g in net.gradients.items()} == before
    np.testing.assert_array_equal(net(x), y)


def step(parameters: Any = None, **more: Any) -> None:
    parameters = vector() if parameters is None else parameters
    given = {"slots": np.zeros(0, np.float32), "learning_rate": 0.1, "step": 1} | more
    K.optimizer_step("sgd", parameters, vector(), **given)


MISTYPED: dict[str, tuple[Callable[[], Any], str]] = {
    "momentum": (lambda: K.batch_norm_forward(square(), momentum=None), "momentum is None; expected a number"),
    "training": (lambda: K.batch_norm_forward(square(), training="a"), "training is 'a'; expected True or False"),
    "form": (lambda: K.gemm(square(), square(), form=3), "form is 3; expected a string"),
    "accumulate": (lambda: K.gemm(square(), square(), accumulate=None), "accumulate is None; expected True or False"),
    "name": (lambda: K.forward(3, square()), "name is 3; expected a string"),
    "backward": (lambda: K.backward(3, square(), square()), "name is 3; expected a string"),
    "groups": (lambda: K.group_norm_forward(square(), 1.5), "groups is 1.5; expected an integer"),
    "eps": (lambda: K.group_norm_forward(square(), eps="a"), "eps is 'a'; expected a number"),
    "rate": (lambda: step(learning_rate=None), "learning_rate is None; expected a number"),
    "step": (lambda: step(step=1.5), "step is 1.5; expected an integer"),
    "list": (lambda: step([1.0] * 4), "parameters is list; expected an ndarray"),
    "cache of text": (lambda: K.group_norm_backward(square(), square(), "a"), "cache has dtype <U1; expected"),
    "cache of int": (
        lambda: K.group_norm_backward(square(), square(), np.ones((4, 1, 2), int)),
        "cache has dtype int64; expected",
    ),
    "cache of float32": (
        lambda: K.batch_norm_backward(square(), square(), np.ones((2, 4), np.float32)),
        "cache has dtype float32; expected the float64 array",
    ),
}


@pytest.mark.parametrize(("call", "message"), MISTYPED.values(), ids=MISTYPED.keys())
def test_an_argument_of_another_kind_is_named(call: Callable[[], Any], message: str) -> None:
    with pytest.raises(TypeError, match=f"^{message}"):
        call()
