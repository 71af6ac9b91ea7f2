"""One HTML file that needs nothing else: no network, no script; in light and dark, on a phone, on paper."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from gradiometer.report.chart import BarChart, LineChart
from gradiometer.report.escape import escape
from gradiometer.report.heat import HeatMap
from gradiometer.report.marks import PALETTE, PALETTE_DARK
from gradiometer.report.text import Table, Verdict

__all__ = [
    "Chart",
    "Code",
    "Details",
    "Facts",
    "Page",
    "Part",
    "Prose",
    "TableSection",
    "Verdict",
    "table_html",
    "variables",
]


@dataclass(frozen=True)
class Prose:
    """Paragraphs, parted by blank lines."""

    text: str
    heading: str = ""


@dataclass(frozen=True)
class TableSection:
    """A `Table` with its caption; it scrolls sideways where the screen is narrow."""

    table: Table
    caption: str
    heading: str = ""


@dataclass(frozen=True)
class Chart:
    """A chart, its title as caption, and a note below."""

    chart: LineChart | BarChart | HeatMap
    note: str = ""
    heading: str = ""


@dataclass(frozen=True)
class Code:
    """Lines to be copied, with a label that says where they belong."""

    code: str
    label: str = ""
    heading: str = ""


@dataclass(frozen=True)
class Facts:
    """Names and values, which may have paragraphs: how it was measured."""

    facts: Sequence[tuple[str, str]]
    heading: str = ""


@dataclass(frozen=True)
class Details:
    """Parts folded away behind a summary; on paper they are unfolded."""

    summary: str
    parts: Sequence[Part]
    heading: str = ""


POLICY = "default-src 'none'; style-src 'unsafe-inline'"

Part = Verdict | Prose | TableSection | Chart | Code | Facts | Details


@dataclass(frozen=True)
class Page:
    """A report: the verdicts first, then the other parts in their order.

    Attributes
    ----------
    title : str
    parts : sequence of Part
        A part with a heading opens a section, the ones without continue it.
    subtitle : str
        One line under the title: what was measured.
    footer : str
        The last line: by what, and when.

    Examples
    --------
    >>> page = Page("net", [Verdict("ok", "nothing wrong"), Prose("All of it.", heading="Why")])
    >>> "<h1>net</h1>" in page.html()
    True
    """

    title: str
    parts: Sequence[Part]
    subtitle: str = ""
    footer: str = ""

    def html(self) -> str:
        """The whole document."""
        found = [part for part in self.parts if isinstance(part, Verdict)]
        sections = _sections([part for part in self.parts if not isinstance(part, Verdict)])
        subtitle = f'<p class="subtitle">{escape(self.subtitle)}</p>' if self.subtitle else ""
        footer = f"<footer><p>{escape(self.footer)}</p></footer>\n" if self.footer else ""
        verdict = f'<section aria-label="Verdict">\n{_verdicts(found)}</section>\n' if found else ""
        return (
            '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
            '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
            '<meta name="color-scheme" content="light dark">\n'
            f'<meta http-equiv="Content-Security-Policy" content="{POLICY}">\n'
            f"<title>{escape(self.title)}</title>\n<style>{STYLE}</style>\n</head>\n<body>\n"
            '<a class="skip" href="#main">Skip to the verdict</a>\n'
            f"<header><h1>{escape(self.title)}</h1>{subtitle}</header>\n"
            f'<main id="main" tabindex="-1">\n{verdict}{sections}</main>\n{footer}</body>\n</html>\n'
        )

    def save(self, path: str | os.PathLike[str]) -> Path:
        """Write the page, whole or not at all, and return where it is.

        Raises
        ------
        OSError
            If the file cannot be written; the message names `path`, and what was there stays as it was.
        """
        return _write(Path(path), self.html())


def _write(path: Path, content: str) -> Path:
    temporary = ""
    try:
        target = path.resolve()
        if target.exists() and not target.is_file():
            if target.is_dir():
                raise IsADirectoryError(21, "is a directory")
            target.write_text(content, encoding="utf-8")  # a pipe or a device cannot be replaced
            return path
        handle, temporary = tempfile.mkstemp(prefix=f".{target.name[:80]}.", suffix=".tmp", dir=target.parent)
        with os.fdopen(handle, "w", encoding="utf-8", newline="\n") as file:
            file.write(content)
        os.chmod(temporary, target.stat().st_mode & 0o777 if target.exists() else 0o666 & ~_umask())
        os.replace(temporary, target)
    except OSError as error:
        if temporary and os.path.exists(temporary):
            os.unlink(temporary)
        raise OSError(error.errno, f"cannot write the report: {error.strerror or error}", os.fspath(path)) from error
    return path


def _umask() -> int:
    mask = os.umask(0o077)
    os.umask(mask)
    return mask


# Parts


def _sections(parts: Sequence[Part]) -> str:
    out, open_section = [], False
    for number, part in enumerate(parts):
        if part_heading := _heading(part):
            out.append("</section>\n" if open_section else "")
            out.append(f'<section aria-labelledby="s{number}">\n<h2 id="s{number}">{escape(part_heading)}</h2>\n')
            open_section = True
        out.append(_part(part))
    out.append("</section>\n" if open_section else "")
    return "".join(out)


def _heading(part: Part) -> str:
    return "" if isinstance(part, Verdict) else part.heading


def _part(part: Part) -> str:
    match part:
        case Verdict():
            return _verdicts([part])
        case Prose():
            return "".join(f"<p>{escape(p)}</p>\n" for p in part.text.split("\n\n") if p.strip())
        case TableSection():
            return table_html(part.table, part.caption)
        case Chart():
            return _chart(part)
        case Code():
            return _code(part)
        case Facts():
            pairs = "".join(f"<div><dt>{escape(k)}</dt><dd>{_paragraphs(v)}</dd></div>\n" for k, v in part.facts)
            return f"<dl>\n{pairs}</dl>\n" if pairs else ""
        case Details():
            inner = "".join(
                (f"<h3>{escape(_heading(each))}</h3>\n" if _heading(each) else "") + _part(each) for each in part.parts
            )
            return f"<details><summary>{escape(part.summary)}</summary>\n{inner}</details>\n"


def _paragraphs(text: str) -> str:
    """Plain words for one, elements for more."""
    parts = [escape(part) for part in text.split("\n\n")]
    return parts[0] if len(parts) == 1 else "".join(f"<p>{part}</p>" for part in parts)


def _verdicts(items: Sequence[Verdict]) -> str:
    out = ['<ul class="verdicts">\n']
    for item in items:
        where = f' <span class="where">{escape(item.where)}</span>' if item.where else ""
        evidence = "".join(f"<p>{escape(sentence)}</p>" for sentence in item.evidence)
        out.append(
            f'<li class="{item.status.lower()}"><span class="status">{item.status}</span>'
            f'<div><p class="headline"><strong>{escape(item.headline)}</strong>{where}</p>'
            f"{evidence}</div></li>\n"
        )
    return "".join([*out, "</ul>\n"])


def table_html(table: Table, caption: str) -> str:
    """A `Table` as an element; columns for the terminal only are left out."""
    shown = [i for i, column in enumerate(table.columns) if not column.terminal_only]
    named = next((i for i in shown if table.columns[i].header), -1)  # the column that says what a row is about
    kinds = [' class="left"' if column.align == "left" else "" for column in table.columns]
    head = "".join(
        f'<th scope="col"{kinds[i]}>{escape(header)}</th>' if (header := table.columns[i].header) else "<td></td>"
        for i in shown
    )
    rows = []
    for number, row in enumerate(table.rows):
        cells = []
        for i in shown:
            tag, scope = ("th", ' scope="row"') if i == named else ("td", "")
            cells.append(f"<{tag}{scope}{kinds[i]}>{escape(table.columns[i].cell(row[i]))}</{tag}>")
        stress = ' class="stress"' if number in table.emphasis else ""
        rows.append(f"<tr{stress}>{''.join(cells)}</tr>\n")
    return (
        f'<div class="scroll" role="region" aria-label="{escape(caption)}" tabindex="0"><table>\n'
        f"<caption>{escape(caption)}</caption>\n<thead><tr>{head}</tr></thead>\n<tbody>\n{''.join(rows)}</tbody>\n"
        "</table></div>\n"
    )


def _chart(part: Chart) -> str:
    # Two drawings: one scaled to a phone would have letters of 6 pixels. Only the one shown is read out.
    note = f'<p class="note">{escape(part.note)}</p>' if part.note else ""
    return (
        f"<figure><figcaption>{escape(part.chart.title)}</figcaption>\n"
        f'<div class="wide">{part.chart.svg(720)}</div>\n<div class="narrow">{part.chart.svg(360)}</div>\n'
        f"{note}</figure>\n"
    )


def _code(part: Code) -> str:
    label = f"<figcaption>{escape(part.label)}</figcaption>" if part.label else ""
    name = escape(part.label or "code")
    code = escape(part.code, newlines=True)
    pre = f'<pre tabindex="0" aria-label="{name}"><code>{code}</code></pre>'
    return f'<figure class="code">{label}{pre}</figure>\n'


# Look


def variables(palette: Sequence[str]) -> str:
    """A palette as the CSS variables that charts look for."""
    return "".join(f"--series-{n}:{colour};" for n, colour in enumerate(palette, 1))


LIGHT = (
    "--page:#fdfdfc;--card:#f4f5f3;--ink:#1c2024;--soft:#5a6169;--line:#dfe2e0;--grid:#e4e6e4;--axis:#9aa1a8;--bar:#b4bac0;"
    "--fail:#b3261e;--warn:#8a5300;--ok:#1a6b42;--link:#0a5c91;" + variables(PALETTE)
)
DARK = (
    "--page:#15181b;--card:#1e2226;--ink:#e6e8ea;--soft:#a3abb3;--line:#30363c;--grid:#2a3036;--axis:#68717a;--bar:#59626b;"
    "--fail:#ff8f85;--warn:#f0bf5c;--ok:#6fd0a0;--link:#7cc4f2;" + variables(PALETTE_DARK)
)

STYLE = (
    f":root{{color-scheme:light dark;{LIGHT}}}\n@media (prefers-color-scheme:dark){{:root{{{DARK}}}}}\n"
    + """\
