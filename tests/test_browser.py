"""The report in a real browser: on a desk and on a phone, in the dark, on paper, by keyboard and by ear."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import chromium
import gradiometer as gm
import pytest

pytestmark = pytest.mark.skipif(chromium.PROGRAM is None, reason="needs Chromium")


@pytest.fixture(scope="module")
def browser(tmp_path_factory: Any) -> Iterator[chromium.Browser]:
    with chromium.Browser(tmp_path_factory.mktemp("profile")) as opened:
        yield opened


@pytest.fixture(scope="module")
def report(tmp_path_factory: Any) -> Path:
    """Of a sick network, all cures tried."""
    train, val, test = gm.datasets.digits()
    net = gm.mlp(64, [32] * 20, 10, activation="sigmoid", rng=0)
    path: Path = tmp_path_factory.mktemp("report") / "report.html"
    gm.cure(net, train, val, test=test, steps=3).save_html(path, title="digits, a title that a phone has to fold")
    return path


@pytest.fixture(scope="module")
def untested(tmp_path_factory: Any) -> Path:
    """Of the same network, no cure tried."""
    train, _, _ = gm.datasets.digits()
    net = gm.mlp(64, [32] * 20, 10, activation="sigmoid", rng=0)
    path: Path = tmp_path_factory.mktemp("untested") / "report.html"
    gm.diagnose(gm.measure(net, *train[:64])).save_html(path)
    return path


OUTSIDE = """
[...document.querySelectorAll('body *')].filter(e => {
  const box = e.getBoundingClientRect();
  return box.width && !e.closest('.scroll, pre, svg, .skip') && (box.right > innerWidth + 0.5 || box.left < -0.5);
}).map(e => e.outerHTML.slice(0, 80))
"""


@pytest.mark.parametrize("width", [320, 390, 768, 1280])
@pytest.mark.parametrize("page", ["report", "untested"])
def test_the_page_never_scrolls_sideways(
    browser: chromium.Browser, page: str, width: int, request: pytest.FixtureRequest
) -> None:
    browser.open(request.getfixturevalue(page), width)
    assert browser.value("innerWidth") == width
    assert browser.value("document.documentElement.scrollWidth") == width
    assert browser.value(OUTSIDE) == []


def test_on_a_desk_no_table_through_time_is_cut_off(browser: chromium.Browser, tmp_path: Path) -> None:
    train, _, _ = gm.datasets.vowels()
    net = gm.Sequential(gm.LSTM(12, 16, 2, bidirectional=True, rng=0), gm.Linear(32, 9, rng=1))
    gm.diagnose(gm.measure(net, *train[:32])).save_html(tmp_path / "time.html")
    browser.open(tmp_path / "time.html", 1280)
    boxes = "[...document.querySelectorAll('.scroll')].filter(e => e.checkVisibility())"
    assert browser.value(f"{boxes}.length") >= 2
    assert browser.value(f"{boxes}.filter(e => e.scrollWidth > e.clientWidth).length") == 0
    browser.open(tmp_path / "time.html", 390)
    cut = "[...document.querySelectorAll('svg text')].filter(e => e.checkVisibility()"
    cut += " && e.getBoundingClientRect().right > innerWidth).map(e => e.textContent)"
    assert browser.value(cut) == []


def test_a_phone_shows_what_decides_without_scrolling(browser: chromium.Browser, report: Path) -> None:
    browser.open(report, 390)
    cells = "[...document.querySelectorAll('table')].find(t => /^cures/.test(t.rows[0].cells[1].textContent)).rows"
    for row in range(browser.value(f"{cells}.length")):
        for name, cell in (("val", 3), ("test", 4)):
            found = f"{cells}[{row}].cells[{cell}]"
            if row == 0:
                assert browser.value(f"{found}.textContent") == name
            assert browser.value(f"{found}.getBoundingClientRect().right") <= 390


def test_what_is_too_wide_scrolls_within_its_box_and_by_keyboard(browser: chromium.Browser, report: Path) -> None:
    browser.open(report, 390)
    boxes = "[...document.querySelectorAll('.scroll, pre')]"
    wide = boxes + ".filter(e => e.checkVisibility() && e.scrollWidth > e.clientWidth)"
    assert browser.value(f"{wide}.length") >= 1
    assert browser.value(wide.replace(".scroll, pre", "pre") + ".length") == 0  # code wraps
    for number in range(browser.value(f"{wide}.length")):
        box = f"{wide}[{number}]"
        assert browser.value(f"getComputedStyle({box}).overflowX") == "auto"
        assert browser.value(f"{box}.tabIndex") == 0
        assert browser.value(f"{box}.getAttribute('aria-label')")
        browser.value(f"{box}.focus()")
        before = browser.value(f"{box}.scrollLeft")
        browser.press("ArrowRight")
        browser.settle()
        assert browser.value(f"{box}.scrollLeft") > before


def test_letters_are_never_small(browser: chromium.Browser, report: Path) -> None:
    for width in (390, 1280):
        browser.open(report, width)
        sizes = browser.value("""
            [...document.querySelectorAll('svg')].filter(s => s.getBoundingClientRect().width).map(s =>
              s.getBoundingClientRect().width / s.viewBox.baseVal.width *
              Math.min(...[...s.querySelectorAll('text')].map(t => parseFloat(getComputedStyle(t).fontSize))))
        """)
        assert len(sizes) == 5
        assert min(sizes) >= 10


GROUND = "getComputedStyle(document.body).backgroundColor"
INK = "getComputedStyle(document.querySelector('h1')).color"


def brightness(colour: str) -> int:
    return sum(int(part) for part in colour.removeprefix("rgb(").removesuffix(")").split(","))


def test_light_and_dark(browser: chromium.Browser, report: Path) -> None:
    browser.open(report, 1280, scheme="light")
    assert brightness(browser.value(GROUND)) > 700 > 150 > brightness(browser.value(INK))
    browser.open(report, 1280, scheme="dark")
    assert brightness(browser.value(GROUND)) < 150 < 600 < brightness(browser.value(INK))
    lines = browser.value("[...document.querySelectorAll('svg text')].map(t => getComputedStyle(t).fill)")
    assert min(map(brightness, lines)) > 300


def test_paper_is_light_and_shows_everything(browser: chromium.Browser, report: Path) -> None:
    browser.open(report, 794, scheme="dark", media="print")
    assert brightness(browser.value(GROUND)) == 3 * 255
    assert browser.value("document.documentElement.scrollWidth") == 794
    assert browser.value("[...document.querySelectorAll('.scroll, pre')].every(e => e.scrollWidth <= 794)")
    closed = browser.value("""
        [...document.querySelectorAll('details')].flatMap(d => [...d.children])
          .filter(e => !e.checkVisibility({contentVisibilityAuto: true}) || !e.getBoundingClientRect().height)
          .map(e => e.outerHTML.slice(0, 80))
    """)
    assert closed == []
    assert browser.value("getComputedStyle(document.querySelector('.skip')).display") == "none"
    pdf = browser.pdf()
    assert pdf.startswith(b"%PDF-")
    assert 3 <= pdf.count(b"/Type /Page\n") <= 12


def test_the_keyboard_reaches_everything_and_shows_where_it_is(browser: chromium.Browser, report: Path) -> None:
    browser.open(report, 1280)
    wanted = browser.value("document.querySelectorAll('a, .scroll, summary').length")
    hidden = browser.value("document.querySelectorAll('details .scroll').length")
    reached = []
    for _ in range(wanted - hidden):
        browser.press("Tab")
        where = browser.value("""
            (e => [e.className || e.tagName, e.getBoundingClientRect().top, getComputedStyle(e).outlineStyle])
            (document.activeElement)
        """)
        reached.append(where[0])
        assert where[2] == "solid", where
        assert where[1] >= 0, where
    assert reached[0] == "skip"
    assert reached.count("scroll") >= 1
    assert reached.count("PRE") == 0  # code wraps: there is nothing to scroll
    assert reached.count("SUMMARY") >= 3


def test_the_first_key_skips_to_the_verdict(browser: chromium.Browser, report: Path) -> None:
    browser.open(report, 390)
    browser.press("Tab")
    browser.press("Enter")
    assert browser.value("document.activeElement.id") == "main"


def test_details_open_by_keyboard(browser: chromium.Browser, report: Path) -> None:
    browser.open(report, 390)
    browser.value("document.querySelector('summary').focus()")
    browser.press("Enter")
    assert browser.value("document.querySelector('details').open")
    assert browser.value("document.documentElement.scrollWidth") == 390


def test_the_ear_gets_every_picture_once(browser: chromium.Browser, report: Path) -> None:
    for width in (390, 1280):
        browser.open(report, width)
        nodes = browser("Accessibility.getFullAXTree")["nodes"]
        pictures = [
            (node.get("name", {}).get("value", ""), node.get("description", {}).get("value", ""))
            for node in nodes
            if not node["ignored"] and node["role"]["value"] in ("image", "img")
        ]
        assert len(pictures) == len(set(pictures)) == 5
        assert all(name and description for name, description in pictures), json.dumps(pictures)


def test_nothing_runs_and_nothing_is_fetched(browser: chromium.Browser, report: Path) -> None:
    browser.open(report, 1280)
    assert browser.value("document.scripts.length") == 0
    assert browser.value("performance.getEntriesByType('resource').length") == 0


def test_advice_that_nobody_tried_is_marked(browser: chromium.Browser, untested: Path) -> None:
    browser.open(untested, 1280)
    said = browser.value("document.body.innerText")
    assert "batch-norm (untested)" in said
    assert "gm.cure(net, train, val) puts them to the test." in said
