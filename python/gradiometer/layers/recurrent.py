"""Recurrent layers: LSTM, GRU, RNN, with torch.nn's arguments and names of parameters."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

from gradiometer import init as rules
from gradiometer.arguments import choice, generator, positive, real
from gradiometer.layers.module import Builder, Module
from gradiometer.sequences import Sequences, split

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

__all__ = ["GRU", "LSTM", "RNN", "Recurrent"]


class Recurrent(Module):
    """What `LSTM`, `GRU` and `RNN` have in common: layers and directions over sequences, from a state of 0.

    Its arrays are attributes by torch's names (``weight_ih_l0``, ``bias_hh_l1_reverse``), views that may be written to.
    """

    _cell: str
    _gates: int
    proj_size = 0  # of an LSTM; 0 for none
    layer_norm = False  # of an LSTM

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        num_layers: int,
        *,
        bias: bool,
        batch_first: bool,
        dropout: float,
        bidirectional: bool,
        output: str,
        recurrent_init: str | None,
        rng: Any,
        dtype: str,
    ) -> None:
        super().__init__(dtype)
        self.input_size = positive("input_size", input_size)
        self.hidden_size = positive("hidden_size", hidden_size)
        self.num_layers = positive("num_layers", num_layers)
        self.bias, self.batch_first, self.bidirectional = bool(bias), bool(batch_first), bool(bidirectional)
        self.dropout = real("dropout", dropout, 0.0, 1.0)
        self.output = choice("output", output, ("last", "all"))
        if recurrent_init is not None:
            choice("recurrent_init", recurrent_init, ("identity", *rules.names()))
        rng = generator("rng", rng)
        G, H, bound = self._gates * self.hidden_size, self.hidden_size, 1 / math.sqrt(self.hidden_size)
        width = self.input_size
        for suffix, layer in self._directions():
            width = self.input_size if layer == 0 else self.out_features
            shapes: dict[str, tuple[int, ...]] = {"weight_ih": (G, width), "weight_hh": (G, self._features)}
            if self.bias:
                shapes |= {"bias_ih": (G,), "bias_hh": (G,)}
            if self.proj_size:
                shapes["weight_hr"] = (self.proj_size, H)
            for name, shape in shapes.items():
                self._arrays[name + suffix] = rng.uniform(-bound, bound, shape).astype(dtype)
            for name, size in (("norm_weight_ih", G), ("norm_weight_hh", G), ("norm_weight_c", H)) * self.layer_norm:
                self._arrays[name + suffix] = np.ones(size, dtype)
            if self.layer_norm and self.bias:
                self._arrays[f"norm_bias_c{suffix}"] = np.zeros(H, dtype)
        if recurrent_init is not None:
            rule = rules.identity if recurrent_init == "identity" else rules.by_name(recurrent_init)
            for suffix, _ in self._directions():
                for gate in np.split(self._arrays[f"weight_hh{suffix}"], self._gates):
                    gate[...] = rule(gate.shape, rng=rng, dtype=dtype)

    def _directions(self) -> list[tuple[str, int]]:
        """Suffix and layer of every layer in every direction, in torch's order."""
        ways = ("", "_reverse") if self.bidirectional else ("",)
        return [(f"_l{k}{way}", k) for k in range(self.num_layers) for way in ways]

    def _set_biases(self, values: list[NDArray[Any] | float | None]) -> None:
        """The sum of a gate's two biases in every layer: all of it in bias_ih; None leaves the gate as it is."""
        if not self.bias:
            raise ValueError("bias is False; expected True for an initialisation of biases")
        for suffix, _ in self._directions():
            pair = (self._arrays[f"bias_{which}{suffix}"] for which in ("ih", "hh"))
            gates = zip(*(np.split(bias, self._gates) for bias in pair), values, strict=True)
            for by_x, by_h, value in gates:
                if value is not None:
                    by_x[...], by_h[...] = value, 0

    def __getattr__(self, name: str) -> NDArray[Any]:
        arrays: dict[str, NDArray[Any]] = self.__dict__.get("_arrays", {})
        if name in arrays:
            return arrays[name]
        raise AttributeError(f"{type(self).__name__} has no attribute {name!r}")

    @property
    def in_features(self) -> int:
        """Features of a step of the input."""
        return self.input_size

    @property
    def _features(self) -> int:
        """Of h."""
        return self.proj_size or self.hidden_size

    @property
    def out_features(self) -> int:
        """Features of the output: `hidden_size`, or an LSTM's `proj_size`; twice that if bidirectional."""
        return self._features * (1 + self.bidirectional)

    @property
    def cell(self) -> str:
        """Its name in `gradiometer.recurrent`."""
        return self._cell

    @property
    def sequences(self) -> bool:
        """True."""
        return True

    def __call__(self, x: ArrayLike | Sequences, *, training: bool = False) -> NDArray[Any]:
        """Forward pass.

        Parameters
        ----------
        x : array_like (N, T, input_size), or (T, N, input_size) without batch_first, or Sequences
        training : bool
            Dropout between layers.

        Returns
        -------
        ndarray (N, out_features), or with ``output="all"`` (N, T, out_features), or (T, N, out_features) without
            batch_first; 0 beyond the lengths
        """
        return self._turned(super().__call__(self._samples_first(x), training=training))

    def backward(
        self, x: ArrayLike | Sequences, dy: ArrayLike, *, training: bool = True
    ) -> tuple[NDArray[Any], dict[str, NDArray[Any]]]:
        """Forward and backward pass: ``dx``, and the gradients by name of all parameters that are not frozen.

        Parameters
        ----------
        x : array_like or Sequences
            As in a call.
        dy : array_like
            Derivative of a loss by what a call gives; not read beyond the lengths.
        training : bool
        """
        above = self._turned(np.asarray(dy))
        dx, gradients = super().backward(self._samples_first(x), above, training=training)
        return (dx if self.batch_first else np.ascontiguousarray(dx.swapaxes(0, 1))), gradients

    def _samples_first(self, x: Any) -> Any:
        given, _ = split(x)
        return x if self.batch_first or isinstance(x, Sequences) or np.ndim(given) != 3 else np.swapaxes(given, 0, 1)

    def _turned(self, y: NDArray[Any]) -> NDArray[Any]:
        return y if self.batch_first or y.ndim != 3 else np.ascontiguousarray(y.swapaxes(0, 1))

    def _config(self) -> dict[str, Any]:
        names = ("input_size", "hidden_size", "num_layers", "bias", "batch_first", "dropout", "bidirectional", "output")
        return {name: getattr(self, name) for name in names} | {"dtype": self.dtype}

    def _attributes(self, way: int) -> dict[str, float | str]:
        return {"hidden": self.hidden_size, "reverse": way, "bias": self.bias}

    def _emit(self, builder: Builder, x: int) -> int:
        if builder.graph.features(x) != self.input_size:
            raise ValueError(f"{self!r} gets {builder.graph.features(x)} features; expected {self.input_size}")
        if not builder.graph.is_sequence(x):
            raise ValueError(
                f"{self!r} gets one row a sample; expected a sequence (output='all' of a recurrent layer before it)"
            )
        ways = range(1 + self.bidirectional)
        for k in range(self.num_layers):
            above = [
                builder.add_named(self, self._cell, (x,), f"_l{k}{'_reverse' * way}", self._attributes(way))
                for way in ways
            ]
            top = k == self.num_layers - 1
            if top and self.output == "last":
                above = [builder.add(self, "last_step", (above[way],), reverse=way) for way in ways]
            x = builder.add(self, "concat", (above[0], above[1])) if self.bidirectional else above[0]
            if not top and self.dropout > 0:
                x = builder.add(self, "dropout", (x,), p=self.dropout)
        return x


