"""The report draws plain data: on a terminal, as SVG, as one HTML page."""

import html.parser
import io
import itertools
import math
import os
import re
import stat
import xml.etree.ElementTree as ET

import pytest
from gradiometer.report import chart, page, text
from gradiometer.report.chart import Bar, BarChart, Level, LineChart, Series
from gradiometer.report.heat import HeatMap
from gradiometer.report.page import Chart, Code, Details, Facts, Page, Prose, TableSection
from gradiometer.report.text import Column, Style, Table, Verdict
from hypothesis import given, settings
from hypothesis import strategies as st

HOSTILE = "</svg><script>alert(1)</script>\"'&<b a='1'>\x1b[31m\x00\ud800\u202e]]>"
NAMES = st.text(max_size=30) | st.just(HOSTILE)
SVG = "{http://www.w3.org/2000/svg}"


# Numbers


def test_a_share_is_never_rounded_to_none_or_all():
    for share in (1e-300, 1e-9, 4e-5, 0.0004, 0.004, 0.9949, 0.99951, 1 - 1e-9):
        assert text.percent(share) not in ("0 %", "100 %", "0.0 %", "100.0 %"), share


@given(st.floats(min_value=5e-324, max_value=1e308))
def test_a_positive_factor_never_reads_as_zero_and_keeps_two_digits(value):
    shown = float(text.times(value).removeprefix("x"))
    assert shown == pytest.approx(value, rel=0.051)


def test_odd_numbers_are_named():
    for form in (text.scientific, text.times, text.score, text.percent):
        assert form(math.nan) == "-" if form is text.times else "nan" in form(math.nan)
        assert "inf" in form(math.inf)
    assert (text.times(0.0), text.times(math.inf)) == ("0", "inf")
    assert text.interval(-0.1, 0.2) == "-0.100 to 0.200"


@given(st.lists(st.integers(0, 60)))
def test_spans_say_exactly_the_numbers_given(numbers):
    said = set()
    for run in text.spans(numbers).split(", ") if numbers else []:
        first, _, last = run.partition("-")
        said |= set(range(int(first), int(last or first) + 1))
    assert said == set(numbers)


def test_bars_grow_with_the_logarithm():
    assert [len(text.bar(10.0**k, 1e-32, 1e-2, width=31)) for k in range(-32, -1)] == list(range(1, 32))
    assert text.bar(1e-40, 1e-32, 1e-2) == "#"
    assert text.bar(1.0, 1e-32, 1e-2) == "#" * 18
    assert [text.bar(v, 1e-32, 1e-2) for v in (0.0, math.nan, math.inf)] == ["0", "nan", "inf"]
    assert text.bar(0.5, 0.5, 0.5) == "#" * 18


# Terminal


class Terminal(io.StringIO):
    def isatty(self):
        return True


@pytest.mark.parametrize(
    ("stream", "environ", "colour"),
    [
        (Terminal(), {}, True),
        (io.StringIO(), {}, False),
        (Terminal(), {"NO_COLOR": "1"}, False),
        (Terminal(), {"NO_COLOR": ""}, True),
        (Terminal(), {"TERM": "dumb"}, False),
        (io.StringIO(), {"FORCE_COLOR": "1"}, True),
        (io.StringIO(), {"FORCE_COLOR": "1", "TERM": "dumb"}, True),
        (Terminal(), {"FORCE_COLOR": "1", "NO_COLOR": "1"}, False),
        (object(), {}, False),
    ],
)
def test_colour_only_where_it_is_wanted(stream, environ, colour):
    style = Style.for_stream(stream, environ)
    assert style.colour is colour
    table = Table([Column("a")], [[1], [2], [3]], emphasis={0})
    drawn = text.verdicts([Verdict("FAIL", "x", "layer 1")], style) + table.text(style=style, keep=[0])
    assert ("\x1b" in drawn) is colour


