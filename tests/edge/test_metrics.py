"""A process's numbers and the file they lie in: what is written is read, whatever was killed, torn or full."""

import contextlib
import os
import signal
import struct
import subprocess
import sys
import zlib
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge.host import metric_file, metric_names
from edge.host.clock import boot_id
from edge.host.metric_file import (
    CELLS_AT,
    HEADER,
    RECORD,
    WRITTEN,
    MetricFile,
    MetricView,
    forget,
    look,
    metric_folder,
)
from edge.host.metric_names import METRICS, SERIES_DROPPED, Kind, Metric
from edge.host.metrics import Counter, Gauge, Histogram, Metrics, open_metrics

COUNTER = Metric(name="plantedge_c", kind=Kind.COUNTER, help="counts", by=(), labels=("pipeline",))
GAUGE = Metric(name="plantedge_g", kind=Kind.GAUGE, help="shows", by=())
HISTOGRAM = Metric(name="plantedge_h", kind=Kind.HISTOGRAM, help="spreads", by=(), buckets=(0.1, 1.0, 10.0))


def made(tmp_path: Path, **limits: int) -> Metrics:
    return Metrics(MetricFile(tmp_path / "it.bin", "it", **limits))


def read(tmp_path: Path) -> dict[str, list[float]]:
    """Series by name and label values, as a reader sees them."""
    view = MetricView(tmp_path / "it.bin")
    return {":".join((series.name, *series.values)): view.values(series) for series in view.refresh()}


def test_what_is_counted_is_read(tmp_path: Path) -> None:
    metrics = made(tmp_path)
    metrics.counter(COUNTER, pipeline="a").inc()
    metrics.counter(COUNTER, pipeline="a").inc(2.5)
    metrics.counter(COUNTER, pipeline="b").reach(7)
    metrics.gauge(GAUGE).set(-3)
    for value in (0.05, 0.1, 0.5, 99.0):
        metrics.histogram(HISTOGRAM).observe(value)
    found = read(tmp_path)
    assert found["plantedge_c:a"] == [3.5]
    assert found["plantedge_c:b"] == [7.0]
    assert found["plantedge_g"] == [-3.0]
    assert found["plantedge_h"] == [2.0, 1.0, 0.0, 1.0, pytest.approx(99.65)]  # a bound belongs to its bucket


def test_a_reader_sees_what_is_declared_and_counted_later(tmp_path: Path) -> None:
    metrics = made(tmp_path)
    view = MetricView(tmp_path / "it.bin")
    before = len(view.refresh())
    counter = metrics.counter(COUNTER, pipeline="new")
    (series,) = view.refresh()[before:]
    assert (series.help, series.labels, series.values) == ("counts", ("pipeline",), ("new",))
    for total in (1.0, 2.0):
        counter.inc()
        assert view.values(series) == [total]


def test_a_help_is_written_once_and_read_for_every_series(tmp_path: Path) -> None:
    metrics = made(tmp_path)
    for name in ("a", "b"):
        metrics.counter(COUNTER, pipeline=name)
    assert [series.help for series in MetricView(tmp_path / "it.bin").refresh()[1:]] == ["counts", "counts"]
    assert (tmp_path / "it.bin").read_bytes().count(b"counts") == 1


def test_labels_and_kind_are_those_of_the_table(tmp_path: Path) -> None:
    metrics = made(tmp_path)
    with pytest.raises(TypeError, match="has the labels"):
        metrics.counter(COUNTER)
    with pytest.raises(TypeError, match="is a counter"):
        metrics.gauge(COUNTER, pipeline="a")
    with pytest.raises(TypeError, match="is a gauge"):
        metrics.histogram(GAUGE)
    with pytest.raises(TypeError, match="is a histogram"):
        metrics.counter(HISTOGRAM)


@pytest.mark.parametrize("limits", [{"cells": 4}, {"record_bytes": 200}])
def test_a_full_file_drops_series_counts_them_and_stops_nothing(tmp_path: Path, limits: dict[str, int]) -> None:
    metrics = made(tmp_path, **limits)
    for number in range(20):
        metrics.counter(COUNTER, pipeline=f"p{number}").inc()
        metrics.histogram(HISTOGRAM).observe(1.0)
    found = read(tmp_path)
    assert 1 < len(found) < 6
    assert found[SERIES_DROPPED.name] == [21.0 - (len(found) - 1)]
    assert all(value == [1.0] for name, value in found.items() if name.startswith("plantedge_c"))


def test_a_file_that_can_not_be_made_costs_the_numbers_only(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "run").write_text("in the way")
    monkeypatch.setattr(metric_file.metric_folder, "__defaults__", (tmp_path / "no-memory",))
    metrics = open_metrics(tmp_path, "agent")
    metrics.counter(COUNTER, pipeline="a").inc()
    assert metric_folder(tmp_path) == tmp_path / "run" / "metrics"
    metrics.close()


