"""`plantedge history`: what it prints, writes and draws of a store."""

import argparse
import contextlib
import csv
import json
import os
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from edge.cli import make_parser
from edge.commands.history import between, length, moment, telling_tag
from edge.history.aggregation import make_all
from edge.history.curves import Curves, Span
from edge.history.plots import _heading, _shown, _step_s
from edge.history.points import Point
from edge.history.query import History, HistoryError
from edge.history.store import FILE, Store
from edge.history.views import LINE, MODELS, VIEWS, Curve, How
from schemas.errors import StartError

S = 10**9
NOW_S = int(time.time())
SECONDS = 120
PLACE = "line=l,node=n,site=s"


def filled(home: Path) -> Path:
    """Two minutes of a line: two results and one reading a second, a counter, windows, and an event."""
    (home / "state").mkdir(parents=True)
    (home / "device.toml").write_text("")
    points: list[Point] = []
    for second in range(SECONDS):
        time_ns = (NOW_S - SECONDS + second) * S
        verdict = "nok" if second % 10 == 0 else "ok"
        text = f'verdict="{verdict}",label="{verdict}",score={second / 100},total_ms={float(second)},deadline_ms=50.0'
        points.append(Point(f"result,{PLACE},model=m,pipeline=caps,version=1", time_ns, 1, second, text))
        points.append(Point(f"reading,group=fast,{PLACE},source=plc", time_ns, 1, second, f"Speed={float(second % 7)}"))
        if second % 10 == 0:
            text = "ok=9i,nok=1i,unknown=0i,late=1i,dropped=0i,inputs=10i,results=10i,drift_score=0.5,p99_ms=3.0"
            points.append(Point(f"insight,{PLACE},model=m,pipeline=caps,version=1", time_ns, 1, second, text))
            text = f"inference_count={second * 4},inference_exec_count={second * 2},failsafe_latched=0.0"
            points.append(
                Point(f"metric,{PLACE},pipeline=caps,process=r", time_ns, 1, second, text.replace(",", ".0,", 2))
            )
    points.append(Point(f"event,code=plc_lost,{PLACE},origin=connect-plc", NOW_S * S, 1, 1, 'phase="new",text="a, b"'))
    with contextlib.closing(Store(home / "state" / FILE)) as store:
        store.add(points)
        make_all(store, (NOW_S + 90) * S)
    return home


