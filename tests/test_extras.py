"""What needs more than NumPy is imported only when used, and says how to install what it needs."""

from __future__ import annotations

import subprocess
import sys

import pytest


def run(code: str) -> str:
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout


EXTRAS = {"sklearn": "scikit-learn", "torch": "PyTorch"}


@pytest.mark.parametrize("name", EXTRAS)
def test_an_extra_is_imported_only_when_used(name: str) -> None:
    assert run(f"import sys, gradiometer; dir(gradiometer); print('{name}' in sys.modules)") == "False\n"


@pytest.mark.parametrize("name", EXTRAS)
def test_help_names_what_is_installed_only(name: str) -> None:
    code = "import importlib.util, inspect, gradiometer; found = dict(inspect.getmembers(gradiometer)); "
    check = f"print(('{name}' in found) == (importlib.util.find_spec('{name}') is not None), 'mlp' in found)"
    assert run(code + check) == "True True\n"


@pytest.mark.parametrize("name", EXTRAS)
def test_star_import_needs_no_extra(name: str) -> None:
    assert run(f"import sys; sys.modules['{name}'] = None; from gradiometer import *; print(mlp.__name__)") == "mlp\n"


@pytest.mark.parametrize(("name", "package"), EXTRAS.items())
def test_a_missing_extra_says_how_to_install(name: str, package: str) -> None:
    code = f"""
import sys; sys.modules["{name}"] = None
import gradiometer as gm
try: gm.{name}
except ImportError as error: print(error)
"""
    assert run(code) == f'gradiometer.{name} needs {package}: pip install "gradiometer[{name}]"\n'
