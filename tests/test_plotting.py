"""What matplotlib is made to draw: labels, scales, lines, data, marks and files."""

from __future__ import annotations

import dataclasses
import math
import subprocess
import sys
from pathlib import Path
from xml.etree import ElementTree

import gradiometer as gm
import numpy as np
import pytest
from gradiometer.diagnosis import CureResult, CureRow, diagnose
from gradiometer.diagnosis.charts import gradients_chart, metric_chart
from gradiometer.history import film, loss_chart
from gradiometer.measurement.result import Attenuation, Measurement
from gradiometer.plotting import draw
from gradiometer.report.chart import Bar, BarChart, LineChart, Series
from gradiometer.report.heat import HeatMap
from gradiometer.train import Evaluation, History
from hand_made import measurement, sigmoid_50

pytest.importorskip("matplotlib")

from matplotlib.axes import Axes
from matplotlib.figure import Figure


def lines(ax: Axes) -> dict[str, list[float]]:
    """Label to data of the lines that have names."""
    return {str(line.get_label()): list(line.get_ydata()) for line in ax.lines if line.get_label()[0] != "_"}


def marks(ax: Axes, kind: str) -> list[float]:
    """Where on x the marks for what is off the scale lie."""
    return [x for line in ax.lines if line.get_label() == f"_{kind}" for x in line.get_xdata()]


def legend(ax: Axes) -> list[str]:
    found = ax.get_legend()
    return [] if found is None else [text.get_text() for text in found.get_texts()]


def run(steps: int = 12) -> History:
    """A history with everything in it."""
    seen = Attenuation(0.5, (0.4, 0.6), 0.55, (1, 3), 1.4, 100.0)
    return History(
        loss=[1 / (1 + step) for step in range(steps)],
        val=[Evaluation(0.7, 0.5, 10), Evaluation(0.3, 0.9, 10)],
        val_steps=[6, 12],
        attenuation=[(4, seen), (8, seen), (12, seen)],
        grad_norms=[(4, (0.25, 0.5, 1.0)), (8, (0.0, 4.0, 2.0)), (12, (math.nan, 1.0, 1.0))],
        steps=steps,
        seconds=0.1,
    )


def cured() -> CureResult:
    given = sigmoid_50()

    def row(name: str, val: float, cured: bool, seen: Measurement) -> CureRow:
        interval = (val - 0.02, val + 0.01)
        none = (math.nan, math.nan)
        return CureRow(
            name, name, "sgd", 0.1, val, math.nan, interval, none, cured, False, 1.0, 1e-3, 0.1, 10, "", "", seen,
            gm.Sequential(gm.Linear(2, 2, rng=0)),
        )  # fmt: skip

    rows = (
        row("batch-norm", 0.97, True, measurement(depth=50)),
        row("as-given", 0.1, False, given),
        row("wild", -math.inf, False, measurement(depth=50, factor=2.0)),
    )
    return CureResult(rows, "accuracy", "cross_entropy", "64-10", (9, 9, 0), 8, 0, (1, 1, 1), 1, 1, (), diagnose(given))


def test_a_measurement_has_the_gradient_on_a_log_axis_and_the_spread_below() -> None:
    m = sigmoid_50()
    ax = m.plot()
    gradient, spread = ax.figure.axes
    assert gradient is ax
    assert (ax.get_yscale(), spread.get_yscale(), ax.get_xscale()) == ("log", "log", "linear")
    assert (ax.get_ylabel(), spread.get_ylabel()) == ("|dL/dh|", "sample spread")
    assert spread.get_xlabel() == "layer (1 next to the input)"
    assert lines(ax)["measured"] == [layer.grad_norm for layer in m.hidden]
    assert lines(spread)["spread"] == [layer.sample_spread for layer in m.hidden]
    assert legend(ax) == ["measured", "theory"]


