"""scikit-learn's own checks of estimators, and what they leave out."""

from __future__ import annotations

import copy
import inspect
import pickle
from typing import Any

import gradiometer as gm
import numpy as np
import pytest

pytest.importorskip("sklearn")
from sklearn.exceptions import ConvergenceWarning
from sklearn.utils.estimator_checks import parametrize_with_checks

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")


@parametrize_with_checks([gm.sklearn.MLPClassifier(max_iter=100), gm.sklearn.MLPRegressor(max_iter=100)])
def test_checks_of_scikit_learn(estimator: Any, check: Any) -> None:
    check(estimator)


DEEP = {"hidden_layer_sizes": [16] * 12, "residual": True, "activation": "tanh", "max_iter": 60}


@parametrize_with_checks([gm.sklearn.MLPClassifier(**DEEP, norm="layer"), gm.sklearn.MLPRegressor(**DEEP, norm="rms")])
def test_checks_of_scikit_learn_on_deep_networks(estimator: Any, check: Any) -> None:
    check(estimator)


@pytest.fixture(scope="module")
def digits() -> Any:
    train, val, _ = gm.datasets.digits()
    return train.x.astype(float), train.y, val.x.astype(float), val.y


def quick(**more: Any) -> Any:
    settings = {"hidden_layer_sizes": 32, "learning_rate_init": 0.01, "tol": 1e-3, "random_state": 0, "max_iter": 40}
    return gm.sklearn.MLPClassifier(**settings | more)


def values(n: int = 150, outputs: int = 2) -> tuple[Any, Any]:
    rng = np.random.default_rng(0)
    x = rng.normal(size=(n, 3))
    y = np.stack([np.sin(x[:, 0]), x[:, 1] * x[:, 2]], axis=1)
    return x, y[:, :outputs]


def test_as_good_as_scikit_learns_own(digits: Any) -> None:
    """Mean of three seeds of each: they scatter by 0.005, one standard error of 287 rows at 0.97 is 0.01."""
    from sklearn.neural_network import MLPClassifier

    x, y, x_val, y_val = digits
    same = {"max_iter": 60, "tol": 1e-3, "learning_rate_init": 3e-3}
    ours, theirs = (
        np.mean([kind(random_state=seed, **same).fit(x, y).score(x_val, y_val) for seed in range(3)])
        for kind in (gm.sklearn.MLPClassifier, MLPClassifier)
    )
    assert theirs > 0.94
    assert abs(ours - theirs) < 0.02


@pytest.mark.parametrize(("solver", "tolerance"), [("sgd", 1e-9), ("adam", 1e-7)])
def test_the_same_run_as_scikit_learns(solver: str, tolerance: float) -> None:
    """From the same weights, over all rows in one batch. Their loss is half the squared error: twice the penalty and
    half the rate of sgd make up for it."""
    from sklearn.neural_network import MLPRegressor

    x, y = values(outputs=1)
    same = {"hidden_layer_sizes": [8, 8], "activation": "tanh", "solver": solver, "shuffle": False, "random_state": 0}
    same |= {"batch_size": len(x), "epsilon": 1e-30}
    theirs = MLPRegressor(**same, alpha=0.3, learning_rate_init=0.01).partial_fit(x, y.ravel())
    ours = gm.sklearn.MLPRegressor(**same, alpha=0.6, learning_rate_init=0.005 if solver == "sgd" else 0.01)
    ours.partial_fit(x, y.ravel())
    for mine, w in zip(ours.coefs_ + ours.intercepts_, theirs.coefs_ + theirs.intercepts_, strict=True):
        mine[...] = w
    del ours._descent, theirs._optimizer
    for _ in range(20):
        theirs.partial_fit(x, y.ravel())
        ours.partial_fit(x, y.ravel())
    for mine, w in zip(ours.coefs_ + ours.intercepts_, theirs.coefs_ + theirs.intercepts_, strict=True):
        np.testing.assert_allclose(mine, w, rtol=tolerance, atol=tolerance / 100)