def test_colour_changes_no_column():
    items = [Verdict("FAIL", "a", "x", ["why"]), Verdict("WARN", "longer", "y"), Verdict("ok", "c")]
    table = Table([Column("a"), Column("b", align="left")], [[1, "u"], [22, "v"]], emphasis={1})
    for draw in (lambda style: text.verdicts(items, style), lambda style: table.text(style=style)):
        assert re.sub(r"\x1b\[[0-9;]*m", "", draw(Style(True))) == draw(Style())


def test_rich_changes_no_word_and_no_column():
    pytest.importorskip("rich")
    table = Table(
        [Column("layer"), Column("name", align="left"), Column("", "#".__mul__, align="left", terminal_only=True)],
        [(50, "[bold]:smile: " + HOSTILE, 3), (1, "b" * 90, 1), (7, "漢字", 2)],
        emphasis={1},
    )
    drawn = table.text(style=Style(True, rich=True), keep=[0, 1])
    assert "\x1b[" in drawn
    lines = [line.rstrip() for line in re.sub(r"\x1b\[[0-9;]*m", "", drawn).split("\n")]
    assert set(lines.pop(1)) == {"─"}
    assert lines == table.text(keep=[0, 1]).split("\n")


def test_rich_draws_where_there_is_colour_and_nowhere_else():
    pytest.importorskip("rich")
    assert Style.for_stream(Terminal(), {}).rich
    for stream, environ in ((io.StringIO(), {}), (Terminal(), {"NO_COLOR": "1"}), (Terminal(), {"TERM": "dumb"})):
        assert Style.for_stream(stream, environ) == Style()


