"""The terminal screen: numbers, tables, verdicts and bars, at 80 columns and in colour only where wanted."""

from __future__ import annotations

import importlib.util
import math
import os
import unicodedata
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple, TextIO

from gradiometer.report.escape import printable

__all__ = [
    "Block",
    "Column",
    "Status",
    "Style",
    "Table",
    "Verdict",
    "bar",
    "fold",
    "heading",
    "interval",
    "is_terminal",
    "percent",
    "scientific",
    "score",
    "spans",
    "times",
    "verdicts",
    "wrap",
]

WIDTH = 80
Status = Literal["FAIL", "WARN", "ok"]
STATUSES: tuple[Status, ...] = ("FAIL", "WARN", "ok")


# Numbers


def scientific(value: float, digits: int = 2) -> str:
    """`value` with `digits` significant digits and an exponent; a plain 0 where it is exactly 0.

    >>> scientific(0.0191), scientific(2e-33), scientific(0.0), scientific(float("nan"))
    ('1.9e-02', '2.0e-33', '0', 'nan')
    """
    if value == 0 or not math.isfinite(value):
        return _odd(value)
    return f"{value:.{digits - 1}e}"


def times(value: float, decimals: int = 3) -> str:
    """A factor; in scientific form where `decimals` places would lose it. NaN, where there is none, is a dash.

    >>> times(0.2341), times(1.0049), times(0.3211, 2), times(2.5e-7), times(4321.0), times(0.0), times(math.nan)
    ('x0.234', 'x1.005', 'x0.32', 'x2.5e-07', 'x4.3e+03', '0', '-')
    """
    if math.isnan(value):
        return "-"
    return "x" * (value != 0 and math.isfinite(value)) + _fixed(value, decimals)


def interval(low: float, high: float, decimals: int = 3) -> str:
    """A range of two numbers.

    >>> interval(0.23, 0.238), interval(1e-9, 3e-9)
    ('0.230-0.238', '1.0e-09 to 3.0e-09')
    """
    first, last = _fixed(low, decimals), _fixed(high, decimals)
    joint = " to " if any(sign in first + last for sign in "e-") else "-"
    return first + joint + last


def percent(share: float) -> str:
    """A share as per cent, never rounded to 0 % or 100 % unless it is exactly that.

    >>> percent(0.0031), percent(0.5), percent(0.0), percent(1.0), percent(0.9999), percent(2e-7)
    ('0.3 %', '50 %', '0 %', '100 %', '99.99 %', '2.0e-05 %')
    """
    if not math.isfinite(share):
        return f"{_odd(share)} %"
    value = 100 * share
    if value in (0, 100):
        return f"{value:.0f} %"
    if 0 < abs(value) < 0.001:
        return f"{value:.1e} %"
    for decimals in range(0 if abs(value) >= 10 else 1, 6):
        shown = f"{value:.{decimals}f}"
        if float(shown) not in (0, 100):
            return f"{shown} %"
    return f"{value!r} %"


def score(value: float, digits: int = 3) -> str:
    """A metric between 0 and 1 without its leading zero.

    >>> score(0.9791), score(1.0), score(0.0), score(-0.25), score(float("nan"))
    ('.979', '1.000', '.000', '-.250', 'nan')
    """
    if not abs(value) < 1000:
        return _odd(value)
    shown = f"{value:.{digits}f}"
    return shown.replace("0.", ".", 1) if shown.lstrip("-").startswith("0.") else shown


def spans(numbers: Iterable[int]) -> str:
    """Whole numbers as runs, in ascending order.

    >>> spans([1, 2, 3, 7, 9, 10]), spans([4]), spans([])
    ('1-3, 7, 9-10', '4', '')
    """
    runs: list[list[int]] = []
    for number in sorted(set(numbers)):
        if runs and number == runs[-1][1] + 1:
            runs[-1][1] = number
        else:
            runs.append([number, number])
    return ", ".join(str(a) if a == b else f"{a}-{b}" for a, b in runs)


def bar(value: float, low: float, high: float, width: int = 18) -> str:
    """A bar of ``#`` on a log scale: 1 character at `low`, `width` at `high`.

    Zero has no bar and reads ``0``; NaN and infinities read as such.

    >>> bar(1e-2, 1e-32, 1e-2), bar(1e-32, 1e-32, 1e-2), bar(0.0, 1e-32, 1e-2)
    ('##################', '#', '0')
    """
    if value <= 0 or not math.isfinite(value):
        return _odd(value)
    if not 0 < low < high < math.inf:
        return "#" * width
    part = (math.log(value) - math.log(low)) / (math.log(high) - math.log(low))
    return "#" * (1 + round((width - 1) * min(max(part, 0.0), 1.0)))


