"""Data to measure on: handwritten digits in the package, and files of your own."""

from gradiometer.datasets.files import load
from gradiometer.datasets.handwritten import digits
from gradiometer.datasets.splits import Samples, Splits

__all__ = ["Samples", "Splits", "digits", "load"]