def test_what_a_fit_leaves(digits: Any) -> None:
    x, y, x_val, _ = digits
    clf = quick(hidden_layer_sizes=(20, 15), verbose=0).fit(x, y)
    assert [w.shape for w in clf.coefs_] == [(64, 20), (20, 15), (15, 10)]
    assert [b.shape for b in clf.intercepts_] == [(20,), (15,), (10,)]
    assert clf.n_iter_ == len(clf.loss_curve_) < 40
    assert clf.loss_ == clf.loss_curve_[-1] < 0.1 < clf.loss_curve_[0]
    assert (clf.n_layers_, clf.n_outputs_, clf.out_activation_, clf.n_features_in_) == (4, 10, "softmax", 64)
    h = np.maximum(np.maximum(x_val @ clf.coefs_[0] + clf.intercepts_[0], 0) @ clf.coefs_[1] + clf.intercepts_[1], 0)
    out = h @ clf.coefs_[2] + clf.intercepts_[2]
    probability = np.exp(out) / np.exp(out).sum(axis=1, keepdims=True)
    np.testing.assert_allclose(clf.predict_proba(x_val), probability, rtol=1e-10)
    np.testing.assert_allclose(clf.predict_log_proba(x_val), np.log(probability), rtol=1e-9, atol=1e-12)
    m = gm.measure(clf.network_, x, y)
    assert [layer.fan_out for layer in m.layers] == [20, 15, 10]
    assert quick().fit(x.astype(np.float32), y).network_.dtype == "float32"
    assert clf.network_.dtype == "float64"


def test_classes_of_any_name(digits: Any) -> None:
    x, y, *_ = digits
    few = y < 2
    names = np.array(["nought", "one"])[y[few]]
    clf = quick().fit(x[few], names)
    assert list(clf.classes_) == ["nought", "one"]
    assert clf.score(x[few], names) > 0.99
    assert clf.predict_proba(x[few]).shape == (few.sum(), 2)


def test_several_labels(digits: Any) -> None:
    x, y, x_val, y_val = digits

    def labels(y: Any) -> Any:
        return np.stack([y % 2, y > 4, y % 3 == 0], axis=1).astype(int)

    clf = quick(early_stopping=True).fit(x, labels(y))
    assert clf.out_activation_ == "logistic"
    assert clf.score(x_val, labels(y_val)) > 0.85
    np.testing.assert_array_equal(clf.predict(x_val), clf.predict_proba(x_val) > 0.5)
    np.testing.assert_allclose(np.exp(clf.predict_log_proba(x_val)), clf.predict_proba(x_val), rtol=1e-12)
    with pytest.raises(ValueError, match="for several labels"):
        quick(loss="cross_entropy").fit(x, labels(y))


@pytest.mark.parametrize("loss", ["auto", "huber", gm.losses.Huber(0.5)])
def test_several_values(loss: Any) -> None:
    x, y = values()
    reg = gm.sklearn.MLPRegressor([32, 32], "tanh", learning_rate_init=0.01, tol=0, max_iter=150, loss=loss)
    with pytest.warns(ConvergenceWarning, match="max_iter=150"):
        reg.set_params(random_state=0).fit(x, y)
    assert reg.predict(x).shape == y.shape
    assert reg.score(x, y) > 0.9


def test_early_stopping_keeps_the_best(digits: Any) -> None:
    x, y, *_ = digits
    clf = quick(early_stopping=True, validation_fraction=0.2, n_iter_no_change=3, max_iter=100).fit(x, y)
    scores = clf.validation_scores_
    assert clf.best_validation_score_ == max(scores)
    assert len(scores) == clf.n_iter_ < 100
    with pytest.raises(ValueError, match="partial_fit"):
        clf.partial_fit(x, y)


def test_partial_fit(digits: Any) -> None:
    x, y, x_val, y_val = digits
    clf = quick()
    for _ in range(8):
        for rows in np.array_split(np.arange(len(x)), 4):
            clf.partial_fit(x[rows], y[rows], classes=range(10))
    assert clf._descent.steps == 8 * 4 * 2  # 200 and 87 or 88 rows
    assert clf.n_iter_ == 1
    assert len(clf.loss_curve_) == 32
    assert clf.score(x_val, y_val) > 0.9
    again = pickle.loads(pickle.dumps(clf))
    for each in (clf, again):
        each.partial_fit(x[:50], y[:50])
    np.testing.assert_array_equal(again.network_.parameters, clf.network_.parameters)
    with pytest.raises(ValueError, match="classes is None in the first call"):
        quick().partial_fit(x, y)
    with pytest.raises(ValueError, match="as in the first call"):
        clf.partial_fit(x, y, classes=range(9))
    with pytest.raises(ValueError, match="y has the classes"):
        clf.partial_fit(x, y + 5)