def test_a_folder_that_others_may_enter_is_not_used(tmp_path: Path) -> None:
    home = tmp_path / "home"
    ours = metric_folder(home, tmp_path)
    assert ours.parent == tmp_path / f"plantedge-{os.getuid()}"
    ours.parent.chmod(0o755)
    assert metric_folder(home, tmp_path) == home / "run" / "metrics"
    ours.parent.rmdir()
    ours.parent.symlink_to(tmp_path)
    assert metric_folder(home, tmp_path) == home / "run" / "metrics"


# -- whose numbers -----------------------------------------------------------------------------------------------------


def test_only_the_files_of_processes_that_live_are_seen(tmp_path: Path) -> None:
    MetricFile(tmp_path / "it.bin", "it")
    MetricFile(tmp_path / "copied.bin", "it")  # a file under another name is nobody's
    for name, field, raw in (
        ("dead", 16, struct.pack("=Q", 2**22 + 1)),  # over the kernel's largest process id
        ("reused", 24, struct.pack("=Q", 1)),  # our process id, another start
        ("before", 32, b"another boot"),
        ("newer", 8, struct.pack("=I", 99)),
    ):
        MetricFile(tmp_path / f"{name}.bin", name)
        with (tmp_path / f"{name}.bin").open("r+b") as file:
            file.seek(field)
            file.write(raw)
    (tmp_path / "empty.bin").touch()
    (tmp_path / "folder.bin").mkdir()
    (tmp_path / "dangling.bin").symlink_to(tmp_path / "nothing")
    assert list(look(tmp_path, {})) == ["it"]
    assert look(tmp_path / "absent", {}) == {}
    assert len(boot_id()) == len(b"another boot")


def test_a_file_is_mapped_once_until_its_process_starts_again(tmp_path: Path) -> None:
    first = Metrics(MetricFile(tmp_path / "it.bin", "it"))
    first.counter(COUNTER, pipeline="a").inc(5)
    seen = look(tmp_path, {})
    assert look(tmp_path, seen)["it"] is seen["it"]
    second = Metrics(MetricFile(tmp_path / "it.bin", "it"))
    counter = second.counter(COUNTER, pipeline="a")
    first.counter(COUNTER, pipeline="a").inc()  # its owner goes on counting for nobody
    again = look(tmp_path, seen)["it"]
    assert again is not seen["it"]
    assert again.values(again.series[-1]) == [0.0]
    counter.inc()
    assert again.values(again.series[-1]) == [1.0]
    first.close()
    second.close()
    assert look(tmp_path, {}) == {}


def test_what_killed_processes_left_is_forgotten_once_none_runs(tmp_path: Path) -> None:
    home = tmp_path / "home"
    metrics = open_metrics(home, "agent")
    dead = metric_folder(home) / "camera.bin"
    dead.write_bytes(b"left")
    forget(home)
    assert dead.exists()
    metrics.close()
    forget(home)
    assert not metric_folder(home).exists()


WRITER = """
import sys
from pathlib import Path
from edge.host.metric_file import MetricFile
from edge.host.metric_names import Kind, Metric
from edge.host.metrics import Metrics
metrics = Metrics(MetricFile(Path(sys.argv[1]) / "it.bin", "it"))
print("ready", flush=True)
number = 0
while True:
    number += 1
    row = Metric(name=f"plantedge_n{number % 300}", kind=Kind.COUNTER, help="x" * (number % 90), by=(), labels=("l",))
    metrics.counter(row, l=str(number // 300)).inc(number)
"""


def test_a_killed_writer_leaves_whole_records_and_is_not_shown_as_live(tmp_path: Path) -> None:
    for _ in range(3):
        child = subprocess.Popen(
            [sys.executable, "-c", WRITER, str(tmp_path)], stdout=subprocess.PIPE, cwd=Path(__file__).parents[2]
        )
        assert child.stdout is not None
        with child.stdout:
            assert child.stdout.readline() == b"ready\n"
            view = look(tmp_path, {})["it"]
            child.send_signal(signal.SIGKILL)
            child.wait(10)
        assert look(tmp_path, {"it": view}) == {}
        for series in (one for one in view.refresh() if one.labels):  # without labels: what a full file left out
            number = int(series.name[11:]) + 300 * int(series.values[0])
            assert view.values(series)[0] in (0.0, float(number)), series


# -- torn and foreign bytes --------------------------------------------------------------------------------------------


def records_at(path: Path) -> int:
    cells = HEADER.unpack_from(path.read_bytes())[6]
    return CELLS_AT + 8 * int(cells)


def test_a_record_that_is_not_whole_yet_is_read_at_the_next_look(tmp_path: Path) -> None:
    metrics = made(tmp_path)
    path = tmp_path / "it.bin"
    end = records_at(path) + struct.unpack_from("=Q", path.read_bytes(), WRITTEN)[0]
    metrics.counter(COUNTER, pipeline="a")
    view = MetricView(path)
    with path.open("r+b") as file:  # as a processor may show it: the count before the record
        file.seek(end + RECORD.size)
        whole = file.read(4)
        file.seek(end + RECORD.size)
        file.write(b"\0\0\0\0")
        file.flush()
        assert len(view.refresh()) == 1
        file.seek(end + RECORD.size)
        file.write(whole)
        file.flush()
        assert len(view.refresh()) == 2


