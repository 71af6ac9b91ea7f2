"""What needs more than NumPy is imported only when used, and says how to install what it needs."""

from __future__ import annotations

import subprocess
import sys


def run(code: str) -> str:
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout


def test_torch_is_imported_only_when_used() -> None:
    assert run("import sys, gradiometer; dir(gradiometer); print('torch' in sys.modules)") == "False\n"


def test_help_names_what_is_installed_only() -> None:
    code = "import importlib.util, inspect, gradiometer; found = dict(inspect.getmembers(gradiometer)); "
    check = "print(('torch' in found) == (importlib.util.find_spec('torch') is not None), 'mlp' in found)"
    assert run(code + check) == "True True\n"


def test_star_import_needs_no_extra() -> None:
    assert run("import sys; sys.modules['torch'] = None; from gradiometer import *; print(mlp.__name__)") == "mlp\n"


def test_missing_torch_says_how_to_install() -> None:
    code = """
import sys; sys.modules["torch"] = None
import gradiometer as gm
try: gm.torch
except ImportError as error: print(error)
"""
    assert run(code) == 'gradiometer.torch needs PyTorch: pip install "gradiometer[torch]"\n'