def test_warm_start_goes_on(digits: Any) -> None:
    x, y, *_ = digits
    clf = quick(warm_start=True, max_iter=2, tol=0)
    before = clf.fit(x, y).network_
    first = clf.loss_curve_[0]
    assert clf.fit(x, y).network_ is before
    assert clf.loss_curve_[2] < 0.5 * first
    assert clf.set_params(warm_start=False).fit(x, y).network_ is not before


def test_weights_of_rows_are_repetitions(digits: Any) -> None:
    """Dropout is of rows, so without it; one batch, so that the order does not matter."""
    x, y, *_ = digits
    x, y = x[:80], y[:80]
    weight = np.arange(80) % 3
    settings = {"tol": 0, "max_iter": 10, "hidden_layer_sizes": [16, 16], "batch_size": 1000, "alpha": 0.1}
    weighted = quick(**settings, norm="layer").fit(x, y, weight)
    repeated = quick(**settings, norm="layer").fit(x.repeat(weight, axis=0), y.repeat(weight))
    np.testing.assert_allclose(weighted.loss_curve_, repeated.loss_curve_, rtol=1e-7)
    np.testing.assert_allclose(weighted.predict_proba(x), repeated.predict_proba(x), rtol=1e-5, atol=1e-8)


def test_equal_weights_change_nothing(digits: Any) -> None:
    """With dropout and batch norm: the pass that computes the loss has the masks of the step."""
    x, y, *_ = digits
    settings = {"tol": 0, "max_iter": 3, "alpha": 0.0, "dropout": 0.3, "norm": "batch", "activation": "elu"}
    plain = quick(**settings).fit(x, y)
    weighted = quick(**settings).fit(x, y, np.full(len(x), 2.0))
    np.testing.assert_allclose(weighted.loss_curve_, plain.loss_curve_, rtol=1e-8)
    np.testing.assert_allclose(weighted.predict_proba(x), plain.predict_proba(x), rtol=1e-5, atol=1e-9)


def test_a_row_left_over_joins_the_last_batch() -> None:
    x, y = values(n=101)
    reg = gm.sklearn.MLPRegressor([8], norm="batch", batch_size=50, max_iter=1, random_state=0)
    assert reg.partial_fit(x, y)._descent.steps == 2


@pytest.mark.parametrize("learning_rate", ["adaptive", "invscaling"])
def test_learning_rates(learning_rate: str) -> None:
    x, y = values()
    reg = gm.sklearn.MLPRegressor(solver="sgd", learning_rate=learning_rate, learning_rate_init=0.05, random_state=0)
    reg.set_params(tol=0.01, n_iter_no_change=2, max_iter=300).fit(x, y)
    if learning_rate == "adaptive":
        assert reg._rate < 1e-6
    else:
        assert reg._rate == pytest.approx(0.05 / np.sqrt(reg.t_ + 1))


def test_dropout_and_depth(digits: Any) -> None:
    x, y, x_val, y_val = digits
    clf = quick(hidden_layer_sizes=[32] * 10, residual=True, dropout=0.05, solver="adamw", tol=1e-2).fit(x, y)
    assert sum(isinstance(module, gm.Dropout) for module in clf.network_.modules) == 10
    assert clf.score(x_val, y_val) > 0.9
    np.testing.assert_array_equal(clf.predict_proba(x_val), clf.predict_proba(x_val))


def test_pipeline_search_and_copies(digits: Any) -> None:
    from sklearn.base import clone
    from sklearn.model_selection import GridSearchCV
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    x, y, x_val, y_val = digits
    pipe = make_pipeline(StandardScaler(), quick(max_iter=15, tol=0.01))
    grid = {"mlpclassifier__activation": ["selu", "logistic"], "mlpclassifier__norm": [None, "batch"]}
    search = GridSearchCV(pipe, grid, cv=2).fit(x[:400], y[:400])
    assert search.score(x_val, y_val) > 0.8
    best = search.best_estimator_[-1]
    for twin in (pickle.loads(pickle.dumps(best)), copy.deepcopy(best)):
        np.testing.assert_array_equal(twin.predict_proba(x_val), best.predict_proba(x_val))
        assert twin._descent.net is twin.network_
    fresh = clone(best)
    assert fresh.get_params() == best.get_params()
    assert not hasattr(fresh, "coefs_")