@pytest.fixture(scope="module")
def device(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return filled(tmp_path_factory.mktemp("device") / "home")


def run(device: Path, *words: str) -> int:
    given = make_parser().parse_args(["history", "--home", str(device), *words])
    status: int = given.run(given)
    return status


def test_rows_are_printed_newest_first_and_as_json(device: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(device, "query", "--tag", "plc/Speed", "--last", "10m", "--limit", "2", "--json") == 0
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [line["value"] for line in lines] == [float(119 % 7), float(118 % 7)]
    assert lines[0]["quality"] == "good"
    assert run(device, "query", "--pipeline", "caps", "--limit", "1") == 0
    assert "1.19" in capsys.readouterr().out
    assert run(device, "query", "--events", "--code", "plc_lost") == 0
    assert "a, b" in capsys.readouterr().out
    assert run(device, "query") == 0
    assert "result" in capsys.readouterr().out


def test_aggregates_are_printed(device: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ("query", "--pipeline", "caps", "--field", "total_ms", "--every", "second", "--json", "--limit", "1")
    assert run(device, *words) == 0
    (line,) = [json.loads(text) for text in capsys.readouterr().out.splitlines()]
    assert (line["samples"], line["mean"]) == (1, 119.0)


def test_a_range_is_exported_as_csv_oldest_first(device: Path, tmp_path: Path) -> None:
    out = tmp_path / "speed.csv"
    assert run(device, "export", "--tag", "plc/Speed", "--out", str(out)) == 0
    head, *rows = list(csv.reader(out.read_text().splitlines()))
    assert head == ["time", "value", "quality"]
    assert [float(row[1]) for row in rows] == [float(second % 7) for second in range(SECONDS)]


def test_results_are_exported_as_parquet_with_their_types(device: Path, tmp_path: Path) -> None:
    parquet = pytest.importorskip("pyarrow.parquet")
    out = tmp_path / "caps.parquet"
    assert run(device, "export", "--pipeline", "caps", "--out", str(out)) == 0
    found = parquet.read_table(out)
    assert found.num_rows == SECONDS
    assert str(found.schema.field("time").type) == "timestamp[ns, tz=UTC]"
    assert str(found.schema.field("score").type) == "double"
    assert found.column("verdict").to_pylist()[:2] == ["nok", "ok"]


def test_what_an_extra_brings_is_named_where_it_is_absent(
    device: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(StartError, match=r"install plantedge\[parquet\]"):
        run(device, "export", "--pipeline", "caps", "--out", str(tmp_path / "a.parquet"))
    with pytest.raises(StartError, match=r"install plantedge\[plot\]"):
        run(device, "plot", "line", "--out", str(tmp_path))


@pytest.mark.slow
@pytest.mark.parametrize("view", [view.name for view in VIEWS])
def test_every_view_is_drawn_and_shows_something(device: Path, tmp_path: Path, view: str) -> None:
    assert run(device, "plot", view, "--last", "8h", "--out", str(tmp_path)) == 0
    with Image.open(tmp_path / f"history-{view}.png") as image:
        pixels = np.asarray(image.convert("RGB")).reshape(-1, 3)
    assert len(np.unique(pixels, axis=0)) > 50, "it is empty"


def curve(how: How, *fields: str, of: str, among: tuple[str, ...] = ()) -> Curve:
    return Curve(of=of, fields=fields, how=how, among=among, by=("pipeline",))


@pytest.mark.parametrize(
    ("shown", "value"),
    [
        (curve(How.MEAN, "total_ms", of="result"), 59.5),
        (curve(How.P95, "total_ms", of="result"), 113.0),
        (curve(How.HIGH, "total_ms", of="result"), 119.0),
        (curve(How.SUM, "nok", of="insight"), 12.0),
        (curve(How.SHARE, "nok", of="insight", among=("ok", "nok", "unknown")), 0.1),
        (curve(How.LACK, "late", "dropped", of="insight", among=("inputs",)), 0.9),
        (curve(How.LACK, "failsafe_latched", of="metric"), 1.0),
    ],
)
def test_a_curve_over_one_interval_is_what_influxql_makes_of_it(device: Path, shown: Curve, value: float) -> None:
    span = Span((NOW_S - SECONDS) * S, NOW_S * S, SECONDS * S)
    with contextlib.closing(History(device)) as history:
        (drawn,) = Curves(history, span, [shown]).drawn(shown)
    assert drawn.of == "caps"
    assert drawn.values == pytest.approx([value])


def test_counters_are_drawn_as_what_they_gained(device: Path) -> None:
    span = Span((NOW_S - SECONDS) * S, NOW_S * S, 20 * S)
    rate = curve(How.RATE, "inference_count", of="metric")
    ratio = curve(How.RATIO, "inference_count", "inference_exec_count", of="metric")
    with contextlib.closing(History(device)) as history:
        curves = Curves(history, span, [rate, ratio])
        (first,), (second,) = curves.drawn(rate), curves.drawn(ratio)
    assert first.values == pytest.approx([4.0] * 5)
    assert second.values == pytest.approx([2.0] * 5)


def test_a_long_range_is_drawn_from_the_minutes(device: Path) -> None:
    mean = curve(How.MEAN, "total_ms", of="result")
    span = Span((NOW_S - 86_400) * S, (NOW_S + 3_600) * S, 86_400 * 2 * S)
    with contextlib.closing(History(device)) as history:
        curves = Curves(history, span, [mean])
        (drawn,) = curves.drawn(mean)
        assert not curves._samples, "no point was read"
    assert drawn.values == pytest.approx([59.5])
    assert MODELS.marks


def test_times_are_read_and_refused_with_what_to_write() -> None:
    assert moment("2026-11-30T14:05:00.5+00:00") == 1_796_047_500_500_000_000
    assert length("1.5h").total_seconds() == 5_400
    for wrong in ("yesterday", "2026-13-01"):
        with pytest.raises(StartError, match="write 2026-11-30T14:05"):
            moment(wrong)
    with pytest.raises(StartError, match="write 90s"):
        length("90")
    given = argparse.Namespace(since="2026-01-02", until="2026-01-01", last="")
    with pytest.raises(StartError, match="ends before"):
        between(given, 0)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("query", "--tag", "plc/Sped"), "no tag 'Sped' of plc; did you mean Speed"),
        (("query", "--tag", "pcl/Speed"), "no source 'pcl'; did you mean plc"),
        (("query", "--tag", "x/Speed"), "no source 'x'; there is plc"),
        (("query", "--pipeline", "cap"), "no pipeline 'cap'; did you mean caps"),
        (("query", "--pipeline", "caps", "--field", "totalms"), "no field 'totalms'; did you mean total_ms"),
        (("query", "--events", "--code", "plc_losst"), "no event 'plc_losst'; did you mean plc_lost"),
        (("query", "--pipeline", "caps", "--field", "verdict", "--every", "minute"), "verdict has no aggregates"),
        (("query", "--tag", "plc/Speed", "--every", "minute", "--from", "2001-01-01", "--to", "2001-01-02"),
         "after their minute is over"),
        (("query", "--tag", "plc/Speed", "--from", "2001-01-01", "--to", "2001-01-02"), "nothing in this time"),
        (("plot", "--from", "2001-01-01", "--to", "2001-01-02"), "nothing in this time"),
    ],
)  # fmt: skip
def test_of_nothing_is_said_why(
    device: Path, capsys: pytest.CaptureFixture[str], words: tuple[str, ...], said: str
) -> None:
    assert run(device, *words) == 1
    assert said in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("query", "--tag", "plc/Speed", "--events"), "--tag and --events: ask for one of them"),
        (("query", "--field", "score"), "--field score: of which pipeline"),
        (("query", "--code", "plc_lost"), "add --events"),
        (("query", "--every", "minute"), "--every of what"),
        (("query", "--last", "5m"), "--last of what"),
        (("query", "--limit", "-1"), "--limit -1: write 1 or more"),
        (("query", "--tag", "plc/Speed", "--last", "5m", "--from", "2026-11-30"), "write one of them"),
        (("query", "--tag", "plc/Speed", "--last", "0s"), "the range is empty"),
        (("query", "--tag", "plc/Speed", "--last", "99999999999d"), "nothing is kept for so long"),
        (("query", "--events", "--every", "minute"), "aggregates are of numbers"),
        (("export", "--out", "a.csv"), "of what"),
    ],
)
def test_what_can_not_be_asked_is_refused_with_what_to_write(device: Path, words: tuple[str, ...], said: str) -> None:
    with pytest.raises(StartError, match=said):
        run(device, *words)