def test_theory_starts_at_the_top_layer_and_is_multiplied_down() -> None:
    m = measurement(depth=4, factor=0.5, everywhere={"theory": 0.25}, top=1.0)
    assert lines(m.plot())["theory"] == pytest.approx([0.25**3, 0.25**2, 0.25, 1.0], rel=1e-12)


def test_theory_that_says_nothing_has_no_line() -> None:
    assert set(lines(measurement(everywhere={"theory": math.nan}).plot())) == {"measured"}


def test_ends_of_the_layers_are_ticks() -> None:
    ax = sigmoid_50().plot()
    ticks = [tick.get_text() for tick in ax.figure.axes[1].get_xticklabels()]
    assert ticks[0] == "1"
    assert ticks[-1] == "50"
    assert "0" not in ticks


def test_zeros_infinities_and_nan_are_marks_with_names() -> None:
    odd = {1: {"grad_norm": 0.0}, 2: {"grad_norm": 0.0}, 3: {"grad_norm": math.nan}, 4: {"grad_norm": math.inf}}
    m = measurement(depth=8, layers=odd)
    ax = m.plot()
    assert marks(ax, "exactly 0") == [1, 2]
    assert marks(ax, "not a number") == [3]
    assert marks(ax, "infinite") == [4]
    assert {"exactly 0", "not a number", "infinite"} <= set(legend(ax))
    np.testing.assert_array_equal(lines(ax)["measured"], [layer.grad_norm for layer in m.hidden])
    low, high = ax.get_ylim()
    assert 0 < low < high < math.inf
    assert marks(measurement(depth=8).plot(), "exactly 0") == []


def test_zeros_do_not_stretch_the_scale() -> None:
    low, high = measurement(depth=8, top=1e-2, layers={1: {"grad_norm": 0.0}}).plot().get_ylim()
    assert low > 1e-4
    assert high < 1.0


@pytest.mark.parametrize(
    "fields",
    [
        {"factor": math.nan, "loss_value": math.nan},
        {"factor": 0.0},
        {"depth": 1},
        {"spread": math.nan},
        {"spread": 0.0, "factor": 1e-30, "dtype": "float64"},
        {"factor": math.inf},
    ],
)
def test_odd_measurements_are_drawn(fields: dict[str, object], tmp_path: Path) -> None:
    measurement(**fields).plot(tmp_path / "odd.png")  # type: ignore[arg-type]
    assert (tmp_path / "odd.png").stat().st_size > 1000


def test_a_given_ax_is_used_and_keeps_its_look() -> None:
    figure = Figure()
    left, right = figure.subplots(1, 2)
    right.set_title("mine")
    assert sigmoid_50().plot(ax=right) is right
    assert len(figure.axes) == 2
    assert not left.lines
    assert "measured" in lines(right)
    assert right.get_title() == "mine"
    assert right.spines["top"].get_visible()


def test_an_ax_that_is_none_of_matplotlib_is_refused() -> None:
    with pytest.raises(TypeError, match="ax is Figure; expected a matplotlib Axes"):
        sigmoid_50().plot(ax=Figure())  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("name", "begins"), [("a.png", b"\x89PNG"), ("a.PNG", b"\x89PNG"), ("a.svg", b"<?xml"), ("a.pdf", b"%PDF")]
)
def test_the_suffix_says_the_format(name: str, begins: bytes, tmp_path: Path) -> None:
    sigmoid_50().plot(str(tmp_path / name))
    assert (tmp_path / name).read_bytes().startswith(begins)


def test_an_svg_is_well_formed_whatever_the_names(tmp_path: Path) -> None:
    names = {'<b> & "q"': sigmoid_50(), "$x^$ \x1b": measurement(), "_hidden": measurement(factor=0.9)}
    ax = gm.compare(names).plot(tmp_path / "a.svg")
    assert ElementTree.parse(tmp_path / "a.svg").getroot().tag.endswith("svg")
    assert legend(ax) == ['<b> & "q"', "$x^$ \ufffd", " _hidden", "theory"]


