"""The report's three forms: complete, the same, and nothing in them is taken for markup."""

import re
from html.parser import HTMLParser
from pathlib import Path
from xml.etree import ElementTree

import pytest

from edge.commissioning.drawing import distribution, timeline
from edge.commissioning.progress import line_of
from edge.commissioning.record import Acceptance, Lane, Latency, Trace, at_most, found
from edge.commissioning.report import read_report, write_report
from edge.commissioning.report_html import html_page
from edge.commissioning.report_md import markdown, plain
from tests.edge.commissioning.acceptance import SIX, TRACE, acceptance, good_row

HOSTILE = "<script>alert('1')</script> & \"q\" | `c` [l](http://x) **b**\n# head"
VOID = {"meta", "br"}


class Balanced(HTMLParser):
    """Holds a page to closed elements, and collects its text and its elements' names."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.names: set[str] = set()
        self.text = ""

    def handle_starttag(self, tag: str, attrs: object) -> None:
        self.names.add(tag)
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data


def parsed(page: str) -> Balanced:
    parser = Balanced()
    parser.feed(page)
    assert parser.open == []
    return parser


def test_the_page_says_all_that_was_found() -> None:
    page = parsed(html_page(acceptance()))
    for said in ("INCOMPLETE", "Cable cut", "412.3 ms", "fail-safe within 600 ms", "skipped", SIX, "+0.3 s  plc_lost",
                 "48", "61.5", "signature", "no SIL", "2026-01-02T03:04:05Z"):  # fmt: skip
        assert said in page.text, said
    assert "svg" in page.names


def test_no_value_becomes_markup_in_the_page() -> None:
    trace = Trace(from_s=0.0, to_s=1.0, lanes=[Lane(name=HOSTILE, spans=[(0.0, 1.0)])])
    figures = [at_most(HOSTILE, 1.0, 2.0, HOSTILE)]
    hostile = found(HOSTILE, HOSTILE, HOSTILE, HOSTILE, figures, events=[HOSTILE], note=HOSTILE, trace=trace)
    page = html_page(acceptance(hostile, text=HOSTILE))
    told = parsed(page)
    assert "script" not in told.names and "<script" not in page
    assert told.text.count("<script>alert('1')</script>") > 20, "it is shown, as text"
    assert told.names == parsed(html_page(acceptance(good_row()))).names


def test_no_value_becomes_markup_in_markdown() -> None:
    hostile = found(HOSTILE, HOSTILE, HOSTILE, HOSTILE, [at_most(HOSTILE, 1.0, 2.0)], events=[HOSTILE], note=HOSTILE)
    text, calm = (markdown(acceptance(row, text=said)) for row, said in ((hostile, HOSTILE), (good_row(), "plain")))
    assert not re.search(r"(?<!\\)<script|(?<!\\)\[l\](?!\\)|(?<!\\)\*\*", text)
    assert not re.search(r"^# head", text, re.MULTILINE)
    tables = [line for line in text.splitlines() if line.startswith("|")]
    widths = [len(re.findall(r"(?<!\\)\|", line)) for line in tables]
    assert sorted(set(widths)) == sorted(
        {len(re.findall(r"(?<!\\)\|", line)) for line in calm.splitlines() if line[:1] == "|"}
    )
    assert plain("a|b\n<c> & [d]") == r"a\|b \<c\> &amp; \[d\]"


def test_what_is_written_is_read_back_the_same(tmp_path: Path) -> None:
    written = acceptance(text=HOSTILE)
    write_report(tmp_path / "new" / "folder", written)
    assert read_report(tmp_path / "new" / "folder") == written
    assert {file.name for file in (tmp_path / "new" / "folder").iterdir()} == {
        "report.json",
        "report.md",
        "report.html",
    }


def test_the_page_loads_nothing_and_prints_on_a4() -> None:
    page = html_page(acceptance())
    assert not re.search(r"""(src|href)=|@import|url\((?!#)""", page)
    assert "@page { size: A4" in page and "break-inside: avoid" in page


@pytest.mark.parametrize("verdict", ["PASS", "FAIL"])
def test_a_row_in_one_line_names_its_verdict_its_figures_and_their_limits(verdict: str) -> None:
    row = found("x", "Cable cut", "", "", [at_most("after", 412.34 if verdict == "PASS" else 812.0, 600)])
    assert re.fullmatch(rf"{verdict} +Cable cut: after (412\.3|812) ms \(at most 600\)", line_of(row))


def elements(svg: str, name: str) -> list[ElementTree.Element]:
    return ElementTree.fromstring(svg).findall(f".//{{http://www.w3.org/2000/svg}}{name}")


def latency_of(found_: Acceptance, **changed: object) -> Latency:
    return Latency(**{name: getattr(found_.latencies[0], name) for name in Latency.__struct_fields__} | changed)  # type: ignore[arg-type]


def test_the_distribution_shows_the_deadline_and_rises_from_left_to_right() -> None:
    svg = distribution(acceptance().latencies[0])
    texts = [one.text or "" for one in elements(svg, "text")]
    assert "deadline 50 ms" in texts and "p99 21 ms" in texts and "p50 4.2 ms" in texts
    (path,) = elements(svg, "path")
    xs = [float(x) for x in re.findall(r"[MH]([\d.]+)", path.get("d") or "")]
    ys = [float(y) for y in re.findall(r"[,V]([\d.]+)", path.get("d") or "")]
    assert xs == sorted(xs) and ys == sorted(ys, reverse=True) and len(xs) == 5


@pytest.mark.parametrize(
    "curve", [[(0.4, 1.0)], [(1000.0, 1.0)], [(50.0, 0.5), (50.0, 1.0)], [(0.0001, 0.1), (9e4, 1.0)]]
)
def test_every_distribution_stays_within_its_frame(curve: list[tuple[float, float]]) -> None:
    svg = distribution(latency_of(acceptance(), curve=curve, max_ms=curve[-1][0]))
    for line in elements(svg, "line"):
        assert 0 <= float(line.get("x1") or -1) <= 680
    assert distribution(latency_of(acceptance(), curve=[])) == ""


def test_a_timeline_draws_each_span_where_it_was_and_nothing_outside() -> None:
    svg = timeline(TRACE, "Cable cut")
    bars = [one for one in elements(svg, "rect") if one.get("y") is not None]
    begin, long = (float(bars[0].get(name) or 0) for name in ("x", "width"))
    safe, safe_long = (float(bars[1].get(name) or 0) for name in ("x", "width"))
    scale = long / 2.5
    assert safe - begin == pytest.approx(0.4 * scale, abs=0.2) and safe_long == pytest.approx(3.2 * scale, abs=0.2)
    assert all(float(one.get("x") or 0) + float(one.get("width") or 0) <= 680 for one in bars)
    assert {"limit", "reset", "fault", "PLC at fail-safe"} <= {one.text for one in elements(svg, "text")}


def test_marks_that_lie_near_each_other_stand_in_two_lines() -> None:
    high = {one.text: one.get("y") for one in elements(timeline(TRACE, ""), "text")}
    assert high["limit"] != high["reset"]