def test_a_range_may_be_longer_than_the_store_can_count(device: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(device, "query", "--tag", "plc/Speed", "--from", "1900-01-01", "--to", "9999-12-31", "--limit", "1") == 0
    assert run(device, "query", "--tag", "plc/Speed", "--last", "9999999d", "--limit", "1") == 0
    assert "good" in capsys.readouterr().out


def test_what_there_is_is_told_to_programs_as_well(device: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(device, "query", "--json") == 0
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert {"measurement": "result", "points": SECONDS}.items() <= lines[-1].items()


@pytest.mark.parametrize("name", ["speed.csv", "speed.parquet"])
def test_a_file_that_can_not_be_written_is_named(device: Path, tmp_path: Path, name: str) -> None:
    if name.endswith("parquet"):
        pytest.importorskip("pyarrow")
    (tmp_path / name).symlink_to("/dev/full")
    with pytest.raises(StartError, match=rf"{name} can't be written: .*No space left"):
        run(device, "export", "--tag", "plc/Speed", "--out", str(tmp_path / name))
    with pytest.raises(StartError, match=rf"{name} can't be written: .*[Nn]o such file"):
        run(device, "export", "--tag", "plc/Speed", "--out", str(tmp_path / "nowhere" / name))


def test_aggregates_of_two_versions_say_which_is_which(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    home = filled(tmp_path / "home")
    end_ns = NOW_S * S
    with contextlib.closing(Store(home / "state" / FILE)) as store:
        text = 'verdict="ok",total_ms=7.0'
        store.add([Point(f"result,{PLACE},model=m,pipeline=caps,version=2", end_ns - 5 * S, 1, 500, text)])
        make_all(store, end_ns + 90 * S)
    words = ("query", "--pipeline", "caps", "--field", "total_ms", "--every", "second", "--json", "--limit", "6")
    assert run(home, *words) == 0
    lines = [json.loads(text) for text in capsys.readouterr().out.splitlines()]
    assert [line["time"] for line in lines] == sorted((line["time"] for line in lines), reverse=True)
    (second,) = {line["time"] for line in lines if line["version"] == "2"}
    assert {line["version"]: line["mean"] for line in lines if line["time"] == second} == {"1": 115.0, "2": 7.0}


def test_a_page_of_one_tag_shows_none_that_only_counts(tmp_path: Path) -> None:
    home = tmp_path / "home"
    (home / "state").mkdir(parents=True)
    reading = f"reading,group=fast,{PLACE},source=plc"
    with contextlib.closing(Store(home / "state" / FILE)) as store:
        store.add([Point(reading, (NOW_S + at) * S, 1, at, f"Counter={at}.0,Speed={at % 2}.0") for at in range(9)])
    with contextlib.closing(History(home)) as history:
        assert telling_tag(history) == ("plc", "Speed")


def test_a_store_of_another_user_is_said_to_be_one(tmp_path: Path) -> None:
    if os.geteuid() == 0:
        pytest.skip("root reads everything")
    home = filled(tmp_path / "home")
    (home / "state").chmod(0)
    try:
        with pytest.raises(HistoryError, match="ask as the device's user"):
            run(home, "query")
    finally:
        (home / "state").chmod(0o700)


@pytest.mark.parametrize(
    ("value", "shown"), [(0, "0 s"), (60, "1 min"), (90, "90 s"), (300, "5 min"), (7_200, "2 h"), (172_800, "2 d")]
)
def test_a_length_of_time_is_shown_as_a_clock_would(value: float, shown: str) -> None:
    assert _shown(value, "s") == shown


def test_ticks_of_a_length_of_time_are_those_of_a_clock() -> None:
    assert [_step_s(range_s) for range_s in (6, 350, 3_600, 40_000, 10**8)] == [1, 60, 600, 7_200, 10**8 / 7]


def test_how_much_a_sum_is_says_of_which_time() -> None:
    (panel,) = [panel for panel in LINE.panels if panel.title == "Parts by verdict"]
    assert _heading(panel, Span(0, 3_600 * S, 120 * S)) == "Parts by verdict, in each 2 min"