*{box-sizing:border-box}
body{margin:0;background:var(--page);color:var(--ink);
 font:16px/1.55 system-ui,-apple-system,"Segoe UI",Roboto,sans-serif;
 -webkit-text-size-adjust:100%}
body>header,main,footer{max-width:52rem;margin:0 auto;padding:0 1.25rem}
body>header{padding-top:3rem}
h1{font-size:1.75rem;line-height:1.2;margin:0;letter-spacing:-.01em;overflow-wrap:anywhere}
h2{font-size:1.2rem;line-height:1.3;margin:3rem 0 .75rem}
h3{font-size:1rem;margin:1.5rem 0 .5rem}
p{margin:.5rem 0;max-width:42rem;overflow-wrap:anywhere}
.subtitle,.note,footer,.where{color:var(--soft)}
.subtitle{margin:.4rem 0 0}
main{display:block}
main:focus{outline:none}
:focus-visible{outline:3px solid var(--link);outline-offset:3px;border-radius:2px}
.skip{position:absolute;left:1rem;top:-4rem;background:var(--ink);color:var(--page);padding:.5rem 1rem;
 border-radius:0 0 6px 6px}
.skip:focus{top:0}
.verdicts{list-style:none;margin:1.75rem 0 0;padding:0}
.verdicts li{display:flex;gap:1rem;padding:.8rem 1rem;margin:0 0 .5rem;background:var(--card);
 border-left:4px solid var(--tone);border-radius:0 6px 6px 0;break-inside:avoid}
