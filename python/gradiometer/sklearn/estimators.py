"""MLPClassifier and MLPRegressor: scikit-learn's vocabulary, our networks."""

from __future__ import annotations

import copy
import inspect
import math
import warnings
from collections.abc import Iterable, Mapping, Sequence
from numbers import Integral, Real
from typing import TYPE_CHECKING, Any, ClassVar, Self

import numpy as np
from scipy.special import expit, log_expit, log_softmax, softmax
from sklearn.base import BaseEstimator, ClassifierMixin, RegressorMixin
from sklearn.exceptions import ConvergenceWarning
from sklearn.metrics import r2_score
from sklearn.model_selection import train_test_split
from sklearn.utils import check_random_state, column_or_1d
from sklearn.utils._param_validation import Interval, Options, StrOptions
from sklearn.utils.multiclass import check_classification_targets, type_of_target, unique_labels
from sklearn.utils.validation import _check_sample_weight, check_is_fitted, validate_data

from gradiometer import init, kernels
from gradiometer.arguments import near, positive
from gradiometer.layers import Activation, Dropout, Linear, Residual
from gradiometer.losses import Loss, as_loss
from gradiometer.networks import Sequential, mlp
from gradiometer.sklearn.descent import Descent

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

__all__ = ["MLPClassifier", "MLPRegressor"]

_NAMES = {"logistic": "sigmoid"}
_LOSSES = {"log_loss": "cross_entropy", "squared_error": "mse"}
_SMALLEST_RATE = 1e-6
_SHAPE = ("hidden_layer_sizes", "activation", "activation_params", "norm", "residual", "dropout")
"""Parameters that a network has from its making."""


def _losses(kind: str) -> set[str]:
    """Names of the losses whose target is `kind`, ours and scikit-learn's."""
    ours = {name for name, target in kernels.losses().items() if target == kind and name != "dot"}
    return {"auto"} | ours | {name for name, same in _LOSSES.items() if same in ours}


