"""The screen of a measurement."""

from __future__ import annotations

import dataclasses
import math

import pytest
from gradiometer.measurement.result import Attenuation
from gradiometer.measurement.text import factor_in_words, header, layer_table, measurement_text
from hand_made import measurement, sigmoid_50


def test_screen_of_a_deep_network() -> None:
    lines = str(sigmoid_50()).splitlines()
    assert lines[0] == "64-[128]x50-10, cross_entropy, float32, 256 samples, scalar"
    assert "x0.236 a layer" in lines[2]
    assert lines[4].split()[:5] == ["layer", "|dL/dh|", "to", "next", "theory"]
    assert [line.split()[0] for line in lines[5:11]] == ["50", "40", "30", "20", "10", "1"]
    assert lines[11] == "44 layers folded: .report(all=True)"


def test_all_layers_include_the_output() -> None:
    lines = measurement_text(sigmoid_50(), all_layers=True).splitlines()
    assert [line.split()[0] for line in lines[5:]] == [str(index) for index in range(51, 0, -1)]


def test_gradient_bars_fall_toward_the_input() -> None:
    bars = [line.count("#") for line in str(sigmoid_50()).splitlines()[5:11]]
    assert bars == sorted(bars, reverse=True)
    assert bars[0] > bars[-1] >= 1


@pytest.mark.parametrize(
    ("what", "fields"),
    [
        ("nothing finite", {"factor": math.nan, "loss_value": math.nan}),
        ("gradient gone", {"factor": 0.0}),
        ("no theory", {"everywhere": {"theory": math.nan}}),
        ("one layer", {"depth": 1}),
        ("spread not a number", {"spread": math.nan}),
    ],
)
def test_odd_measurements_have_a_screen(what: str, fields: dict[str, object]) -> None:
    text = str(measurement(**fields))  # type: ignore[arg-type]
    assert len(text.splitlines()) >= 5
    assert max(map(len, text.splitlines())) <= 80


def test_where_there_is_no_factor_none_is_shown() -> None:
    no_hidden = dataclasses.replace(measurement(depth=1), layers=measurement(depth=1).layers[1:])
    unknown = Attenuation(math.nan, (math.nan, math.nan), math.nan, (0, 0), math.nan, math.nan)
    for measured, reason in (
        (dataclasses.replace(no_hidden, attenuation=unknown), "one layer: no factor"),
        (measurement(depth=1), "one hidden layer: no factor"),
        (measurement(factor=math.nan), "no factor: the gradient is 0 or not finite"),
    ):
        text = str(measured)
        assert reason in text
        assert "xnan" not in text
        assert "x0 " not in text
    assert "95 %" not in factor_in_words(Attenuation(0.5, (math.nan, math.nan), math.nan, (1, 2), 1.4, 90.0))


def test_an_interval_of_two_increments_is_not_shown() -> None:
    """Student's t of one degree of freedom is 12.7: 3 layers gave 3e-05 to 3e+04."""
    assert "x0.5 a layer (too few layers for an interval)" in factor_in_words(
        Attenuation(0.5, (3.1e-5, 3.3e4), math.nan, (1, 3), 1.4, 90.0)
    ).replace("0.500", "0.5")
    assert "95 %" in str(measurement(depth=4))


def test_what_is_frozen_is_shown() -> None:
    text = str(measurement(layers={2: {"frozen": ("weight", "bias")}, 3: {"frozen": ("weight",)}}))
    assert "frozen: layers 2-3" in text
    assert "frozen" not in str(measurement())


def test_reprs_are_one_line() -> None:
    assert repr(sigmoid_50()) == (
        "<Measurement 64-[128]x50-10: cross_entropy 2.3 on 256 samples, |dL/dh| "
        + factor_in_words(sigmoid_50().attenuation)
        + ">"
    )
    assert repr(sigmoid_50().layers[3]).startswith("<LayerMeasurement 4 Linear 128 sigmoid: |dL/dh| ")


def test_a_host_that_flushes_is_named() -> None:
    assert "subnormals flushed by the host" in header(measurement(flushes_subnormals=True))


def test_theory_that_says_nothing_is_left_out() -> None:
    assert "theory" in factor_in_words(sigmoid_50().attenuation)
    quiet = measurement(factor=math.nan).attenuation
    assert "theory" not in factor_in_words(quiet)


def test_rows_are_plain_values() -> None:
    table = layer_table(sigmoid_50())
    assert len(table.rows) == 50
    assert table.rows[0][0] == 50
    assert table.rows[-1][0] == 1