def _fixed(value: float, decimals: int) -> str:
    if value == 0 or not math.isfinite(value):
        return _odd(value)
    if abs(value) >= 1000:
        return f"{value:.1e}"
    shown = f"{value:.{decimals}f}"
    # 0.0123 at 3 places keeps two digits; 0.00123 would keep one.
    return shown if abs(value) >= 10.0 ** (1 - decimals) else f"{value:.1e}"


def _odd(value: float) -> str:
    """Zero, or a number that no fixed form fits, in its shortest form."""
    return "0" if value == 0 else f"{value:.2g}"


# Colour


@dataclass(frozen=True)
class Style:
    """Terminal colour, or none: ``Style()`` is plain.

    Attributes
    ----------
    colour : bool
    rich : bool
        Tables and bars by the package rich: the same words in the same places, with rules and colours.

    Examples
    --------
    >>> Style().status("FAIL"), Style(colour=True).bold("x")
    ('FAIL', '\\x1b[1mx\\x1b[0m')
    """

    colour: bool = False
    rich: bool = False

    @classmethod
    def for_stream(cls, stream: TextIO, environ: Mapping[str, str] | None = None) -> Style:
        """Colour for a terminal, unless NO_COLOR is set or TERM is ``dumb``; FORCE_COLOR asks for it anyway.

        The first that applies decides: NO_COLOR, FORCE_COLOR (each counts when not empty), TERM, the stream. Where
        there is colour, rich draws if it is installed.
        """
        env = os.environ if environ is None else environ
        if env.get("NO_COLOR"):
            return cls()
        if not env.get("FORCE_COLOR") and (env.get("TERM") == "dumb" or not is_terminal(stream)):
            return cls()
        return cls(True, rich=importlib.util.find_spec("rich") is not None)

    def bold(self, text: str) -> str:
        return self._paint("1", text)

    def dim(self, text: str) -> str:
        return self._paint("2", text)

    def status(self, status: Status) -> str:
        """The status word itself, coloured."""
        return self._paint({"FAIL": "1;31", "WARN": "1;33", "ok": "32"}[status], status)

    def _paint(self, code: str, text: str) -> str:
        return f"\x1b[{code}m{text}\x1b[0m" if self.colour and text else text


PLAIN = Style()


def is_terminal(stream: TextIO | None) -> bool:
    """False too for a stream without ``isatty``, and for a closed one."""
    try:
        return stream is not None and stream.isatty()
    except (AttributeError, ValueError):
        return False


def heading(text: str, style: Style = PLAIN) -> str:
    """A line in bold."""
    return style.bold(printable(text))


# Prose


def wrap(text: str, width: int = WIDTH, indent: str = "", hanging: str | None = None) -> str:
    """`text` folded at spaces to lines of at most `width` columns; paragraphs (blank lines) are kept.

    The first line starts with `indent`, the others with `hanging` (default: `indent`). A word longer than a
    line is cut.

    >>> print(wrap("the gradient shrinks toward the input", 20, "- ", "  "))
    - the gradient
      shrinks toward the
      input
    """
    hanging = indent if hanging is None else hanging
    lines: list[str] = []
    for paragraph in printable(text, newlines=True).split("\n\n"):
        if lines:
            lines.append("")
        lines += _fill(paragraph.split(), width, hanging if lines else indent, hanging)
    return "\n".join(line.rstrip() for line in lines)


def _fill(words: Sequence[str], width: int, indent: str, hanging: str) -> list[str]:
    lines, line, empty = [], indent, True
    for word in words:
        if not empty and _columns(line) + 1 + _columns(word) > width:
            lines.append(line)
            line, empty = hanging, True
        line += word if empty else " " + word
        empty = False
        while _columns(line) > width:
            head = _cut(line, width)
            if len(head) <= len(hanging):
                break
            lines.append(head)
            line = hanging + line[len(head) :]
    return [*lines, line]


def _columns(text: str) -> int:
    """Columns of a terminal that `text` fills (East Asian wide characters take two, combining marks none)."""
    if text.isascii():
        return len(text)
    return sum(
        0 if unicodedata.combining(char) else 2 if unicodedata.east_asian_width(char) in "WF" else 1 for char in text
    )