@pytest.mark.parametrize("name", ["a.jpeg", "a", "a.svg.gz", ".png"])
def test_other_suffixes_are_refused_before_anything_is_drawn(name: str, tmp_path: Path) -> None:
    figure = Figure()
    ax = figure.subplots()
    with pytest.raises(ValueError, match=r"path is .*expected a name that ends in \.png, \.svg, \.pdf"):
        sigmoid_50().plot(tmp_path / name, ax=ax)
    assert not ax.lines
    assert list(tmp_path.iterdir()) == []


def test_pyplot_is_never_imported() -> None:
    code = (
        "import sys, io; from hand_made import sigmoid_50; m = sigmoid_50();"
        "import gradiometer as gm; str(m); m._repr_html_(); assert 'matplotlib' not in sys.modules;"
        "m.plot().figure.savefig(io.BytesIO()); gm.compare({'a': m, 'b': m}).plot();"
        "assert 'matplotlib.pyplot' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True, cwd=Path(__file__).parent)


def test_compared_measurements_lie_over_one_another() -> None:
    one, two = sigmoid_50(), measurement(depth=20)
    ax = gm.compare({"sigmoid": one, "tanh": diagnose(two)}).plot()
    assert lines(ax)["sigmoid"] == [layer.grad_norm for layer in one.hidden]
    assert lines(ax)["tanh"] == [layer.grad_norm for layer in two.hidden]
    assert legend(ax) == ["sigmoid", "tanh", "theory"]
    assert ax.figure.axes[1].get_legend() is None
    dashed = [line for line in ax.lines if line.is_dashed() and len(line.get_xdata()) > 2]
    assert len(dashed) == 2
    colours = {line.get_color() for line in ax.lines if str(line.get_label()) in ("sigmoid", "tanh")}
    assert len(colours) == 2


def test_a_run_shows_what_was_recorded() -> None:
    history = run()
    loss, metric, factor, picture = history.plot().figure.axes[:4]
    assert lines(loss)["training"] == history.loss
    assert lines(loss)["validation"] == [0.7, 0.3]
    assert list(loss.lines[1].get_xdata()) == [6, 12]
    assert lines(metric)["validation"] == [0.5, 0.9]
    assert lines(factor)["measured"] == [0.5, 0.5, 0.5]
    assert factor.get_yscale() == "log"
    assert len(factor.collections) == 1
    assert picture.get_ylabel() == "layer (1 next to the input)"
    assert picture.get_xlabel() == "step"
    assert [axes.get_xlim() for axes in (loss, metric, factor)] == [picture.get_xlim()] * 3


def test_a_run_without_extras_shows_its_loss() -> None:
    figure = History(loss=[2.0, 1.0], steps=2).plot().figure
    assert len(figure.axes) == 1
    assert legend(figure.axes[0]) == []
    assert len(History().plot().figure.axes) == 1


def test_the_film_is_relative_to_the_last_hidden_layer() -> None:
    seen = film(run())
    assert seen.x == [4, 8, 12]
    assert seen.y == [1, 2, 3]
    np.testing.assert_array_equal(seen.values, [[0.25, 0.0, math.nan], [0.5, 2.0, 1.0], [1.0, 1.0, 1.0]])


def test_the_film_names_zeros_and_nan_and_centres_on_1() -> None:
    picture = run().plot().figure.axes[3]
    (mesh,) = picture.collections
    assert mesh.norm.vmin == pytest.approx(1 / mesh.norm.vmax)
    assert mesh.norm.vmin < 0.25
    shown = np.ma.getdata(mesh.get_array()), np.ma.getmaskarray(mesh.get_array())
    assert shown[0][0, 0] == 0.25
    assert 0 < shown[0][0, 1] < mesh.norm.vmin  # exactly 0: below the scale
    assert shown[1].tolist() == [[False, False, True], [False] * 3, [False] * 3]
    label = picture.figure.axes[-1].get_ylabel()
    assert "black: exactly 0" in label
    assert "yellow: not finite" in label
    healthy = dataclasses.replace(run(), grad_norms=[(4, (1.0, 1.0)), (8, (0.5, 1.0))])
    assert "black" not in healthy.plot().figure.axes[-1].get_ylabel()


def test_a_film_at_the_ends_of_the_number_range(tmp_path: Path) -> None:
    values = [[5e-324, 1.0], [1e308, 0.0]]
    draw([HeatMap("t", [1, 2], [1, 2], values)], tmp_path / "a.png")
    draw([HeatMap("t", [1], [1], [[0.0]])], tmp_path / "b.png")


def test_fit_records_what_the_film_needs() -> None:
    train, val, _ = gm.datasets.digits()
    x, y = train[:100]
    net = gm.mlp(64, [16] * 3, 10, rng=0)
    history = net.fit((x, y), val, batch_size=32, steps=6, monitor=2, rng=0)
    assert history.val_steps == [4, 6]
    assert len(history.val) == 2
    assert [step for step, _ in history.grad_norms] == [2, 4, 6]
    step, norms = history.grad_norms[-1]
    assert len(norms) == 3
    m = gm.measure(net, x, y)
    assert norms == pytest.approx([layer.grad_norm for layer in m.hidden], rel=1e-12)
    assert step == history.attenuation[-1][0]
    history.plot()


def test_a_long_run_is_thinned_for_a_notebook_only() -> None:
    history = History(loss=[float(i) for i in range(1000)], steps=1000)
    (whole,), (thin,) = loss_chart(history).series, loss_chart(history, 300).series
    assert len(whole.x) == 1000
    assert len(thin.x) == 250
    assert thin.name == "training, mean of 4 steps"
    assert (thin.x[0], thin.y[0], thin.x[-1], thin.y[-1]) == (4, 1.5, 1000, 997.5)


def test_cures_have_bars_with_intervals() -> None:
    cures = cured()
    ax = cures.plot()
    assert [tick.get_text() for tick in ax.get_yticklabels()] == ["batch-norm", "as-given", "wild"]
    assert [patch.get_width() for patch in ax.patches] == [0.97, 0.1]
    assert ax.get_xlim() == (0, 1)
    said = [text.get_text() for text in ax.texts]
    assert said == [".970", ".100", "nan  diverged"]
    (whisker, _) = (container.lines[2][0] for container in ax.containers if hasattr(container, "has_xerr"))
    assert whisker.get_segments()[0][:, 0] == pytest.approx([0.95, 0.98])
    blue, grey = (patch.get_facecolor() for patch in ax.patches)
    assert blue != grey
    gradient = ax.figure.axes[1]
    assert lines(gradient)["as-given"] == [layer.grad_norm for layer in sigmoid_50().hidden]
    assert metric_chart(cures).bars[0].emphasis
    assert [series.style for series in gradients_chart(cures).series] == ["dashed", "solid", "solid"]


def test_a_diagnosis_draws_its_measurement(tmp_path: Path) -> None:
    ax = diagnose(sigmoid_50()).plot(tmp_path / "a.svg")
    assert "measured" in lines(ax)
    assert (tmp_path / "a.svg").exists()


def test_more_lines_than_colours_differ_by_dots() -> None:
    chart = LineChart("t", [Series(f"s{i}", [1, 2], [1.0, 10.0 + i]) for i in range(8)])
    ax = draw([chart])
    looks = {(line.get_color(), str(line.get_linestyle())) for line in ax.lines}
    assert len(looks) == 8


@pytest.mark.parametrize("chart", [LineChart("empty", []), LineChart("t", [Series("a", [], [])]), BarChart("none", [])])
def test_nothing_is_drawn_as_nothing(chart: LineChart | BarChart, tmp_path: Path) -> None:
    draw([chart], tmp_path / "a.png")


def test_a_bar_chart_alone_has_its_own_axis() -> None:
    ax = draw([BarChart("t", [Bar("a", 3.0), Bar("b", math.nan)], label="seconds")])
    assert ax.get_xlabel() == "seconds"
    assert len(ax.patches) == 1
