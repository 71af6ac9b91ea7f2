"""The screen of a measurement."""

from __future__ import annotations

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
    for measured, reason in ((measurement(depth=1), "one layer"), (measurement(factor=math.nan), "not finite")):
        text = str(measured)
        assert f"no factor: {reason}" in text or "0 or not finite" in text
        assert "xnan" not in text
        assert "x0 " not in text
    assert "95 %" not in factor_in_words(Attenuation(0.5, (math.nan, math.nan), math.nan, (1, 2), 1.4, 90.0))


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