class LSTM(Recurrent):
    """Long short-term memory with a forget gate (Hochreiter & Schmidhuber 1997; Gers et al. 2000), as torch.nn.LSTM:
    ``i, f, o = sigma(W_ih x + b_ih + W_hh h + b_hh)``, ``g = tanh(...)``, ``c = f c + i g``, ``h = o tanh(c)``.

    It takes sequences, x (N, T, input_size) or `gm.Sequences`, and begins each with a state of 0. Steps beyond a
    sample's length are not computed and bear no gradient.

    Parameters
    ----------
    input_size, hidden_size : int
    num_layers : int
    bias : bool
    batch_first : bool
        False: a layer called alone takes and gives (T, N, ...). In a network samples come first.
    dropout : float
        Probability, between layers.
    bidirectional : bool
        A second set of weights runs from the last step to the first; features are side by side.
    proj_size : int
        P > 0, less than hidden_size: ``h = W_hr (o tanh(c))`` has P features (Sak et al. 2014, arXiv:1402.1128).
    layer_norm : bool
        Layer norm as in Ba, Kiros & Hinton 2016 (arXiv:1607.06450, appendix; eps 1e-5), which torch does not have: the
        gates are ``norm_weight_ih norm(W_ih x) + norm_weight_hh norm(W_hh h) + b_ih + b_hh``, each norm over all
        ``4 hidden_size``, and ``h = o tanh(norm_weight_c norm(c) + norm_bias_c)``; c is carried on as it is. In the
        beginning ``norm_weight_ih_l0``, ``norm_weight_hh_l0`` (4 hidden_size) and ``norm_weight_c_l0`` (hidden_size)
        are 1 and ``norm_bias_c_l0``, which there is with `bias` only, 0. The two biases are added after the norms, so
        that `forget_bias` and chrono mean what they mean without; but each gate's sum spreads by about 1.4 over the
        units, whatever the size of the weights, and in the beginning the gradient of the last step goes back by 0.96 to
        1.06 a step (0.64 without). A norm of one unit is 0. Not with proj_size.
    output : "last" or "all"
        h after a sample's last step (in reverse, its first), (N, features); or of every step, (N, T, features).
    forget_bias : float, optional
        Sum of the two biases of f in the beginning, where torch's two have f begin near 0.5. 1 for long memories (Gers
        et al. 2000; Jozefowicz et al. 2015).
    init : "torch" or "chrono"
        U(-1/sqrt(hidden_size), 1/sqrt(hidden_size)); or that for the weights, and biases so that memories last between
        1 and `T_max` steps: f ``log U[1, T_max - 1]``, i minus that, others 0 (Tallec & Ollivier 2018,
        arXiv:1804.11188).
    T_max : int, optional
        Of chrono: the longest dependency, in steps.
    recurrent_init : str, optional
        A rule of ``gm.init`` for each gate's weight_hh: "orthogonal" (Saxe et al. 2014), "identity".
    rng : None, int, SeedSequence or Generator
    dtype : "float32" or "float64"

    Raises
    ------
    TypeError, ValueError
        For arguments that are not as stated.

    Examples
    --------
    >>> import gradiometer as gm
    >>> import numpy as np
    >>> layer = gm.LSTM(3, 5, rng=0)
    >>> layer(np.ones((2, 7, 3))).shape, layer.weight_hh_l0.shape
    ((2, 5), (20, 5))
    >>> net = gm.Sequential(gm.LSTM(3, 5, 2, output="all", rng=0), gm.Linear(5, 4, rng=1))
    >>> net.predict(gm.Sequences.of([np.ones((2, 3)), np.ones((7, 3))])).shape
    (2, 7, 4)
    >>> sorted(name for name in gm.LSTM(3, 5, layer_norm=True, rng=0).state_dict() if name.startswith("norm"))
    ['norm_bias_c_l0', 'norm_weight_c_l0', 'norm_weight_hh_l0', 'norm_weight_ih_l0']
    """

    _cell, _gates = "lstm", 4

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        num_layers: int = 1,
        *,
        bias: bool = True,
        batch_first: bool = True,
        dropout: float = 0.0,
        bidirectional: bool = False,
        proj_size: int = 0,
        layer_norm: bool = False,
        output: str = "last",
        forget_bias: float | None = None,
        init: str = "torch",
        T_max: int | None = None,
        recurrent_init: str | None = None,
        rng: Any = None,
        dtype: str = "float32",
    ) -> None:
        self.proj_size = 0 if proj_size == 0 else positive("proj_size", proj_size)
        if self.proj_size >= positive("hidden_size", hidden_size):
            raise ValueError(f"proj_size is {proj_size}; expected less than hidden_size, {hidden_size}")
        self.layer_norm = bool(layer_norm)
        if self.layer_norm and self.proj_size:
            raise ValueError(f"proj_size is {proj_size} with layer_norm=True; expected 0")
        rng = generator("rng", rng)
        super().__init__(
            input_size,
            hidden_size,
            num_layers,
            bias=bias,
            batch_first=batch_first,
            dropout=dropout,
            bidirectional=bidirectional,
            output=output,
            recurrent_init=recurrent_init,
            rng=rng,
            dtype=dtype,
        )
        if _is_chrono(init, T_max):
            if forget_bias is not None:
                raise ValueError(f"forget_bias is {forget_bias!r} with init='chrono', which sets it; expected None")
            f = rules.chrono(self.hidden_size, T_max, rng=rng, dtype=dtype)
            self._set_biases([-f, f, 0.0, 0.0])
        elif forget_bias is not None:
            self._set_biases([None, real("forget_bias", forget_bias), None, None])

    def _config(self) -> dict[str, Any]:
        return {**super()._config(), "proj_size": self.proj_size, "layer_norm": self.layer_norm}

    @property
    def cell(self) -> str:
        """``"lstm"`` or ``"lstm_norm"``."""
        return "lstm_norm" if self.layer_norm else "lstm"

    def _attributes(self, way: int) -> dict[str, float | str]:
        return {**super()._attributes(way), "projection": self.proj_size, "norm": self.layer_norm}