def test_a_record_of_a_later_kind_is_passed_over(tmp_path: Path) -> None:
    metrics = made(tmp_path)
    path = tmp_path / "it.bin"
    start, written = records_at(path), struct.unpack_from("=Q", path.read_bytes(), WRITTEN)[0]
    strange = b"\x93\x01\x02\x03"
    with path.open("r+b") as file:
        file.seek(start + written)
        file.write(RECORD.pack(len(strange), zlib.crc32(strange)) + strange)
        file.seek(WRITTEN)
        file.write(struct.pack("=Q", written + RECORD.size + len(strange)))
    assert list(read(tmp_path)) == [SERIES_DROPPED.name]
    metrics.counter(COUNTER, pipeline="after")
    assert list(read(tmp_path)) == [SERIES_DROPPED.name, "plantedge_c:after"]


@given(st.lists(st.tuples(st.integers(0, 2**20), st.binary(min_size=1, max_size=24)), min_size=1, max_size=8))
def test_no_bytes_make_a_reader_fail(
    tmp_path_factory: pytest.TempPathFactory, changes: list[tuple[int, bytes]]
) -> None:
    folder = tmp_path_factory.mktemp("torn")
    metrics = made(folder, cells=64, record_bytes=1024)
    for number in range(5):
        metrics.counter(COUNTER, pipeline=f"p{number}").inc()
        metrics.histogram(HISTOGRAM).observe(number)
    raw = bytearray((folder / "it.bin").read_bytes())
    for where, put in changes:
        at = where % len(raw)
        raw[at : at + len(put)] = put[: len(raw) - at]
    (folder / "it.bin").write_bytes(raw)
    with contextlib.suppress(ValueError):
        view = MetricView(folder / "it.bin")
        for series in view.refresh():
            assert len(view.values(series)) == series.width


@pytest.mark.slow
@given(
    rows=st.lists(
        st.tuples(
            st.from_regex(r"[a-z][a-z0-9_]{0,30}", fullmatch=True), st.sampled_from(Kind), st.text(max_size=60),
            st.text(max_size=200), st.floats(allow_nan=False),
        ),
        max_size=8, unique_by=lambda row: row[0],
    )
)  # fmt: skip
def test_any_series_comes_back_as_it_was_declared(
    tmp_path_factory: pytest.TempPathFactory, rows: list[tuple[str, Kind, str, str, float]]
) -> None:
    folder = tmp_path_factory.mktemp("any")
    metrics = made(folder)
    for name, kind, text, label, value in rows:
        bounds = (-1.0, 0.0, 1e300) if kind is Kind.HISTOGRAM else ()
        row = Metric(name=name, kind=kind, help=text, by=(), labels=("label",), buckets=bounds)
        handle = metrics._series(row, {"label": label})
        match handle:
            case Counter():
                handle.inc(value)
            case Gauge():
                handle.set(value)
            case Histogram():
                handle.observe(value)
    view = MetricView(folder / "it.bin")
    found = {series.name: series for series in view.refresh()[1:]}
    assert list(found) == [name for name, *_ in rows]
    for name, kind, text, label, value in rows:
        series = found[name]
        assert (series.kind, series.help, series.values) == (kind, text, (label[:128],))
        if kind is not Kind.HISTOGRAM:
            assert view.values(series) == [value]
        else:
            *buckets, total = view.values(series)
            assert total == value
            assert sum(buckets) == 1.0


# -- the table ---------------------------------------------------------------------------------------------------------


def test_names_in_the_table_are_unique_and_well_formed() -> None:
    assert len({row.name for row in METRICS}) == len(METRICS) > 40
    for row in METRICS:
        assert row.name.startswith(metric_names.PREFIX)
        assert not row.name.endswith(("_total", "_count", "_sum", "_bucket")) or row.name.startswith(
            ("plantedge_inference_count", "plantedge_inference_exec_count", "plantedge_inference_pending")
        )
        assert row.help.endswith(".")
        assert row.by


def test_stage_buckets_span_50_us_to_1_s() -> None:
    assert (metric_names.STAGE_BUCKETS[0], metric_names.STAGE_BUCKETS[-1]) == (50e-6, 1.0)


def test_bounds_that_do_not_rise_are_refused() -> None:
    for kind, bounds in ((Kind.HISTOGRAM, (1.0, 1.0)), (Kind.HISTOGRAM, ()), (Kind.GAUGE, (1.0,))):
        with pytest.raises(ValueError, match="ascending"):
            Metric(name="x", kind=kind, help="", by=(), buckets=bounds)
