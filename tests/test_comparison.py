"""Measurements side by side, what notebooks show, and pictures: all without matplotlib."""

from __future__ import annotations

import dataclasses
import math
import sys
from xml.etree import ElementTree

import gradiometer as gm
import pytest
from gradiometer.diagnosis import diagnose
from gradiometer.history import attenuation_chart
from gradiometer.measurement import Comparison, Measurement
from gradiometer.measurement.charts import gradient_chart, spread_chart
from gradiometer.measurement.result import Attenuation
from gradiometer.report.chart import INK, LineChart, Series, whole_ticks
from gradiometer.report.picture import picture
from gradiometer.train import Evaluation, History
from hand_made import measurement, sigmoid_50

SVG = "{http://www.w3.org/2000/svg}"


def two() -> Comparison:
    return gm.compare({"sigmoid": sigmoid_50(), "tanh": measurement(depth=20, factor=1.0, spread=0.5)})


def shown(html: str) -> ElementTree.Element:
    """The parsed fragment: well formed, hence balanced, without anything that runs or loads."""
    root = ElementTree.fromstring(html)
    tags = {element.tag.removeprefix(SVG) for element in root.iter()}
    assert not tags & {"script", "style", "link", "img", "iframe"}
    assert not any(name.startswith("on") or name == "href" for element in root.iter() for name in element.attrib)
    return root


def text(root: ElementTree.Element) -> str:
    return " ".join("".join(root.itertext()).split())


def test_a_row_holds_what_the_measurement_says() -> None:
    table = two().table()
    headers = [column.header for column in table.columns]
    assert headers == ["network", "a layer", "95 %", "theory", "total", "spread at end"]
    m = sigmoid_50()
    name, factor, ci95, theory, total, spread = table.rows[0]
    assert (name, factor, ci95, theory) == ("sigmoid", m.attenuation.factor, m.attenuation.ci95, m.attenuation.theory)
    assert total == m.hidden[0].grad_norm / m.hidden[-1].grad_norm
    assert total == pytest.approx(factor**49, rel=1e-6)
    assert spread == m.hidden[-1].sample_spread
    assert table.rows[1][4] == pytest.approx(1.0)
    assert table.rows[1][5] == 0.5


def test_the_table_is_aligned_within_80_columns() -> None:
    names = {"n" * length: sigmoid_50() for length in (1, 20, 90)}
    lines = str(gm.compare(names)).splitlines()
    assert len(lines) == 4
    assert max(map(len, lines)) <= 80
    assert len({len(line) for line in lines}) == 1  # the last column is flush right


def test_the_order_is_the_one_given() -> None:
    compared = two()
    assert compared.names == ("sigmoid", "tanh")
    assert [row[0] for row in compared.table().rows] == ["sigmoid", "tanh"]
    with pytest.raises(dataclasses.FrozenInstanceError):
        compared.names = ()  # type: ignore[misc]


@pytest.mark.parametrize(
    "fields", [{"factor": math.nan}, {"factor": 0.0}, {"depth": 1}, {"everywhere": {"theory": math.nan}}]
)
def test_odd_measurements_have_a_row(fields: dict[str, object]) -> None:
    compared = gm.compare({"odd": measurement(**fields)})  # type: ignore[arg-type]
    assert len(str(compared).splitlines()) == 2
    shown(compared._repr_html_())


def test_what_holds_a_measurement_is_taken() -> None:
    m = sigmoid_50()
    assert gm.compare({"d": diagnose(m)}).measurements == (m,)