class GRU(Recurrent):
    """Gated recurrent unit (Cho et al. 2014, arXiv:1406.1078), as torch.nn.GRU: ``r, z = sigma(...)``,
    ``n = tanh(W_in x + b_in + r (W_hn h + b_hn))``, ``h = (1 - z) n + z h``; or the paper's own
    ``n = tanh(W_in x + b_in + W_hn (r h) + b_hn)``, which torch does not have.

    Parameters
    ----------
    input_size, hidden_size, num_layers, bias, batch_first, dropout, bidirectional, output, recurrent_init, rng, dtype
        As in `LSTM`.
    init : "torch" or "chrono"
        As in `LSTM`; chrono sets z, which carries the memory here, to ``log U[1, T_max - 1]``, the other biases to 0.
    T_max : int, optional
    reset_after : bool
        False: the reset gate r before the product, as in ONNX (linear_before_reset=0) and Keras (reset_after=False).

    Examples
    --------
    >>> import gradiometer as gm
    >>> import numpy as np
    >>> gm.GRU(3, 5, bidirectional=True, output="all", rng=0)(np.ones((2, 7, 3))).shape
    (2, 7, 10)
    """

    _cell, _gates = "gru", 3

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        num_layers: int = 1,
        *,
        bias: bool = True,
        batch_first: bool = True,
        dropout: float = 0.0,
        bidirectional: bool = False,
        output: str = "last",
        init: str = "torch",
        T_max: int | None = None,
        reset_after: bool = True,
        recurrent_init: str | None = None,
        rng: Any = None,
        dtype: str = "float32",
    ) -> None:
        self.reset_after = bool(reset_after)
        rng = generator("rng", rng)
        super().__init__(
            input_size,
            hidden_size,
            num_layers,
            bias=bias,
            batch_first=batch_first,
            dropout=dropout,
            bidirectional=bidirectional,
            output=output,
            recurrent_init=recurrent_init,
            rng=rng,
            dtype=dtype,
        )
        if _is_chrono(init, T_max):
            self._set_biases([0.0, rules.chrono(self.hidden_size, T_max, rng=rng, dtype=dtype), 0.0])

    @property
    def cell(self) -> str:
        """``"gru"`` or ``"gru_reset_before"``."""
        return "gru" if self.reset_after else "gru_reset_before"

    def _config(self) -> dict[str, Any]:
        return {**super()._config(), "reset_after": self.reset_after}

    def _attributes(self, way: int) -> dict[str, float | str]:
        return {**super()._attributes(way), "reset_after": self.reset_after}