class _Mlp(BaseEstimator):  # type: ignore[misc,unused-ignore]
    """What both share: parameters, the network, the run over epochs."""

    _default_loss: str
    _shape: dict[str, Any]
    _parameter_constraints: ClassVar[dict[str, list[Any]]] = {
        "hidden_layer_sizes": ["array-like", Interval(Integral, 1, None, closed="left")],
        "activation": [StrOptions({*kernels.activations(), *_NAMES})],
        "solver": [StrOptions(set(kernels.optimizers()))],
        "alpha": [Interval(Real, 0, None, closed="left")],
        "batch_size": [StrOptions({"auto"}), Interval(Integral, 1, None, closed="left")],
        "learning_rate": [StrOptions({"constant", "invscaling", "adaptive"})],
        "learning_rate_init": [Interval(Real, 0, None, closed="neither")],
        "power_t": [Interval(Real, 0, None, closed="left")],
        "max_iter": [Interval(Integral, 1, None, closed="left")],
        "shuffle": ["boolean"],
        "random_state": ["random_state"],
        "tol": [Interval(Real, 0, None, closed="left")],
        "verbose": ["verbose"],
        "warm_start": ["boolean"],
        "momentum": [Interval(Real, 0, 1, closed="both")],
        "nesterovs_momentum": ["boolean"],
        "early_stopping": ["boolean"],
        "validation_fraction": [Interval(Real, 0, 1, closed="neither")],
        "beta_1": [Interval(Real, 0, 1, closed="left")],
        "beta_2": [Interval(Real, 0, 1, closed="left")],
        "epsilon": [Interval(Real, 0, None, closed="neither")],
        "n_iter_no_change": [Interval(Integral, 1, None, closed="left"), Options(Real, {math.inf})],
        "init": [StrOptions(set(init.names()))],
        "gain": [Interval(Real, 0, None, closed="left")],
        "norm": [StrOptions({"batch", "layer", "rms"}), None],
        "residual": ["boolean", Interval(Real, None, None, closed="neither"), None],
        "dropout": [Interval(Real, 0, 1, closed="both")],
        "activation_params": [Mapping, None],
    }

    def __init_subclass__(cls, **options: Any) -> None:
        super().__init_subclass__(**options)
        _, *own = inspect.signature(cls.__init__).parameters.values()
        cls.__signature__ = inspect.Signature(own)  # help() shows this, not that of __new__

    def __new__(cls, *args: Any, **params: Any) -> Self:
        """Refuses an unknown parameter by the name of the class that the user called."""
        known = list(inspect.signature(cls).parameters)
        for name in params:
            if name not in known:
                raise TypeError(f"{cls.__name__} has no parameter {name!r}{near(name, known)}")
        made: Self = super().__new__(cls)
        return made

    def __init__(
        self,
        hidden_layer_sizes: int | Sequence[int] = (100,),
        activation: str = "relu",
        *,
        solver: str = "adam",
        alpha: float = 1e-4,
        batch_size: int | str = "auto",
        learning_rate: str = "constant",
        learning_rate_init: float = 1e-3,
        power_t: float = 0.5,
        max_iter: int = 200,
        shuffle: bool = True,
        random_state: Any = None,
        tol: float = 1e-4,
        verbose: bool | int = False,
        warm_start: bool = False,
        momentum: float = 0.9,
        nesterovs_momentum: bool = True,
        early_stopping: bool = False,
        validation_fraction: float = 0.1,
        beta_1: float = 0.9,
        beta_2: float = 0.999,
        epsilon: float = 1e-8,
        n_iter_no_change: float = 10,
        loss: Loss | str = "auto",
        init: str = "xavier_uniform",
        gain: float = 1.0,
        norm: str | None = None,
        residual: bool | float | None = None,
        dropout: float = 0.0,
        activation_params: Mapping[str, float] | None = None,
    ) -> None:
        self.hidden_layer_sizes = hidden_layer_sizes
        self.activation = activation
        self.solver = solver
        self.alpha = alpha
        self.batch_size = batch_size
        self.learning_rate = learning_rate
        self.learning_rate_init = learning_rate_init
        self.power_t = power_t
        self.max_iter = max_iter
        self.shuffle = shuffle
        self.random_state = random_state
        self.tol = tol
        self.verbose = verbose
        self.warm_start = warm_start
        self.momentum = momentum
        self.nesterovs_momentum = nesterovs_momentum
        self.early_stopping = early_stopping
        self.validation_fraction = validation_fraction
        self.beta_1 = beta_1
        self.beta_2 = beta_2
        self.epsilon = epsilon
        self.n_iter_no_change = n_iter_no_change
        self.loss = loss
        self.init = init
        self.gain = gain
        self.norm = norm
        self.residual = residual
        self.dropout = dropout
        self.activation_params = activation_params

    # ---- what differs

    def _read(
        self, X: Any, y: Any, first: bool, known: NDArray[Any] | None = None
    ) -> tuple[NDArray[Any], NDArray[Any]]:
        """Checked X, and y as the loss takes it; `known` are the classes, where the caller says them."""
        raise NotImplementedError

    def _outputs(self, target: NDArray[Any]) -> int:
        raise NotImplementedError

    def _score_of(self, out: NDArray[Any], target: NDArray[Any], weight: NDArray[Any] | None) -> float:
        raise NotImplementedError

    # ---- training

    def fit(self, X: ArrayLike, y: ArrayLike, sample_weight: ArrayLike | None = None) -> Any:
        """Train until the loss (with `early_stopping` the score) no longer improves, `max_iter` epochs at most.

        Parameters
        ----------
        X : array_like (N, n_features)
            float32 makes a float32 network, all else float64.
        y : array_like (N) or (N, n_outputs)
        sample_weight : array_like (N), optional
            Weights of the rows in the mean of the loss.

        Returns
        -------
        self

        Raises
        ------
        ValueError, TypeError
            For data or parameters that cannot be; parameters that are no longer finite.
        """
        first = not (self.warm_start and hasattr(self, "network_"))
        options = self._options()
        x, target, weight, rng = self._begin(X, y, sample_weight, first, options)
        self._descent = self._descent_of(options, rng)
        held: tuple[Any, ...] | None = None
        if self.early_stopping:
            x, target, weight, held = self._hold_out(x, target, weight, rng)
        self._run(x, target, weight, held, rng, options)
        return self

    def _partial_fit(self, X: Any, y: Any, sample_weight: Any, known: NDArray[Any] | None = None) -> Any:
        if self.early_stopping:
            raise ValueError("early_stopping is True in partial_fit; expected False: it sees one epoch only")
        options = self._options()
        x, target, weight, rng = self._begin(X, y, sample_weight, not hasattr(self, "network_"), options, known)
        if not hasattr(self, "_descent"):
            self._descent = self._descent_of(options, rng)
        self._run(x, target, weight, None, rng, options | {"max_iter": 1, "once": True})
        return self

    def _options(self) -> dict[str, Any]:
        """Parameters as what they must be."""
        self._validate_params()
        given = self.hidden_layer_sizes
        hidden: Any = given if isinstance(given, Iterable) else [given]
        known = kernels.optimizer_parameters(self.solver)
        params = {
            "beta1": self.beta_1,
            "beta2": self.beta_2,
            "eps": self.epsilon,
            "momentum": self.momentum if self.solver == "sgd" else 0.0,
            "nesterov": bool(self.nesterovs_momentum) and self.momentum != 0,
        }
        return {
            "hidden": [positive(f"hidden_layer_sizes[{i}]", width) for i, width in enumerate(hidden)],
            "solver": {name: float(value) for name, value in params.items() if name in known},
            "alpha": float(self.alpha),
            "rate": float(self.learning_rate_init),
            "power": float(self.power_t),
            "batch": None if isinstance(self.batch_size, str) else int(self.batch_size),
            "max_iter": int(self.max_iter),
            "tol": float(self.tol),
            "patience": self.n_iter_no_change,
            "dropout": float(self.dropout),
            "once": False,
        }

    def _begin(
        self,
        X: Any,
        y: Any,
        sample_weight: Any,
        first: bool,
        options: dict[str, Any],
        known: NDArray[Any] | None = None,
    ) -> tuple[NDArray[Any], NDArray[Any], NDArray[Any] | None, Any]:
        """Checked data and the source of random numbers; on a first pass also the network."""
        shape = {name: getattr(self, name) for name in _SHAPE} | {"hidden_layer_sizes": options["hidden"]}
        for name, value in shape.items():
            if not first and value != self._shape[name]:
                raise ValueError(f"{name} is {value!r}; expected {self._shape[name]!r} as in the first call")
        x, target = self._read(X, y, first, known)
        x = np.ascontiguousarray(x)
        weight = None
        if sample_weight is not None:
            weight = np.asarray(_check_sample_weight(sample_weight, x, dtype=np.float64, ensure_non_negative=True))
            if not weight.sum() > 0:
                raise ValueError("sample_weight is 0 throughout; expected a positive weight")
        rng = check_random_state(self.random_state)
        if first:
            self.network_ = self._network(x, self._outputs(target), rng, options)
            self._shape = copy.deepcopy(shape)
            self.loss_curve_: list[float] = []
            self.best_loss_ = math.inf
            self.t_ = 0
            self._rate, self._stale = options["rate"], 0
            self.__dict__.pop("_descent", None)
        elif self._outputs(target) != self.network_._compile().network.out_features:
            outputs = self.network_._compile().network.out_features
            raise ValueError(f"y has {self._outputs(target)} outputs; expected {outputs} as in the first call")
        return x.astype(self.network_.dtype, copy=False), target, weight, rng

    def _network(self, x: NDArray[Any], outputs: int, rng: Any, options: dict[str, Any]) -> Sequential:
        net = mlp(
            x.shape[1],
            options["hidden"],
            outputs,
            activation=_NAMES.get(self.activation, self.activation),
            activation_params=dict(self.activation_params or {}),
            norm=self.norm,
            residual=self.residual,
            init=self.init,
            gain=self.gain,
            rng=rng.randint(2**31),
            dtype=str(x.dtype),
        )
        if not options["dropout"]:
            return net
        parts: list[Any] = []
        for module in net.modules:
            parts.append(module.copy())
            if isinstance(module, Activation | Residual):
                parts.append(Dropout(options["dropout"], dtype=net.dtype))
        return Sequential(*parts, dtype=net.dtype)

    def _descent_of(self, options: dict[str, Any], rng: Any) -> Descent:
        return Descent(
            self.network_, self.solver, options["solver"], self._loss(), options["alpha"], rng.randint(2**31)
        )

    def _loss(self) -> Loss:
        if isinstance(self.loss, str):
            return as_loss(self._default_loss if self.loss == "auto" else _LOSSES.get(self.loss, self.loss))
        return as_loss(self.loss)

    def _hold_out(self, x: Any, target: Any, weight: Any, rng: Any) -> tuple[Any, Any, Any, tuple[Any, ...]]:
        """Rows to train on, and rows to judge by."""
        fraction = self.validation_fraction
        stratify = target if target.dtype.kind == "i" and target.ndim == 1 else None
        train, val = train_test_split(np.arange(len(x)), test_size=fraction, random_state=rng, stratify=stratify)
        if len(val) < 2:
            raise ValueError(f"validation_fraction is {fraction}: {len(val)} rows to judge by; expected 2 or more")
        return (
            x[train],
            target[train],
            None if weight is None else weight[train],
            (x[val], target[val], None if weight is None else weight[val]),
        )

    def _run(
        self, x: Any, target: Any, weight: Any, held: tuple[Any, ...] | None, rng: Any, options: dict[str, Any]
    ) -> None:
        batch_size = min(options["batch"] or 200, len(x))
        best: tuple[Any, ...] = ()
        network = self.network_._compile().network
        if held is not None:
            self.validation_scores_: list[float] = []
            self.best_validation_score_ = -math.inf
        if not options["once"]:
            self._rate, self._stale = options["rate"], 0
        self.n_iter_ = 0
        scheduled = self.solver == "sgd"
        while self.n_iter_ < options["max_iter"]:
            order = rng.permutation(len(x)) if self.shuffle else np.arange(len(x))
            self.loss_ = self._descent.epoch(x, target, weight, order, batch_size, self._rate)
            if not (math.isfinite(self.loss_) and np.isfinite(network.parameters).all()):
                raise ValueError(
                    f"the loss is {self.loss_} after {self.n_iter_ + 1} epochs: X may hold large values that want "
                    f"scaling, or learning_rate_init is too large"
                )
            self.n_iter_ += 1
            self.t_ += len(x)
            self.loss_curve_.append(self.loss_)
            if scheduled and self.learning_rate == "invscaling":
                self._rate = options["rate"] / (self.t_ + 1) ** options["power"]
            if self.verbose:
                print(f"Iteration {self.n_iter_}, loss = {self.loss_:.8f}")
            if held is None:
                behind = self.loss_ > self.best_loss_ - options["tol"]
                self.best_loss_ = min(self.best_loss_, self.loss_)
            else:
                score = self._score_of(network.forward(held[0]), held[1], held[2])
                self.validation_scores_.append(score)
                if self.verbose:
                    print(f"Validation score: {score:f}")
                behind = score < self.best_validation_score_ + options["tol"]
                if score > self.best_validation_score_:
                    self.best_validation_score_ = score
                    best = (network.parameters.copy(), network.state.copy())
            self._stale = self._stale + 1 if behind else 0
            if self._stale > options["patience"]:
                if not (scheduled and self.learning_rate == "adaptive" and self._rate > _SMALLEST_RATE):
                    break
                self._rate, self._stale = self._rate / 5, 0
        else:
            if not options["once"]:
                warnings.warn(
                    f"the loss was still falling after max_iter={options['max_iter']} epochs",
                    ConvergenceWarning,
                    stacklevel=3,
                )
        if best:
            network.parameters[...], network.state[...] = best

    # ---- what was learned

    @property
    def coefs_(self) -> list[NDArray[Any]]:
        """Weights (in, out) layer by layer: views."""
        return [layer.weight.T for layer in self._linears()]

    @property
    def intercepts_(self) -> list[NDArray[Any]]:
        """Biases (out) layer by layer: views."""
        return [layer.bias for layer in self._linears() if layer.bias is not None]

    @property
    def n_layers_(self) -> int:
        """Layers, the input counted."""
        return len(self._linears()) + 1

    @property
    def n_outputs_(self) -> int:
        """Outputs of the network."""
        return self._linears()[-1].out_features

    def _linears(self) -> list[Linear]:
        return [module for _, module in self.network_.named_modules() if isinstance(module, Linear)]

    def _out(self, X: Any) -> NDArray[Any]:
        check_is_fitted(self)
        x = validate_data(self, X, dtype=(np.float64, np.float32), reset=False)
        return self.network_.predict(np.ascontiguousarray(x, self.network_.dtype))