def test_without_rich_colour_is_plain_escapes(monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    assert Style.for_stream(Terminal(), {}) == Style(True, rich=False)


def columns(line):
    return text._columns(line)


@given(NAMES, st.integers(12, 100))
def test_prose_fits_its_width_and_loses_no_letter(prose, width):
    drawn = text.wrap(prose, width, "- ", "  ")
    assert all(columns(line) <= width for line in drawn.split("\n"))
    kept = "".join(line[2:] for line in drawn.split("\n"))
    assert "".join(kept.split()) == "".join(text.printable(prose, newlines=True).split())


@given(NAMES, NAMES, NAMES, st.sampled_from(text.STATUSES))
def test_verdicts_fit_80_columns(headline, where, evidence, status):
    items = [Verdict(status, headline, where, [evidence]), Verdict("ok", "fine", "layers 1-50")]
    drawn = text.verdicts(items)
    assert all(columns(line) <= 80 for line in drawn.split("\n"))
    assert not re.search(r"[\x00-\x09\x0b-\x1f\x7f]", drawn)


@settings(deadline=None, max_examples=60)
@given(st.data())
def test_tables_fit_80_columns(data):
    kinds = data.draw(st.lists(st.sampled_from(["left", "right"]), min_size=1, max_size=14))
    rows = data.draw(st.lists(st.tuples(*[NAMES] * len(kinds)), max_size=4))
    headers = [data.draw(NAMES) for _ in kinds]
    table = Table([Column(header, align=kind) for header, kind in zip(headers, kinds, strict=True)], rows)
    drawn = table.text()
    assert all(columns(line) <= 80 for line in drawn.split("\n"))
    assert not re.search(r"[\x00-\x09\x0b-\x1f\x7f]", drawn)


def test_numbers_are_never_cut():
    rows = [[10.0**-k / 3 for k in range(12)]]
    table = Table([Column(f"column {k}", text.scientific) for k in range(12)], rows)
    drawn = table.text()
    assert all(text.scientific(value) in drawn for value in rows[0])
    assert ".." not in drawn
    assert all(f"column {k}" in drawn for k in range(12))


def test_left_columns_shrink_before_anything_breaks():
    table = Table([Column("name", align="left"), Column("n")], [["x" * 100, 12345], ["y", 6]])
    first, second = table.text().split("\n")[1:]
    assert first == "x" * 71 + ".." + "  12345"
    assert second.endswith("      6")


def test_the_screen_of_a_deep_net():
    layers = range(50, 0, -1)
    table = Table(
        [Column("layer"), Column("|dL/dh|", text.scientific), Column("", align="left", format="#".__mul__)],
        [(layer, 10.0**-layer, layer) for layer in layers],
    )
    assert table.text(keep=text.fold(layers)).split("\n") == [
        "layer   |dL/dh|",
        *(f"{n:5}   1.0e-{n:02}   {'#' * n}" for n in (50, 40, 30, 20, 10, 1)),
        "44 layers folded",
    ]


def test_nothing_is_said_where_nothing_is_folded():
    assert "folded" not in Table([Column("a")], [[1], [2]]).text(keep=[0, 1])
    assert Table([Column("a")], []).text() == "a"


@given(st.integers(1, 400), st.integers(2, 20), st.booleans(), st.sets(st.integers(1, 400), max_size=3))
def test_folding_keeps_the_ends_and_what_was_asked_for(count, most, descending, always):
    labels = list(range(1, count + 1))[:: -1 if descending else 1]
    kept = text.fold(labels, most, always)
    assert kept == sorted(set(kept))
    assert {0, count - 1} <= set(kept)
    assert always & set(labels) <= {labels[i] for i in kept}
    assert len(kept) <= most + len(always)
    if count <= most:
        assert kept == list(range(count))


def test_a_long_run_keeps_a_useful_number_of_rows():
    for count in (9, 20, 50, 51, 100, 101, 1000):
        assert 4 <= len(text.fold(range(1, count + 1))) <= 8, count


def test_wrong_arguments_are_named():
    with pytest.raises(ValueError, match=r"status is 'bad', expected one of FAIL, WARN, ok"):
        Verdict("bad", "x")
    with pytest.raises(TypeError, match="evidence is a str"):
        Verdict("ok", "x", evidence="sentence")
    with pytest.raises(ValueError, match=r"rows\[1\] has 1 values, expected 2"):
        Table([Column("a"), Column("b")], [[1, 2], [1]])
    with pytest.raises(ValueError, match="most is 1, expected 2 or more"):
        text.fold([1, 2, 3], most=1)
    with pytest.raises(ValueError, match="x of 'a' has 1 values and y 2"):
        Series("a", [1], [1, 2])
    with pytest.raises(ValueError, match="limits are"):
        BarChart("t", [], limits=(1, 0))
    with pytest.raises(ValueError, match="style is 'wavy'"):
        Series("a", [1], [1], "wavy")


# Ticks


@given(st.floats(-1e9, 1e9), st.floats(1e-6, 1e9), st.integers(2, 12))
def test_linear_ticks_are_all_the_multiples_of_a_round_step(low, span, most):
    high = low + span
    if not high - low > 1e-9 * max(abs(low), abs(high)):
        return
    ticks = chart.linear_ticks(low, high, most)
    step = chart.nice_step(high - low, most)
    assert any(step == pytest.approx(f * 10.0 ** math.floor(math.log10(step) + 1e-9)) for f in (1, 2, 5))
    slack = 1e-6 * step
    assert all(low - slack <= tick.at <= high + slack for tick in ticks)
    assert math.floor((high - low) / step + 1e-9) <= len(ticks) <= most + 1
    for tick in ticks:
        assert float(tick.label) == pytest.approx(tick.at, rel=1e-9, abs=slack)
    assert len({tick.label for tick in ticks}) == len(ticks)


@given(st.integers(-330, 300), st.integers(2, 600), st.integers(3, 10))
def test_log_ticks_are_evenly_thinned_decades(low, span, most):
    ticks = chart.log_ticks(low, low + span, most)
    powers = [tick.at for tick in ticks]
    assert all(power == int(power) and low <= power <= low + span for power in powers)
    assert 1 <= len(ticks) <= most + 1
    assert len({b - a for a, b in itertools.pairwise(powers)}) <= 1
    for tick in ticks:
        if -300 < tick.at < 300:
            assert math.log10(float(tick.label)) == pytest.approx(tick.at)


def test_less_than_two_decades_get_ticks_within():
    assert [tick.label for tick in chart.log_ticks(-6.0, -5.0)] == ["1e-6", "2e-6", "5e-6", "1e-5"]


# Line charts

LAYERS = list(range(1, 51))
GRADIENT = [1.9e-2 * 0.234 ** (50 - layer) for layer in LAYERS]


def parse(svg):
    root = ET.fromstring(svg)
    assert root.tag == SVG + "svg"
    return root


def marks(root, tag, cls=None):
    return [node for node in root.iter(SVG + tag) if cls is None or node.get("class") == cls]


def numbers(root):
    for node in root.iter():
        for key in ("x", "y", "cx", "cy", "d", "width", "height", "viewBox", "r"):
            yield from re.findall(r"nan|inf|-?\d+(?:\.\d+)?(?:e[-+]?\d+)?", node.get(key) or "")


FLOATS = st.floats() | st.sampled_from([0.0, -0.0, 5e-324, 1e308, -1e308, math.nan, math.inf, -math.inf, 1.0])


@settings(deadline=None, max_examples=60)
@given(
    st.lists(st.tuples(NAMES, st.lists(st.tuples(FLOATS, FLOATS), max_size=6)), max_size=8),
    st.booleans(),
    st.sampled_from([360, 720]),
    st.lists(FLOATS, max_size=2),
)
def test_any_numbers_give_a_chart_within_its_frame(data, log, width, levels):
    series = [
        Series(name, [x for x, _ in pairs], [y for _, y in pairs], ("solid", "dashed", "points")[i % 3])
        for i, (name, pairs) in enumerate(data)
    ]
    drawing = LineChart(HOSTILE, series, "x", "y", log, [Level(v, HOSTILE) for v in levels])
    root = parse(drawing.svg(width))
    _, _, w, h = map(float, root.get("viewBox").split())
    assert w == width
    for group in marks(root, "g", "series"):
        for path in marks(group, "path"):
            for x, y in re.findall(r"[ML](\S+?) ([^MLh]+)", path.get("d")):
                assert -1 <= float(x) <= w + 1
                assert -1 <= float(y) <= h + 1
    assert not {"nan", "inf"} & set(numbers(root))


def test_a_line_goes_where_its_numbers_say():
    root = parse(LineChart("t", [Series("a", LAYERS, GRADIENT)]).svg())
    (line,) = marks(marks(root, "g", "series")[0], "path")
    points = [tuple(map(float, pair.split())) for pair in line.get("d")[1:].split("L")]
    assert len(points) == 50
    for (x0, y0), (x1, y1) in itertools.pairwise(points):
        # equal factors are equal heights on a log scale; a tenth of a unit is what is written
        assert x1 - x0 == pytest.approx((points[-1][0] - points[0][0]) / 49, abs=0.11)
        assert y0 - y1 == pytest.approx((points[0][1] - points[-1][1]) / 49, abs=0.11)
    assert points[0][1] > points[-1][1]


def test_gaps_zeros_and_infinities():
    y = [0.0, 0.0, 1e-3, 1e-2, math.nan, 1e-1, math.nan, 1.0, math.inf, 10.0, 100.0, -1.0]
    drawing = LineChart("t", [Series("a", range(12), y)])
    root = parse(drawing.svg())
    (group,) = marks(root, "g", "series")
    lines = [path.get("d") for path in marks(group, "path") if path.get("class") is None]
    assert [line.count("L") for line in lines] == [1, 1]
    assert len(marks(group, "circle", "zero")) == 2
    assert len(marks(group, "circle")) == 2 + 2  # two lone points
    assert len(marks(group, "path", "inf")) == 1
    labels = [node.text for node in marks(root, "text")]
    assert "0" in labels
    assert "inf" in labels
    lowest = max(float(line.split(" ")[1].split("L")[0]) for line in lines)
    assert all(float(zero.get("cy")) > lowest for zero in marks(group, "circle", "zero"))
    assert "exactly 0 in 2 of 9" in drawing.describe()
    assert "3 that cannot be drawn" in drawing.describe()


def test_empty_and_lone_series():
    for width in (360, 720):
        empty = parse(LineChart("t", [Series("a", [], [])]).svg(width))
        assert "no values" in [node.text for node in marks(empty, "text")]
        one = parse(LineChart("t", [Series("a", [3], [1e-5])]).svg(width))
        assert len(marks(marks(one, "g", "series")[0], "circle")) == 1
        assert "3" in [node.text for node in marks(one, "text")]
    parse(LineChart("t", []).svg())


def test_names_do_not_overlap():
    series = [Series(f"name {i}", LAYERS, [y * (1 + i / 100) for y in GRADIENT]) for i in range(5)]
    for wanted in (GRADIENT, [1.0] * 50):
        root = parse(LineChart("t", [*series[:4], Series("name 4", LAYERS, wanted)]).svg(720))
        places = sorted(float(n.get("y")) for n in marks(root, "text") if (n.text or "").startswith("name"))
        assert len(places) == 5
        assert all(b - a >= 14 for a, b in itertools.pairwise(places))


def test_a_chart_tells_itself_to_those_who_do_not_see_it():
    drawing = LineChart("Norm by layer", [Series("measured", LAYERS, GRADIENT)])
    root = parse(drawing.svg())
    assert root.get("role") == "img"
    title, described = marks(root, "title")[0], marks(root, "desc")[0]
    assert root.get("aria-labelledby") == title.get("id")
    assert root.get("aria-describedby") == described.get("id")
    assert title.text == "Norm by layer"
    assert described.text == f"measured: {GRADIENT[0]:.1e} at 1, 1.9e-02 at 50."


def cells(root):
    """Opacity and fill of the cells, row after row, the first row first."""
    return [
        (each.get("style"), float(each.get("fill-opacity"))) for each in marks(root, "rect") if each.get("fill-opacity")
    ]


@pytest.mark.parametrize("width", [720, 360])
def test_a_heat_map_is_the_stronger_the_further_from_1(width):
    values = [[1e-8, 1e-4, 1.0], [1.0, 1e2, 1e4]]
    root = parse(HeatMap("t", [1, 2, 3], [1, 2], values, names=["LSTM 1", "LSTM 2"], x_label="step").svg(width))
    seen = cells(root)[:6]
    strongest = seen[0][1]
    assert [round(opacity / strongest, 1) for _, opacity in seen] == [1.0, 0.5, 0.0, 0.0, 0.2, 0.5]
    assert all("series-1" in fill for fill, _ in seen[:2])
    assert all("series-2" in fill for fill, _ in seen[4:6])
    said = [each.text for each in marks(root, "text")]
    assert {"LSTM 1", "LSTM 2", "step", "1", "2", "3"} <= set(said)
    box = float(root.get("viewBox").split()[3])
    assert all(float(each.get("y")) < box for each in marks(root, "rect"))


def test_a_heat_map_shows_zeros_infinities_and_gaps_and_thins_columns():
    root = parse(HeatMap("t", [1, 2, 3, 4], [1], [[0.0, math.inf, math.nan, 1e-3]], names=["a"]).svg())
    seen = cells(root)
    assert "currentColor" in seen[0][0]
    assert "series-5" in seen[1][0]
    assert "series-1" in seen[2][0]  # NaN is a gap
    said = [each.text for each in marks(root, "text")]
    assert {"exactly 0", "infinite"} <= set(said)
    long = HeatMap("t", list(range(500)), [1], [[10.0 ** (-k / 100) for k in range(500)]])
    groups = marks(parse(long.svg()), "g")
    assert 60 <= len(list(groups[0])) <= 120
    assert "1.0e+00 first, 1.0e-05 last" in long.describe()
    for empty in (HeatMap("t", [], [], []), HeatMap("t", [1], [1], [[math.nan]]), HeatMap("t", [1], [1], [[0.0]])):
        parse(empty.svg())


@settings(deadline=None, max_examples=60)
@given(st.lists(st.tuples(NAMES, FLOATS, FLOATS, FLOATS), max_size=5), st.sampled_from([360, 720]))
def test_any_numbers_give_bars_within_the_frame(data, width):
    bars = [Bar(name, value, low, high, name, i == 0) for i, (name, value, low, high) in enumerate(data)]
    for limits in (None, (0, 1)):
        root = parse(BarChart(HOSTILE, bars, "label", limits, [Level(0.1, "chance")]).svg(width))
        for rect in marks(root, "rect"):
            assert float(rect.get("width")) >= 0
            assert -1 <= float(rect.get("x")) <= width
            assert float(rect.get("x")) + float(rect.get("width")) <= width + 1
        assert not {"nan", "inf"} & set(numbers(root))


def test_bars_are_as_long_as_their_values():
    bars = [Bar("a", 0.5, 0.4, 0.6), Bar("b", 0.25), Bar("c", math.nan)]
    root = parse(BarChart("t", bars, limits=(0, 1)).svg())
    first, second = (float(rect.get("width")) for rect in marks(root, "rect"))
    assert first == pytest.approx(2 * second, abs=0.2)
    (whisker,) = marks(root, "path", "whisker")
    left, right = map(float, re.match(r"M(\S+) \S+?H([\d.]+)", whisker.get("d")).groups())
    assert right - left == pytest.approx(0.4 * first, abs=0.2)


# Page

VOID = {"meta", "br", "hr", "img", "link", "input"}


class Balance(html.parser.HTMLParser):
    """Checks that every element is closed in order and collects what was met."""

    def __init__(self):
        super().__init__(convert_charrefs=True)
        self.open, self.met, self.words = [], [], []

    def handle_starttag(self, tag, attrs):
        self.met.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.met.append((tag, dict(attrs)))

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.words.append(data)


def read(content):
    parser = Balance()
    parser.feed(content)
    parser.close()
    assert parser.open == []
    return parser


def whole_page(name="net"):
    table = Table([Column(name, align="left"), Column("n"), Column("##", terminal_only=True)], [[name, 1, "####"]], {0})
    return Page(
        name,
        [
            Prose(f"{name}\n\nmore", heading=name),
            Verdict("FAIL", name, name, [name]),
            Verdict("ok", "dead 0"),
            Chart(LineChart(name, [Series(name, [1, 2], [1, 1e-9])], levels=[Level(1, name)]), name),
            Chart(BarChart(name, [Bar(name, 0.5, 0.4, 0.6, name)], name)),
            TableSection(table, name, heading="Table"),
            Code(f"first\n  {name}", name, heading="Code"),
            Facts([(name, name)], heading="Facts"),
            Details(name, [TableSection(table, "again"), Prose(name, heading="Inner")]),
        ],
        name,
        name,
    )  # fmt: skip


@pytest.mark.parametrize("name", ["net", HOSTILE, "日本語", ""])
def test_a_page_is_whole_and_needs_nothing_else(name):
    content = whole_page(name).html()
    met = read(content).met
    tags = [tag for tag, _ in met]
    assert "script" not in tags
    assert not {"link", "img", "iframe", "object"} & set(tags)
    assert not [key for _, attrs in met for key in attrs if key.startswith("on") or key == "src"]
    assert {attrs["href"] for _, attrs in met if "href" in attrs} == {"#main"}
    # the one address is a name of a language, not a resource
    assert set(re.findall(r"https?://[^\"' ]*", content)) == {"http://www.w3.org/2000/svg"}
    assert "url(" not in content
    assert "@import" not in content
    for svg in re.findall(r"<svg.*?</svg>", content, re.S):
        parse(svg)
    assert not re.search("[\x00-\x08\x0b-\x1f\x7f\u202e\ud800-\udfff]", content)


def test_hostile_words_are_shown_as_they_are():
    words = "".join(read(whole_page(HOSTILE).html()).words)
    assert words.count("<script>alert(1)</script>") > 15


def test_a_page_is_built_for_keyboard_and_ear():
    parser = read(whole_page().html())
    tags = [tag for tag, _ in parser.met]
    assert dict(parser.met)["html"]["lang"] == "en"
    assert tags.count("h1") == tags.count("main") == tags.count("header") == tags.count("footer") == 1
    ids = [attrs["id"] for tag, attrs in parser.met if "id" in attrs]
    assert len(ids) == len(set(ids))
    for _, attrs in parser.met:
        for key in ("aria-labelledby", "aria-describedby"):
            assert attrs.get(key, ids[0]) in ids
    heads = [attrs["scope"] for tag, attrs in parser.met if tag == "th"]
    assert heads == ["col", "col", "row"] * 2
    assert tags.count("caption") == 2
    assert all(attrs["tabindex"] == "0" for _, attrs in parser.met if attrs.get("class") == "scroll")
    assert parser.met[tags.index("a")][1] == {"class": "skip", "href": "#main"}
    order = parser.words
    assert order.index("FAIL") < order.index("more")
    assert "####" not in order


def test_the_look_answers_to_its_surroundings():
    content = whole_page().html()
    for rule in (
        "prefers-color-scheme:dark",
        "@media print",
        ":focus-visible",
        "@media (max-width",
        "overflow-x:auto",
    ):
        assert rule in content
    used = set(re.findall(r"var\((--[\w-]+)", content))
    assert used <= set(re.findall(r"(--[\w-]+):", page.STYLE))


def luminance(colour):
    parts = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def contrast(a, b):
    high, low = sorted((luminance(a), luminance(b)), reverse=True)
    return (high + 0.05) / (low + 0.05)


@pytest.mark.parametrize("theme", [page.LIGHT, page.DARK], ids=["light", "dark"])
def test_words_stand_out_from_their_ground(theme):
    colour = dict(re.findall(r"--([\w-]+):(#\w{6})", theme))
    for word in ("ink", "soft", "fail", "warn", "ok", "link"):
        for ground in ("page", "card"):
            assert contrast(colour[word], colour[ground]) >= 4.5, (word, ground)


def test_saving_replaces_the_file_whole(tmp_path):
    path = tmp_path / "a report.html"
    path.write_text("old")
    path.chmod(0o640)
    assert Page("t", []).save(path) == path
    assert path.read_text(encoding="utf-8") == Page("t", []).html()
    assert stat.S_IMODE(path.stat().st_mode) == 0o640
    assert os.listdir(tmp_path) == ["a report.html"]
    fresh = Page("t", []).save(tmp_path / "new.html")
    os.umask(mask := os.umask(0o022))
    assert stat.S_IMODE(fresh.stat().st_mode) == 0o666 & ~mask


def test_saving_through_a_link_keeps_the_link(tmp_path):
    (tmp_path / "link.html").symlink_to(tmp_path / "real.html")
    Page("t", []).save(tmp_path / "link.html")
    assert (tmp_path / "link.html").is_symlink()
    assert (tmp_path / "real.html").exists()


@pytest.mark.parametrize("name", ["no/such/report.html", ".", "file/report.html"])
def test_an_unwritable_path_is_named(tmp_path, name):
    (tmp_path / "file").write_text("kept")
    path = tmp_path / name
    with pytest.raises(OSError, match="cannot write the report") as caught:
        Page("t", []).save(path)
    assert caught.value.filename == str(path)
    assert os.listdir(tmp_path) == ["file"]


def test_a_failed_save_leaves_the_old_page(tmp_path, monkeypatch):
    path = tmp_path / "report.html"
    path.write_text("old")

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "replace", full)
    with pytest.raises(OSError, match="No space left"):
        Page("t", []).save(path)
    assert path.read_text() == "old"
    assert os.listdir(tmp_path) == ["report.html"]