def test_same_seed_same_network(digits: Any) -> None:
    x, y, *_ = digits
    one, two, other = (quick(random_state=seed, max_iter=5).fit(x, y).network_.parameters for seed in (3, 3, 4))
    np.testing.assert_array_equal(one, two)
    assert not np.array_equal(one, other)


def test_verbose(capsys: pytest.CaptureFixture[str]) -> None:
    x, y = values(outputs=1)
    gm.sklearn.MLPRegressor(4, verbose=True).partial_fit(x, y.ravel())
    assert capsys.readouterr().out.startswith("Iteration 1, loss = ")


BAD: dict[str, Any] = {
    "solver": "lbfgs",
    "activation": "sine",
    "alpha": -1,
    "learning_rate_init": 0,
    "learning_rate": "fast",
    "batch_size": "all",
    "max_iter": 0,
    "loss": "cross_entropy",
    "init": "nosuch",
    "norm": "nosuch",
    "dropout": 2,
    "momentum": 2,  # of sgd only, and still wrong
    "validation_fraction": 1.5,  # likewise without early_stopping
    "beta_1": 1.0,
    "hidden_layer_sizes": 0,
    "tol": np.nan,
}


@pytest.mark.parametrize(("name", "value"), BAD.items(), ids=BAD.keys())
def test_bad_parameters(name: str, value: Any) -> None:
    x, y = values(n=60, outputs=1)
    with pytest.raises(ValueError, match=f"The '{name}' parameter of MLPRegressor must be.*Got"):
        gm.sklearn.MLPRegressor(**{name: value}).fit(x, y.ravel())


def test_parameters_that_do_not_go_together() -> None:
    x, y = values(n=60, outputs=1)
    with pytest.raises(ValueError, match=r"hidden_layer_sizes\[1\] is 0"):
        gm.sklearn.MLPRegressor([8, 0]).fit(x, y.ravel())
    with pytest.raises(ValueError, match=r"validation_fraction is 0\.01: 1 rows"):
        gm.sklearn.MLPRegressor(early_stopping=True, validation_fraction=0.01).fit(x, y.ravel())
    for loss in ("mse", "bce_with_logits", gm.losses.Huber(1.0)):
        with pytest.raises(ValueError, match="loss"):
            gm.sklearn.MLPClassifier(loss=loss).fit(x, y.ravel() > 0)


def test_warm_start_keeps_the_shape_of_its_network() -> None:
    x, y = values(n=60, outputs=1)
    reg = gm.sklearn.MLPRegressor([8], warm_start=True, max_iter=2).fit(x, y.ravel())
    before = reg.network_.parameters.copy()
    with pytest.raises(ValueError, match=r"hidden_layer_sizes is \[4, 4\]; expected \[8\]"):
        reg.set_params(hidden_layer_sizes=[4, 4]).fit(x, y.ravel())
    with pytest.raises(ValueError, match="norm is 'rms'; expected None"):
        reg.set_params(hidden_layer_sizes=[8], norm="rms").fit(x, y.ravel())
    np.testing.assert_array_equal(reg.network_.parameters, before)
    reg.set_params(hidden_layer_sizes=(8,), norm=None).fit(x, y.ravel())
    assert reg.set_params(warm_start=False, hidden_layer_sizes=[4, 4]).fit(x, y.ravel()).n_layers_ == 4


def test_bad_data() -> None:
    x, y = values()
    reg = gm.sklearn.MLPRegressor(8, solver="sgd", learning_rate_init=1e6, max_iter=50)
    with pytest.raises(ValueError, match="large values"), np.errstate(over="ignore", invalid="ignore"):
        reg.fit(1e6 * x, y)
    reg = gm.sklearn.MLPRegressor(8).partial_fit(x, y)
    with pytest.raises(ValueError, match="y has 1 outputs; expected 2"):
        reg.partial_fit(x, y[:, 0])
    with pytest.raises(ValueError, match=r"(?i)sample.weight"):
        reg.fit(x, y, np.zeros(len(x)))


def test_an_unknown_parameter_is_named_with_the_class() -> None:
    with pytest.raises(TypeError, match=r"^MLPClassifier has no .*'activaton' \(did you mean 'activation'\?\)$"):
        gm.sklearn.MLPClassifier(activaton="tanh")
    assert "activation" in inspect.signature(gm.sklearn.MLPRegressor).parameters