class MLPClassifier(ClassifierMixin, _Mlp):  # type: ignore[misc,unused-ignore]
    """A deep network that classifies: scikit-learn's ``MLPClassifier`` on a network of ours, with what makes depth
    possible. Several classes, or several labels (y an indicator matrix).

    Parameters
    ----------
    hidden_layer_sizes : int or sequence of int
    activation : str
        One of ``gm.kernels.activations()``, or ``logistic``.
    solver : str
        One of ``gm.kernels.optimizers()``.
    alpha : float
        Penalty ``alpha / 2 |W|^2`` over the number of rows of a batch; of weights only.
    batch_size : int or "auto"
        ``auto`` is 200, or all rows if there are fewer.
    learning_rate : "constant", "invscaling" or "adaptive"
        Other than constant with ``sgd`` only.
    learning_rate_init, power_t : float
    max_iter : int
        Epochs.
    shuffle : bool
    random_state : None, int or RandomState
        Of weights, order, dropout and the rows held out.
    tol, n_iter_no_change : float
        Stop when the loss has not fallen by `tol` for more than so many epochs.
    verbose : bool
    warm_start : bool
        ``fit`` goes on from the network that is there.
    momentum, nesterovs_momentum
        Of ``sgd``.
    early_stopping : bool
        Hold out `validation_fraction` of the rows, stop by their score, and keep the best parameters.
    validation_fraction : float
    beta_1, beta_2, epsilon : float
        Of ``adam`` and ``adamw``; `epsilon` of all that have one.
    loss : Loss or str
        ``auto``: cross-entropy for classes, bce_with_logits for labels; or one of ``gm.losses``.
    init : str
        One of ``gm.init.names()``; biases start at 0.
    gain : float
        Multiplies the initialiser's standard deviation in hidden layers.
    norm : None, "batch", "layer" or "rms"
        Before the activation.
    residual : None, bool or float
        Skips wherever a layer keeps the width; True is a scale of ``1 / sqrt(blocks)``.
    dropout : float
        After every hidden layer.
    activation_params : dict, optional

    Attributes
    ----------
    network_ : Sequential
        The network: ``gm.measure(clf.network_, X, y)`` looks into it, where classes are 0, 1, 2 ...
    classes_ : ndarray (n_classes)
    coefs_, intercepts_ : list of ndarray
        (in, out) and (out), views. A binary problem has two outputs.
    loss_ : float
        Mean over the last epoch, without the penalty.
    loss_curve_ : list of float
    n_iter_ : int
        Epochs of the last call.
    validation_scores_, best_validation_score_
        With `early_stopping`.
    n_features_in_, n_layers_, n_outputs_ : int
    out_activation_ : str
        ``softmax``, or ``logistic`` for labels.

    Examples
    --------
    >>> import gradiometer as gm
    >>> train, val, _ = gm.datasets.digits()
    >>> clf = gm.sklearn.MLPClassifier([64] * 20, "tanh", residual=True, max_iter=30, tol=0.01, random_state=0)
    >>> clf.fit(*train).score(*val) > 0.9
    True
    """

    _default_loss = "cross_entropy"
    _parameter_constraints: ClassVar[dict[str, list[Any]]] = _Mlp._parameter_constraints | {
        "loss": [StrOptions(_losses("classes") | {"bce_with_logits"}), Loss]
    }

    @property
    def out_activation_(self) -> str:
        """What turns outputs into probabilities."""
        check_is_fitted(self)
        return "logistic" if self._labels else "softmax"

    def partial_fit(
        self, X: ArrayLike, y: ArrayLike, sample_weight: ArrayLike | None = None, classes: ArrayLike | None = None
    ) -> MLPClassifier:
        """One epoch over these rows; the optimiser keeps its state from call to call.

        Parameters
        ----------
        X, y, sample_weight
            As `fit` takes them.
        classes : array_like (n_classes)
            All classes that will ever come: in the first call, and in any other the same.

        Raises
        ------
        ValueError
            Without `classes` in the first call, for other ones later, or labels that are not among them.
        """
        given = None if classes is None else unique_labels(classes)
        if hasattr(self, "classes_"):
            if given is not None and not np.array_equal(self.classes_, given):
                raise ValueError(f"classes is {classes!r}; expected {self.classes_!r} as in the first call")
        elif given is None:
            raise ValueError("classes is None in the first call of partial_fit; expected all classes that will come")
        made: MLPClassifier = self._partial_fit(X, y, sample_weight, given)
        return made

    def predict(self, X: ArrayLike) -> NDArray[Any]:
        """The class of every row (N), or its labels (N, n_classes) as 0 and 1."""
        out = self._out(X)
        if self._labels:
            return (out > 0).astype(int)
        predicted: NDArray[Any] = self.classes_[np.argmax(out, axis=1)]
        return predicted

    def predict_proba(self, X: ArrayLike) -> NDArray[Any]:
        """Probability (N, n_classes) of each class, or of each label."""
        out = self._out(X)
        probability: NDArray[Any] = expit(out) if self._labels else softmax(out, axis=1)
        return probability

    def predict_log_proba(self, X: ArrayLike) -> NDArray[Any]:
        """Its logarithm, finite where the probability itself is rounded to 0."""
        out = self._out(X)
        logarithm: NDArray[Any] = log_expit(out) if self._labels else log_softmax(out, axis=1)
        return logarithm

    def _read(
        self, X: Any, y: Any, first: bool, known: NDArray[Any] | None = None
    ) -> tuple[NDArray[Any], NDArray[Any]]:
        x, y = validate_data(self, X, y, multi_output=True, dtype=(np.float64, np.float32), reset=first)
        check_classification_targets(y)
        kind = type_of_target(y)
        if kind == "multiclass-multioutput":
            raise ValueError("y has several columns of classes; expected one, or an indicator matrix of labels")
        labels = kind == "multilabel-indicator"
        if not labels:
            y = column_or_1d(y, warn=True)
        classes = np.arange(y.shape[1]) if labels else np.unique(y)
        if first:
            self.classes_ = classes if known is None else known
            self._labels = labels
        strange = np.setdiff1d(classes, self.classes_)
        if labels != self._labels or len(strange):
            raise ValueError(f"y has the classes {classes!r}; expected some of {self.classes_!r}")
        if labels:
            return x, np.asarray(y, x.dtype)
        return x, np.searchsorted(self.classes_, y).astype(np.int64)

    def _outputs(self, target: NDArray[Any]) -> int:
        return len(self.classes_)

    def _loss(self) -> Loss:
        if not self._labels:
            loss = super()._loss()
            if kernels.losses()[loss.name] != "classes":
                raise ValueError(f"loss is {self.loss!r} for classes; expected one of: {sorted(_losses('classes'))}")
            return loss
        if self.loss not in ("auto", "bce_with_logits"):
            raise ValueError(f"loss is {self.loss!r} for several labels; expected 'auto' or 'bce_with_logits'")
        return as_loss("bce_with_logits")

    def _score_of(self, out: NDArray[Any], target: NDArray[Any], weight: NDArray[Any] | None) -> float:
        right = ((out > 0) == (target > 0.5)).all(axis=1) if self._labels else np.argmax(out, axis=1) == target
        return float(np.average(right, weights=weight))

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.classifier_tags.multi_label = True
        return tags


