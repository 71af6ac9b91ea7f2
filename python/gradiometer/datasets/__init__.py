"""Data to measure on: in the package, made by rule, and files of your own."""

from gradiometer.datasets.files import load
from gradiometer.datasets.handwritten import digits, sequential_digits
from gradiometer.datasets.memory import adding, copy_memory
from gradiometer.datasets.sequence_files import load_sequences
from gradiometer.datasets.series import forecast, sunspots
from gradiometer.datasets.splits import Samples, Splits
from gradiometer.datasets.text import characters
from gradiometer.datasets.vowels import vowels

__all__ = [
    "Samples",
    "Splits",
    "adding",
    "characters",
    "copy_memory",
    "digits",
    "forecast",
    "load",
    "load_sequences",
    "sequential_digits",
    "sunspots",
    "vowels",
]
