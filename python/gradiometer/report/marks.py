"""What charts are drawn with: colours, rules, words, and the element around them.

Colours are CSS variables (``--series-1`` ... ``--series-6``, ``--grid``) with fall-backs, text takes the colour of its
place. The six are Okabe and Ito's colour-blind-safe palette; dash and label tell lines apart too.
"""

from __future__ import annotations

import zlib

from gradiometer.report.escape import escape

__all__ = [
    "FONT",
    "INK",
    "LINE",
    "PALETTE",
    "PALETTE_DARK",
    "SMALL",
    "colour_of",
    "fixed",
    "leader",
    "rule",
    "stroke",
    "svg_element",
    "swatch",
    "tick_width",
    "tick_words",
    "words",
    "words_width",
]

PALETTE = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9")
PALETTE_DARK = ("#56B4E9", "#E69F00", "#2BB793", "#DE9DC1", "#F0E442", "#E8743B")
INK = -1
"""In place of a number in the palette: the colour of the text, for a thin line that lies over others."""
FONT = 13
SMALL = 12
LINE = 17


def svg_element(title: str, description: str, width: float, height: float, marks: str) -> str:
    name = f"chart-{zlib.crc32((title + description + marks).encode('utf-8', 'replace')):08x}"
    return (
        '<svg xmlns="http://www.w3.org/2000/svg" class="chart" role="img"'
        f' viewBox="0 0 {fixed(width)} {fixed(height)}" aria-labelledby="{name}-t" aria-describedby="{name}-d"'
        f' font-family="system-ui, sans-serif" font-size="{FONT}" fill="currentColor">'
        f'<title id="{name}-t">{escape(title)}</title><desc id="{name}-d">{escape(description)}</desc>'
        f"{marks}</svg>"
    )


def fixed(value: float) -> str:
    shown = f"{value:.1f}"
    return shown[:-2] if shown.endswith(".0") else shown


def colour_of(number: int) -> str:
    if number == INK:
        return "currentColor"
    number %= len(PALETTE)
    return f"var(--series-{number + 1}, {PALETTE[number]})"


def rule(x0: float, y0: float, x1: float, y1: float, dash: str = "", strong: bool = False) -> str:
    extra = f' stroke-dasharray="{dash}"' if dash else ""
    colour = "var(--axis, #8b929a)" if strong else "var(--grid, #8b929a40)"
    return f'<path d="M{fixed(x0)} {fixed(y0)}L{fixed(x1)} {fixed(y1)}" style="stroke:{colour}"{extra}/>'


def stroke(style: str, number: int) -> str:
    """The pen of a series; the colours run out after six, so the next six are dotted."""
    dash = "5 5" if style == "dashed" else "1 4" if number >= len(PALETTE) else ""
    dashed = f' stroke-dasharray="{dash}"' if dash else ""
    width = "1.2" if number == INK else "2"
    return f'fill="none" style="stroke:{colour_of(number)}" stroke-width="{width}"{dashed} stroke-linecap="round"'


def swatch(x: float, y: float, length: float, style: str, number: int) -> str:
    if style == "points":
        return f'<circle cx="{fixed(x + length / 2)}" cy="{fixed(y)}" r="3" style="fill:{colour_of(number)}"/>'
    return f'<path d="M{fixed(x)} {fixed(y)}h{fixed(length)}" {stroke(style, number)}/>'


def leader(x0: float, y0: float, x1: float, y1: float, number: int) -> str:
    path = f"M{fixed(x0)} {fixed(y0)}L{fixed(x1)} {fixed(y1)}"
    return f'<path d="{path}" fill="none" style="stroke:{colour_of(number)}" stroke-width="1" opacity="0.5"/>'


def words(
    x: float, y: float, content: str, anchor: str = "start", size: int = FONT,
    faint: bool = False, strong: bool = False, halo: bool = False, colour: str = "",
) -> str:  # fmt: skip
    if not content:
        return ""
    extra = f' text-anchor="{anchor}"' if anchor != "start" else ""
    extra += f' font-size="{size}"' if size != FONT else ""
    extra += ' class="faint" fill-opacity="0.72"' if faint else ""
    extra += ' font-weight="600"' if strong else ""
    extra += f' style="fill:{colour}"' if colour else ""
    extra += ' paint-order="stroke" stroke-width="4" style="stroke:var(--page, transparent)"' if halo else ""
    return f'<text x="{fixed(x)}" y="{fixed(y)}"{extra}>{escape(content)}</text>'


def tick_words(x: float, y: float, label: str, anchor: str) -> str:
    """A number; a power of ten is set with a raised exponent."""
    mantissa, _, power = label.partition("e")
    if not power.lstrip("+-").isdigit():
        return words(x, y, label, anchor, SMALL, faint=True)
    base = "10" if mantissa == "1" else f"{mantissa}×10"
    raised = f'<tspan dy="-5" font-size="9.5">{str(int(power)).replace("-", "−")}</tspan>'
    look = f'text-anchor="{anchor}" font-size="{SMALL}" class="faint" fill-opacity="0.72"'
    return f'<text x="{fixed(x)}" y="{fixed(y)}" {look}>{base}{raised}</text>'


def tick_width(label: str) -> float:
    mantissa, _, power = label.partition("e")
    if not power.lstrip("+-").isdigit():
        return words_width(label) * SMALL / FONT
    base = "10" if mantissa == "1" else f"{mantissa}×10"
    return words_width(base) * SMALL / FONT + 6 * len(str(int(power)))


def words_width(text: str) -> float:
    """Width in a common sans serif at the chart's font size; an estimate, on the wide side."""
    return FONT * sum(map(_em, text))


def _em(char: str) -> float:
    if char in " iljtfr.,:;'|!()[]I":
        return 0.34
    if char in "mwMW%@" or ord(char) > 0x2E7F:
        return 0.9
    return 0.7 if char.isupper() else 0.63
