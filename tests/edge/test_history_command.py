"""`plantedge history`: what it prints, writes and draws of a store."""

import argparse
import contextlib
import csv
import json
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from edge.cli import make_parser
from edge.commands.history import between, length, moment
from edge.history.aggregation import make_all
from edge.history.curves import Curves, Span
from edge.history.points import Point
from edge.history.query import History
from edge.history.store import FILE, Store
from edge.history.views import MODELS, VIEWS, Curve, How
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


def test_nothing_is_said_as_such(device: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(device, "query", "--tag", "plc/Nothing") == 1
    assert "nothing in this time" in capsys.readouterr().err


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
    assert run(device, "plot", view, "--last", "3m", "--out", str(tmp_path)) == 0
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
    given = argparse.Namespace(since="2026-01-02", until="2026-01-01", last="1h")
    with pytest.raises(StartError, match="ends before"):
        between(given, 0)
