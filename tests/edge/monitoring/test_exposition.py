"""What a scrape shows is what was counted, in both text formats, read by Prometheus' own parsers."""

import os
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from prometheus_client.openmetrics.parser import text_string_to_metric_families as read_openmetrics
from prometheus_client.parser import text_string_to_metric_families as read_text

from edge.host import metric_names as names
from edge.host.metric_file import MetricFile, look
from edge.host.metric_names import METRICS, Kind, Metric
from edge.host.metrics import Counter, Gauge, Histogram, Metrics
from edge.monitoring.exposition import Known, families, rendered
from edge.monitoring.reference import REFERENCE, reference
from schemas.messages import State, Status

ROOT = Path(__file__).resolve().parents[3]
OPENMETRICS = "application/openmetrics-text; version=1.0.0"
Samples = dict[tuple[str, frozenset[tuple[str, str]]], float]


def samples(known: Known, process: str = "", accept: str = "") -> Samples:
    """Render and read back."""
    content, kind = rendered(families(known, process), accept)
    read = read_openmetrics if "openmetrics" in kind else read_text
    return {
        (sample.name, frozenset(sample.labels.items())): sample.value
        for family in read(content.decode())
        for sample in family.samples
    }


def of(name: str, **labels: str) -> tuple[str, frozenset[tuple[str, str]]]:
    return name, frozenset(labels.items())


@pytest.fixture
def both(tmp_path: Path) -> Iterator[tuple[Metrics, Metrics]]:
    """Two processes of a device."""
    made = [Metrics(MetricFile(tmp_path / f"{name}.bin", name)) for name in ("runtime-safety", "camera-cam1")]
    yield made[0], made[1]
    for one in made:
        one.close()


def known(tmp_path: Path, *, ready: bool = True) -> Known:
    status = Status(process="camera-cam1", state=State.IDLE)
    return Known(
        views=look(tmp_path, {}), statuses={"camera-cam1": status}, ready=ready, models={"caps": True},
        serving=[("caps", "2", "runtime-safety")], monitor="monitor",
    )  # fmt: skip


@pytest.mark.parametrize("accept", ["", "text/plain", OPENMETRICS, f"{OPENMETRICS};q=0.9,text/plain;q=0.1"])
def test_counters_gauges_and_histograms_are_shown_as_they_are(
    tmp_path: Path, both: tuple[Metrics, Metrics], accept: str
) -> None:
    runtime, camera = both
    labels = {"pipeline": 'a "quoted"\nname\\', "model": "caps", "version": "2"}
    runtime.counter(names.REQUEST_SUCCESS, **labels).inc(3)
    for value in (10e-6, 60e-6, 0.02, 5.0):
        runtime.histogram(names.STAGE_SECONDS, pipeline="inspect", stage="infer").observe(value)
    camera.counter(names.FRAMES, camera="cam1", quality="good").inc()
    found = samples(known(tmp_path), accept=accept)
    assert found[of("plantedge_inference_request_success_total", process="runtime-safety", **labels)] == 3
    assert found[of("plantedge_camera_frames_total", process="camera-cam1", camera="cam1", quality="good")] == 1
    stage = {"process": "runtime-safety", "pipeline": "inspect", "stage": "infer"}
    name = "plantedge_inference_stage_seconds"
    for bound, count in (("5e-05", 1), ("0.0001", 2), ("0.025", 3), ("1.0", 3), ("+Inf", 4)):
        assert found[of(f"{name}_bucket", le=bound, **stage)] == count
    assert found[of(f"{name}_count", **stage)] == 4
    assert found[of(f"{name}_sum", **stage)] == pytest.approx(5.02007)