class RNN(Recurrent):
    """``h = phi(W_ih x + b_ih + W_hh h + b_hh)`` (Elman 1990), as torch.nn.RNN.

    Parameters
    ----------
    input_size, hidden_size, num_layers, bias, batch_first, dropout, bidirectional, output, recurrent_init, rng, dtype
        As in `LSTM`.
    nonlinearity : "tanh" or "relu"
    init : "torch" or "irnn"
        irnn: weight_hh the identity, weight_ih normal of standard deviation 0.001, biases 0, made for relu (Le et al.
        2015, arXiv:1504.00941).

    Examples
    --------
    >>> import gradiometer as gm
    >>> import numpy as np
    >>> layer = gm.RNN(1, 2, nonlinearity="relu", init="irnn", rng=0)
    >>> layer.weight_hh_l0
    array([[1., 0.],
           [0., 1.]], dtype=float32)
    """

    _cell, _gates = "rnn", 1

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        num_layers: int = 1,
        *,
        nonlinearity: str = "tanh",
        bias: bool = True,
        batch_first: bool = True,
        dropout: float = 0.0,
        bidirectional: bool = False,
        output: str = "last",
        init: str = "torch",
        recurrent_init: str | None = None,
        rng: Any = None,
        dtype: str = "float32",
    ) -> None:
        self.nonlinearity = choice("nonlinearity", nonlinearity, ("tanh", "relu"))
        rng = generator("rng", rng)
        super().__init__(
            input_size,
            hidden_size,
            num_layers,
            bias=bias,
            batch_first=batch_first,
            dropout=dropout,
            bidirectional=bidirectional,
            output=output,
            recurrent_init=recurrent_init,
            rng=rng,
            dtype=dtype,
        )
        if choice("init", init, ("torch", "irnn")) == "irnn":
            for name, array in self._arrays.items():
                if name.startswith("weight_ih"):
                    array[...] = 0.001 * rng.standard_normal(array.shape)
                elif name.startswith("weight_hh"):
                    if recurrent_init is None:
                        array[...] = rules.identity((self.hidden_size, self.hidden_size), dtype=dtype)
                else:
                    array[...] = 0

    @property
    def cell(self) -> str:
        """``"rnn_tanh"`` or ``"rnn_relu"``."""
        return f"rnn_{self.nonlinearity}"

    def _config(self) -> dict[str, Any]:
        return {**super()._config(), "nonlinearity": self.nonlinearity}

    def _attributes(self, way: int) -> dict[str, float | str]:
        return {**super()._attributes(way), "relu": self.nonlinearity == "relu"}


def _is_chrono(init: str, T_max: int | None) -> bool:
    chrono = choice("init", init, ("torch", "chrono")) == "chrono"
    if chrono != (T_max is not None):
        raise ValueError(f"T_max is {T_max!r} with init={init!r}; expected " + ("the steps" if chrono else "None"))
    return chrono