class MLPRegressor(RegressorMixin, _Mlp):  # type: ignore[misc,unused-ignore]
    """A deep network that predicts one value or several: scikit-learn's ``MLPRegressor`` on a network of ours.

    Parameters
    ----------
    hidden_layer_sizes, activation, solver, alpha, ...
        As of `MLPClassifier`.
    loss : Loss or str
        ``auto`` and ``squared_error``: the mean squared error (scikit-learn's is half of it); ``huber`` or
        ``gm.losses.Huber(delta)``.

    Attributes
    ----------
    network_, coefs_, intercepts_, loss_, loss_curve_, n_iter_, ...
        As of `MLPClassifier`.

    Examples
    --------
    >>> import gradiometer as gm
    >>> import numpy as np
    >>> x = np.linspace(-2, 2, 200)[:, None]
    >>> reg = gm.sklearn.MLPRegressor([32, 32], "tanh", learning_rate_init=0.01, max_iter=500, random_state=0)
    >>> reg.fit(x, np.sin(2 * x[:, 0])).score(x, np.sin(2 * x[:, 0])) > 0.95
    True
    """

    _default_loss = "mse"
    _parameter_constraints: ClassVar[dict[str, list[Any]]] = _Mlp._parameter_constraints | {
        "loss": [StrOptions(_losses("values")), Loss]
    }
    out_activation_ = "identity"

    def partial_fit(self, X: ArrayLike, y: ArrayLike, sample_weight: ArrayLike | None = None) -> MLPRegressor:
        """One epoch over these rows; the optimiser keeps its state from call to call. Arguments of `fit`."""
        made: MLPRegressor = self._partial_fit(X, y, sample_weight)
        return made

    def predict(self, X: ArrayLike) -> NDArray[Any]:
        """Values (N), or (N, n_outputs) where y had several columns."""
        out = self._out(X)
        return out[:, 0] if out.shape[1] == 1 else out

    def _read(
        self, X: Any, y: Any, first: bool, known: NDArray[Any] | None = None
    ) -> tuple[NDArray[Any], NDArray[Any]]:
        x, y = validate_data(self, X, y, multi_output=True, y_numeric=True, dtype=(np.float64, np.float32), reset=first)
        if y.ndim == 2 and y.shape[1] == 1:
            y = column_or_1d(y, warn=True)
        return x, np.ascontiguousarray(y.reshape(len(x), -1), x.dtype)

    def _outputs(self, target: NDArray[Any]) -> int:
        return int(target.shape[1])

    def _score_of(self, out: NDArray[Any], target: NDArray[Any], weight: NDArray[Any] | None) -> float:
        return float(r2_score(target, out, sample_weight=weight))

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.target_tags.multi_output = True
        return tags