def test_the_monitor_adds_what_it_knows(tmp_path: Path, both: tuple[Metrics, Metrics]) -> None:
    assert both
    found = samples(known(tmp_path, ready=False))
    assert found[of("plantedge_device_ready", process="monitor")] == 0
    assert found[of("plantedge_model_ready", process="monitor", model="caps")] == 1
    assert found[of("plantedge_model_serving", process="runtime-safety", model="caps", version="2")] == 1
    states = {state: found[of("plantedge_process_state", process="camera-cam1", state=state)] for state in State}
    assert states == {state: float(state is State.IDLE) for state in State}
    own = {"process": "runtime-safety"}
    assert found[of("plantedge_process_resident_bytes", **own)] > 10e6
    assert found[of("plantedge_process_cpu_seconds_total", **own)] > 0
    assert 0 < found[of("plantedge_process_uptime_seconds", **own)] < 3600


def test_a_scrape_of_one_process_shows_no_other(tmp_path: Path, both: tuple[Metrics, Metrics]) -> None:
    for metrics in both:
        metrics.counter(names.BUS_CONNECTS).inc()
    for process in ("runtime-safety", "camera-cam1"):
        found = samples(known(tmp_path), process)
        assert {dict(labels)["process"] for _, labels in found} == {process}
        assert of("plantedge_bus_connects_total", process=process) in found


def test_every_row_of_the_table_can_be_shown(tmp_path: Path, both: tuple[Metrics, Metrics]) -> None:
    runtime, _ = both
    for row in METRICS:
        handle = runtime._series(row, dict.fromkeys(row.labels, "x"))
        match handle:
            case Counter():
                handle.inc()
            case Gauge():
                handle.set(1)
            case Histogram():
                handle.observe(1)
    for accept in ("", OPENMETRICS):
        shown = {name for name, _ in samples(known(tmp_path), accept=accept)}
        for row in METRICS:
            assert (f"{row.name}_count" if row.kind is Kind.HISTOGRAM else row.shown) in shown


def test_one_name_of_two_kinds_does_not_spoil_the_scrape(tmp_path: Path, both: tuple[Metrics, Metrics]) -> None:
    """An older process may still run beside a newer monitor."""
    runtime, camera = both
    runtime.gauge(Metric(name="plantedge_x", kind=Kind.GAUGE, help="", by=())).set(1)
    camera.counter(Metric(name="plantedge_x", kind=Kind.COUNTER, help="", by=())).inc()
    found = samples(known(tmp_path), accept=OPENMETRICS)
    assert [name for name, _ in found if name.startswith("plantedge_x")] in (["plantedge_x"], ["plantedge_x_total"])


def test_the_reference_is_committed_as_generated() -> None:
    assert (ROOT / REFERENCE).read_text() == reference()
    for row in METRICS:
        assert reference().count(f"| `{row.shown}` | {row.kind}") == 1


@pytest.mark.parametrize("file", ["deploy/prometheus-alerts.yml", "docs/how-to/monitor.md"])
def test_every_metric_that_a_query_names_exists(file: str) -> None:
    shown = {row.shown for row in METRICS if row.kind is not Kind.HISTOGRAM}
    shown |= {
        f"{row.name}_{part}" for row in METRICS if row.kind is Kind.HISTOGRAM for part in ("bucket", "sum", "count")
    }
    named = set(re.findall(r"plantedge_[a-z_]+[a-z]", (ROOT / file).read_text()))
    assert named and named <= shown


def test_what_is_scraped_costs_one_core_little(tmp_path: Path) -> None:
    """A whole device: ten processes of seventy series."""
    made = []
    for number in range(10):
        metrics = Metrics(MetricFile(tmp_path / f"p{number}.bin", f"p{number}"))
        made.append(metrics)
        for topic in range(12):
            for row in (names.BUS_GAPS, names.BUS_BAD, names.BUS_REPEATS, names.BUS_LIMITED):
                metrics.counter(row, topic=f"T{topic}").inc()
        for stage in range(6):
            metrics.histogram(names.STAGE_SECONDS, pipeline="p", stage=str(stage)).observe(0.001)
    views = look(tmp_path, {})
    shown = Known(views=views, statuses={}, ready=True, models={}, serving=[], monitor="monitor")
    before = os.times()
    content, _ = rendered(families(shown), "")
    after = os.times()
    assert len(content) > 50_000
    assert after.user + after.system - before.user - before.system < 0.5
    for metrics in made:
        metrics.close()