.verdicts p{margin:.15rem 0 0}
.verdicts .headline{margin:0}
.verdicts div{min-width:0}
.status{color:var(--tone);font-weight:700;font-size:.85rem;line-height:1.75;letter-spacing:.04em;
 flex:0 0 3.2rem;text-transform:uppercase}
.fail{--tone:var(--fail)}.warn{--tone:var(--warn)}.ok{--tone:var(--ok)}
.where{margin-left:.5rem}
figure{margin:1.5rem 0 2rem}
figcaption,caption{font-weight:600;text-align:left;margin-bottom:.6rem}
.chart{display:block;width:100%;height:auto;overflow:visible}
.narrow{display:none}
.note{font-size:.9rem}
.scroll{overflow-x:auto;margin:1.25rem 0 1.75rem;
 background:linear-gradient(to right,var(--page) 30%,transparent),
 linear-gradient(to left,var(--page) 30%,transparent) 100% 0,
 linear-gradient(to right,#0004,transparent),linear-gradient(to left,#0004,transparent) 100% 0;
 background-repeat:no-repeat;background-size:2.5rem 100%,2.5rem 100%,.9rem 100%,.9rem 100%;
 background-attachment:local,local,scroll,scroll}
table{border-collapse:collapse;font-size:.92rem;font-variant-numeric:tabular-nums}
caption{padding:0 0 .3rem;max-width:calc(100vw - 2.5rem)}
th,td{text-align:right;padding:.36rem .7rem;border-bottom:1px solid var(--line);white-space:nowrap;
 font-weight:400}
thead th,thead td{color:var(--soft);border-bottom:2px solid var(--line)}
th.left,td.left{text-align:left}
td.left:last-child{white-space:normal}
th:first-child,td:first-child{padding-left:.25rem}
.stress th,.stress td{font-weight:650}
pre{margin:0;padding:.85rem 1rem;background:var(--card);border-radius:6px;white-space:pre-wrap;
 overflow-wrap:anywhere;
 font:.88rem/1.5 ui-monospace,SFMono-Regular,Menlo,Consolas,"DejaVu Sans Mono",monospace}
.code{margin:.9rem 0}
.code figcaption{margin-bottom:.3rem;font-size:.9rem;color:var(--soft)}
dl{margin:.5rem 0}
dl div{display:grid;grid-template-columns:13rem 1fr;gap:1rem;padding:.36rem 0;
 border-bottom:1px solid var(--line)}
dt{color:var(--soft)}
dd{margin:0;overflow-wrap:anywhere}
dd p:first-child{margin-top:0}
details{margin:1.25rem 0}
summary{cursor:pointer;color:var(--link);padding:.3rem 0}
footer{margin-top:3.5rem;padding-bottom:2.5rem;font-size:.88rem}
@media (max-width:38rem){
 .wide{display:none}.narrow{display:block}
 body>header{padding-top:1.75rem}
 h1{font-size:1.4rem}
 .verdicts li{display:block}
 dl div{grid-template-columns:1fr;gap:0}
 th,td{padding:.36rem .45rem}
 table{font-size:.86rem}
 th.left[scope=row]{white-space:normal;min-width:7.5rem}
}
"""
    + f"@media print{{:root{{color-scheme:light;{LIGHT}--page:#fff}}\n"
    + """\
 body{font-size:10.5pt}
 body>header,main,footer{max-width:none;padding:0}
 .skip{display:none}
 .wide{display:block}.narrow{display:none}
 .scroll{overflow:visible}
 figure,tr,pre{break-inside:avoid}
 h2{break-after:avoid}
 pre{white-space:pre-wrap;font-size:8.5pt}
 details::details-content{content-visibility:visible;display:block}
}
"""
)