def _cut(text: str, width: int) -> str:
    """The longest beginning of `text` that fits `width` columns."""
    while _columns(text) > width:
        text = text[:-1]
    return text


# Verdicts


@dataclass(frozen=True)
class Verdict:
    """One finding: a status, what it is, where, and the numbers that show it.

    Attributes
    ----------
    status : {"FAIL", "WARN", "ok"}
    headline : str
        The rule's id or a sentence.
    where : str
        For example ``"layers 1-50"``.
    evidence : sequence of str
        A sentence each.
    """

    status: Status
    headline: str
    where: str = ""
    evidence: Sequence[str] = ()

    def __post_init__(self) -> None:
        if self.status not in STATUSES:
            raise ValueError(f"status is {self.status!r}, expected one of {', '.join(STATUSES)}")
        if isinstance(self.evidence, str):
            raise TypeError("evidence is a str, expected a sequence of sentences")


def verdicts(items: Sequence[Verdict], style: Style = PLAIN, width: int = WIDTH) -> str:
    """The verdicts under one another, `where` aligned.

    >>> lost = Verdict("FAIL", "input-lost", "layers 12-50", ["spread 6e-7"])
    >>> print(verdicts([lost, Verdict("ok", "dead 0")]))
    FAIL input-lost  layers 12-50
         spread 6e-7
    ok   dead 0
    """
    located = [_columns(printable(item.headline)) for item in items if item.where]
    edge = max(located, default=0)
    lines: list[str] = []
    for item in items:
        title = printable(item.headline)
        if item.where:
            title += " " * (edge - _columns(title)) + "  " + printable(item.where)
        if _columns(title) > width - 5:
            title = wrap(title, width - 5)
        first, *more = title.split("\n")
        lines.append(style.status(item.status) + " " * (5 - len(item.status)) + first)
        lines += [" " * 5 + line for line in more]
        lines += [wrap(sentence, width, " " * 5) for sentence in item.evidence]
    return "\n".join(lines)


# Tables


@dataclass(frozen=True)
class Column:
    """A column of a `Table`.

    Attributes
    ----------
    header : str
    format : callable
        From a cell's value to its text; None is always an empty cell.
    align : {"right", "left"}
        Left-aligned columns are the ones that shrink when a line gets too long.
    terminal_only : bool
        Left out of an HTML page (for bars made of characters).
    """

    header: str
    format: Callable[[Any], str] = str
    align: Literal["right", "left"] = "right"
    terminal_only: bool = False

    def cell(self, value: Any) -> str:
        """The text of one cell."""
        return "" if value is None else printable(self.format(value))


class Block(NamedTuple):
    """Columns of a table that fit beside one another, every cell cut to its column's width."""

    headers: list[str]
    rows: list[list[str]]
    stressed: list[bool]
    """Of each row."""
    columns: list[Column]
    widths: list[int]
    gap: int

    def text(self, style: Style = PLAIN) -> str:
        """Aligned lines."""
        if style.rich:
            from gradiometer.report import terminal

            return terminal.block(self)
        lines = [style.bold(self._line(self.headers))]
        for row, stressed in zip(self.rows, self.stressed, strict=True):
            lines.append(style.bold(self._line(row)) if stressed else self._line(row))
        return "\n".join(lines)

    def _line(self, cells: Sequence[str]) -> str:
        parts = []
        for cell, column, width in zip(cells, self.columns, self.widths, strict=True):
            blank = " " * (width - _columns(cell))
            parts.append(blank + cell if column.align == "right" else cell + blank)
        return (" " * self.gap).join(parts).rstrip()