@pytest.mark.parametrize(
    ("results", "error", "message"),
    [
        ({}, ValueError, "results is empty; expected one measurement or more"),
        ([1], TypeError, "results is list; expected a mapping"),
        ({"a": 3}, TypeError, r"results\['a'\] is int; expected a Measurement"),
        ({3: None}, TypeError, "results has the name 3; expected a str"),
        ({"": None}, TypeError, "results has the name ''"),
    ],
)
def test_bad_arguments_are_named(results: object, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        gm.compare(results)  # type: ignore[arg-type]


def test_a_chart_of_several_has_theory_once_in_the_legend() -> None:
    chart = gradient_chart(two().by_name)
    assert [series.name for series in chart.series] == ["sigmoid", "tanh", "theory", ""]
    assert [series.colour for series in chart.series] == [None, None, INK, INK]
    assert [series.name for series in spread_chart(two().by_name).series] == ["sigmoid", "tanh"]
    assert chart.svg().count(">theory</text>") == 1


def test_the_level_of_float32_is_drawn_where_it_is_near() -> None:
    assert [level.value for level in gradient_chart({"": sigmoid_50()}).levels] == [
        pytest.approx(2.0**-126 * math.sqrt(256 * 128))
    ]
    assert gradient_chart({"": measurement()}).levels == []
    assert gradient_chart({"": dataclasses.replace(sigmoid_50(), dtype="float64")}).levels == []


def test_a_notebook_shows_factor_curve_and_folded_table() -> None:
    root = shown(sigmoid_50()._repr_html_())
    assert "x0.236 a layer" in text(root)
    assert "44 folded" in text(root)
    assert len(root.findall(f".//{SVG}svg")) == 1
    rows = root.findall(".//tbody/tr")
    assert [row[0].text for row in rows] == ["50", "40", "30", "20", "10", "1"]
    assert "currentColor" in sigmoid_50()._repr_html_()  # letters in the colour of the page


@pytest.mark.parametrize("fields", [{"factor": math.nan}, {"factor": 0.0}, {"depth": 1}, {"network": "<script>&"}])
def test_odd_measurements_are_shown(fields: dict[str, object]) -> None:
    shown(measurement(**fields)._repr_html_())  # type: ignore[arg-type]


def test_a_comparison_is_shown() -> None:
    root = shown(gm.compare({"<i>": sigmoid_50(), "b": measurement()})._repr_html_())
    assert len(root.findall(f".//{SVG}svg")) == 2
    assert [row[0].text for row in root.findall(".//tbody/tr")] == ["<i>", "b"]


def seen(factor: float) -> Attenuation:
    return Attenuation(factor, (factor / 2, factor * 2), math.nan, (1, 5), 1.4, 100.0)


def test_a_run_is_shown() -> None:
    val = [Evaluation(1 / (1 + i), 0.5, 10) for i in range(30)]
    history = History([1.0] * 30, val, list(range(1, 31)), [(10, seen(0.5)), (20, seen(0.25))], [], 30, 0.5)
    root = shown(history._repr_html_())
    assert "30 steps in 0.50 s" in text(root)
    assert "x0.250 a layer (95 % 0.125-0.500) at step 20" in text(root)
    rows = [row[0].text for row in root.findall(".//tbody/tr")]
    assert (len(rows), rows[0], rows[-1]) == (10, "1", "30")


def test_a_run_is_printed_as_a_table_of_epochs() -> None:
    val = [Evaluation(1 / (1 + i), 0.5, 10) for i in range(3)]
    history = History([4.0, 2.0, 1.0, 3.0, 0.5, 0.25], val, [2, 4, 6], [(4, seen(0.5))], [], 6, 0.5, stopped_early=True)
    lines = str(history).splitlines()
    assert lines[0] == "6 steps in 0.50 s"
    assert lines[1].startswith("stopped early")
    assert lines[2].startswith("|dL/dh| x0.500 a layer")
    assert [line.split() for line in lines[-3:]] == [
        ["1", "2", "3", "1", ".500"],
        ["2", "4", "2", "0.5", ".500"],
        ["3", "6", "0.375", "0.3333", ".500"],
    ]
    assert repr(history) == (
        "<History: 6 steps in 0.50 s, loss 0.25, validation loss 0.3333, metric .500, stopped early>"
    )
    long = History([1.0] * 5000, steps=5000)
    assert len(str(long).splitlines()) < 15
    assert len(repr(long)) < 80
    assert str(History()) == "0 steps in 0 ms"


@pytest.mark.parametrize(
    "history",
    [
        History(),
        History([1.0], steps=1),
        History([1.0, math.nan], steps=2, diverged=True),
        History([math.inf], steps=1),
    ],
)
def test_bare_runs_are_shown(history: History) -> None:
    root = shown(history._repr_html_())
    assert ("not finite" in text(root)) == history.diverged


def test_a_long_run_stays_small_in_a_notebook() -> None:
    many = [(step, seen(0.5)) for step in range(1, 5001)]
    history = History([1.0] * 50_000, attenuation=many, steps=50_000)
    assert len(history._repr_html_()) < 100_000
    assert len(attenuation_chart(history).series[0].x) == 5000


def test_a_band_lies_around_its_line() -> None:
    series = Series("a", [1, 2, 3, 4], [1, 1, 1, 1], low=[0.5, 0.5, math.nan, 0.1], high=[2, 2, math.nan, 10])
    root = ElementTree.fromstring(LineChart("t", [series]).svg())
    (band,) = root.findall(f".//{SVG}path[@class='band']")  # of one point alone there is none
    assert band.get("d", "").count("L") == 3
    with pytest.raises(ValueError, match="low of 'a' has 2 values and high 1, expected 2 each or none"):
        Series("a", [1, 2], [1, 1], low=[0, 0], high=[1])


def test_whole_ticks_keep_the_ends() -> None:
    assert [tick.label for tick in whole_ticks(1, 30, 8)] == ["1", "5", "10", "15", "20", "25", "30"]
    assert [tick.label for tick in whole_ticks(3, 3)] == ["3"]


def test_a_picture_brings_its_background_and_both_sets_of_colours() -> None:
    drawn = picture(gradient_chart(two().by_name), note="<b> & co")
    root = ElementTree.fromstring(drawn)
    _, _, width, height = map(float, root.attrib["viewBox"].split())
    inner = root.find(f"{SVG}svg")
    assert inner is not None
    assert float(inner.attrib["x"]) + float(inner.attrib["width"]) <= width
    assert float(inner.attrib["y"]) + float(inner.attrib["height"]) < height
    assert "prefers-color-scheme:dark" in drawn
    assert [child.tag.removeprefix(SVG) for child in root][:2] == ["style", "rect"]
    assert "<b> & co" in text(root)


def test_a_missing_matplotlib_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib.axes", None)  # type: ignore[arg-type]
    with pytest.raises(ImportError, match=r'plot needs matplotlib: pip install "gradiometer\[plot\]"'):
        sigmoid_50().plot()
    with pytest.raises(ImportError, match="plot needs matplotlib"):
        two().plot()
    with pytest.raises(ImportError, match="plot needs matplotlib"):
        History([1.0], steps=1).plot()


def test_compare_is_public() -> None:
    assert "compare" in gm.__all__
    assert isinstance(two().by_name["tanh"], Measurement)


def test_measurements_without_names_are_refused_with_the_way() -> None:
    train, _, _ = gm.datasets.digits()
    m = gm.measure(gm.mlp(64, [8, 8], 10, rng=0), *train[:16])
    with pytest.raises(TypeError, match=r"results is Measurement and 1 more; expected a mapping .* \{\"a\": first"):
        gm.compare(m, m)
