"""Tables and bars by rich, the extra ``cli``: what `report.text` has laid out, with rules and colours."""

from __future__ import annotations

import io
from typing import Any

from rich.box import Box
from rich.console import Console
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from gradiometer.report.text import Block

__all__ = ["block", "progress_bar"]

RULE = Box("    \n    \n ── \n    \n    \n    \n    \n    \n")
"""A line under the header and nothing else."""


def block(laid_out: Block) -> str:
    """Columns of a table: header and rule, rows that matter bold, bars in colour."""
    table = Table(box=RULE, show_edge=False, pad_edge=False, padding=(0, 0, 0, laid_out.gap - 1), border_style="dim")
    for column, header, width in zip(laid_out.columns, laid_out.headers, laid_out.widths, strict=True):
        style = "blue" if column.terminal_only else None
        table.add_column(
            Text(header), width=width, no_wrap=True, justify=column.align, header_style="bold cyan", style=style
        )
    for row, stressed in zip(laid_out.rows, laid_out.stressed, strict=True):
        table.add_row(*map(Text, row), style="bold" if stressed else None)
    return drawn(table)


def progress_bar(share: float, width: int) -> str:
    """A bar that is full at a share of 1."""
    return drawn(ProgressBar(total=1.0, completed=share, width=width, complete_style="blue"))


def drawn(what: Any) -> str:
    """The lines that rich writes, in the sixteen colours of the terminal's own palette."""
    out = io.StringIO()
    # The caller has decided that there is colour, and that all of it fits: rich is to look at nothing else.
    console = Console(
        file=out, force_terminal=True, color_system="standard", no_color=False, width=1000, legacy_windows=False,
        markup=False, emoji=False, highlight=False, _environ={},
    )  # fmt: skip
    console.print(what, end="", no_wrap=True, crop=False)
    return out.getvalue().rstrip("\n")
