"""Draws docs/flow.svg, the picture of the README: |dL/dh| by layer in three networks of 50 layers. No matplotlib."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import gradiometer as gm
from gradiometer.measurement.charts import gradient_chart
from gradiometer.report.picture import picture

NETWORKS = {
    "sigmoid": {"activation": "sigmoid", "init": "xavier_normal"},
    "sigmoid + batch norm": {"activation": "sigmoid", "init": "xavier_normal", "norm": "batch"},
    "selu + lecun": {"activation": "selu", "init": "lecun_normal"},
}


def main() -> None:
    train, _, _ = gm.datasets.digits()
    measured = {
        name: gm.measure(gm.mlp(64, [128] * 50, 10, rng=0, **how), *train[:256]) for name, how in NETWORKS.items()
    }
    chart = dataclasses.replace(
        gradient_chart(measured), title="The gradient on its way to the input, through 50 layers"
    )
    factors = ", ".join(f"{name} x{m.attenuation.factor:.3f}" for name, m in measured.items())
    target = Path(__file__).with_name("flow.svg")
    target.write_text(picture(chart, note=f"A layer: {factors}. Handwritten digits, 256 samples."), encoding="utf-8")


if __name__ == "__main__":
    main()