@dataclass(frozen=True)
class Table:
    """Columns and rows of plain values, drawn by `text` or by a page.

    Attributes
    ----------
    columns : sequence of Column
    rows : sequence of sequences
        A value for each column.
    emphasis : collection of int
        Positions of the rows to be stressed.
    """

    columns: Sequence[Column]
    rows: Sequence[Sequence[Any]]
    emphasis: Collection[int] = field(default_factory=frozenset)

    def __post_init__(self) -> None:
        for number, row in enumerate(self.rows):
            if len(row) != len(self.columns):
                raise ValueError(f"rows[{number}] has {len(row)} values, expected {len(self.columns)}")

    def text(
        self,
        width: int = WIDTH,
        style: Style = PLAIN,
        keep: Sequence[int] | None = None,
        noun: str = "layers",
        unfold: str = "",
    ) -> str:
        """Aligned lines of at most `width` columns.

        Parameters
        ----------
        width : int
        style : Style
        keep : sequence of int, optional
            Positions of the rows to show (see `fold`); the number left out is said in a last line.
        noun, unfold : str
            The words of that line: what was folded, and how to see it if there is a way.

        Notes
        -----
        A table that does not fit first gets narrower gaps, then shorter left-aligned cells; if numbers alone
        are too wide, the columns go into blocks under one another, each beginning with the first column.

        Examples
        --------
        >>> print(Table([Column("layer"), Column("|dL/dh|", scientific)], [(2, 1e-2), (1, 3e-3)]).text())
        layer   |dL/dh|
            2   1.0e-02
            1   3.0e-03
        """
        drawn = "\n\n".join(block.text(style) for block in self.blocks(width, keep))
        folded = 0 if keep is None else len(self.rows) - len(keep)
        said = f"{folded} {noun if folded > 1 else noun.removesuffix('s')} folded{': ' * bool(unfold)}{unfold}"
        return f"{drawn}\n{style.dim(said)}" if folded else drawn

    def blocks(self, width: int = WIDTH, keep: Sequence[int] | None = None) -> list[Block]:
        """Where everything of the rows to show goes within `width` columns, whoever draws it."""
        shown = range(len(self.rows)) if keep is None else keep
        cells = [[column.cell(value) for column, value in zip(self.columns, self.rows[i], strict=True)] for i in shown]
        headers = [printable(column.header) for column in self.columns]
        widths = [max(map(_columns, each)) for each in zip(headers, *cells, strict=True)]
        groups, gap = self._fit(widths, width)
        return [
            Block(
                [_shortened(headers[i], widths[i]) for i in group],
                [[_shortened(row[i], widths[i]) for i in group] for row in cells],
                [i in self.emphasis for i in shown],
                [self.columns[i] for i in group],
                [widths[i] for i in group],
                gap,
            )
            for group in groups
        ]

    def _fit(self, widths: list[int], width: int) -> tuple[list[list[int]], int]:
        """Blocks of columns and the gap between them; shortens `widths` where it must."""
        everything = list(range(len(widths)))
        for gap in (3, 2):
            if sum(widths) + gap * (len(widths) - 1) <= width:
                return [everything], gap
        excess = sum(widths) + 2 * (len(widths) - 1) - width
        flexible = [i for i in everything if self.columns[i].align == "left"]
        while excess > 0 and any(widths[i] > 8 for i in flexible):
            widths[max(flexible, key=lambda i: widths[i])] -= 1
            excess -= 1
        if excess <= 0:
            return [everything], 2
        widths[0] = min(widths[0], max(width // 2, 1))
        blocks = [[0]]
        for i in everything[1:]:
            widths[i] = min(widths[i], max(width - widths[0] - 2, 1))
            if sum(widths[j] + 2 for j in blocks[-1]) + widths[i] > width and len(blocks[-1]) > 1:
                blocks.append([0])
            blocks[-1].append(i)
        return blocks, 2


def _shortened(cell: str, width: int) -> str:
    return cell if _columns(cell) <= width else _cut(cell, max(width - 2, 0)) + ".."[:width]


def fold(labels: Sequence[int], most: int = 8, always: Collection[int] = ()) -> list[int]:
    """Positions to keep of a long run: the first, the last, and those whose label is a multiple of a
    round step (1, 2 or 5 times a power of ten).

    Parameters
    ----------
    labels : sequence of int
        Ascending or descending numbers, say of layers.
    most : int
        How many may stay, 2 or more; a run no longer than this stays whole.
    always : collection of int
        Labels that stay on top of that.

    Returns
    -------
    list of int

    Examples
    --------
    >>> layers = list(range(50, 0, -1))
    >>> [layers[i] for i in fold(layers)]
    [50, 40, 30, 20, 10, 1]
    """
    if most < 2:
        raise ValueError(f"most is {most}, expected 2 or more")
    if len(labels) <= most:
        return list(range(len(labels)))
    first, last = labels[0], labels[-1]
    scale = 1
    while True:
        for step in (scale, 2 * scale, 5 * scale):
            steps = [
                i
                for i, label in enumerate(labels)
                if label % step == 0 and min(abs(label - first), abs(label - last)) * 2 >= step
            ]
            kept = {0, len(labels) - 1, *steps}
            if len(kept) <= most:
                return sorted(kept | {i for i, label in enumerate(labels) if label in always})
        scale *= 10
