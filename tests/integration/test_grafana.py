"""Every query of every dashboard finds rows in a real InfluxDB 1.x that the running demo line has filled."""

import asyncio
import json
import re
import time
import urllib.parse
import urllib.request
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import psutil
import pytest

from edge.history.dashboards import curve_query, files, marks_query, rows_query
from edge.history.points import PointMaker
from edge.history.views import MODELS, VIEWS, Panel
from edge.settings import Influx as InfluxSettings
from edge.settings import load_settings
from edge.sinks.influx import open_archive
from schemas.messages import Drift, DriftSignal, Insight
from schemas.topics import Place
from tests.integration.running_line import RunningLine

pytestmark = [pytest.mark.slow, pytest.mark.timeout(400)]
FILLED_S = 240.0  # windows of insight come every ten seconds, and a counter's gain needs two
TAG = "Line.Speed"


class Filled:
    """A demo line's InfluxDB, asked as Grafana asks."""

    def __init__(self, url: str) -> None:
        """At an address."""
        self.url = url

    def count(self, query: str) -> int:
        """How many rows a query finds, with Grafana's variables as a person has them."""
        asked = query.replace("$timeFilter", "time > now() - 30m").replace("$__interval", "10s")
        asked = asked.replace("/^$node$/", "/^.*$/").replace("$tag", TAG)
        assert "$" not in asked.replace("/^.*$/", ""), query
        parameters = urllib.parse.urlencode({"db": "plantedge", "q": asked})
        with urllib.request.urlopen(f"{self.url}/query?{parameters}", timeout=20) as answer:
            (found,) = json.load(answer)["results"]
        assert "error" not in found, (asked, found)
        return sum(len(series["values"]) for series in found.get("series", []))


@pytest.fixture
async def filled(tmp_path: Path, peer: Callable[[str], Path]) -> AsyncIterator[Filled]:
    peer("influxd")
    line = RunningLine(tmp_path, 20.0, "--influx-local", "--no-fleet")
    try:
        await line.ready()
        line.plant(do="fault", kind="cut", for_s=2.0, source="modbus")  # for the events of a lost link
        influx = load_settings(line.home).historian.influx
        assert influx
        await asyncio.to_thread(wait_until_filled, Filled(influx.url))
        yield Filled(influx.url)
    finally:
        await asyncio.to_thread(line.stop)


def queries(panel: Panel) -> list[tuple[str, bool]]:
    """A panel's queries, and whether each may find nothing."""
    if panel.rows:
        return [(rows_query(panel.rows), False)]
    return [(curve_query(curve), curve.spare) for curve in panel.curves]


def wait_until_filled(influx: Filled) -> None:
    """Give the line the time that its slowest panel needs; what is still missing then is for the test to say."""
    end = time.monotonic() + FILLED_S
    waiting = [query for view in VIEWS for panel in view.panels for query, spare in queries(panel) if not spare]
    while waiting and time.monotonic() < end:
        waiting = [query for query in waiting if not influx.count(query)]
        time.sleep(2.0)


def write_learned_drift(url: str, place: Place) -> None:
    """A window with limits, which a line has learned after twenty minutes, by the historian's own code."""
    insight = Insight(
        epoch=1, seq=1, pipeline="cap_inspection", model="cap_inspection", version="1", window_s=10.0, inputs=1,
        results=1, late=0, dropped={}, gaps=0, verdicts={"ok": 1}, p50_ms=1.0, p99_ms=1.0, max_ms=1.0, score_mean=0.5,
        time_ns=time.time_ns(),
        drift=Drift(level="ok", learned=True, signals={"mean": DriftSignal(value=1.0, score=0.4)}),
    )  # fmt: skip
    point = PointMaker(place).insight(insight)
    archive = open_archive(InfluxSettings(version=1, url=url), Path())
    archive.write(f"{point.series} {point.fields} {point.time_ns}")
    archive.close()


async def test_every_panels_query_finds_rows(filled: Filled, tmp_path: Path) -> None:
    place = load_settings(tmp_path / "demo" / "device").place
    await asyncio.to_thread(write_learned_drift, filled.url, place)
    absent = {"Temperature"} if not psutil.sensors_temperatures() else set()
    empty = [
        (view.name, panel.title, query)
        for view in VIEWS
        for panel in view.panels
        for query, _ in queries(panel)
        if panel.title not in absent and not await asyncio.to_thread(filled.count, query)
    ]
    assert not empty
    assert MODELS.marks
    assert await asyncio.to_thread(filled.count, marks_query(MODELS.marks))
    variables = {query for text in files().values() for query in re.findall(r'"query": "(SHOW [^\n]+)",?\n', text)}
    assert len(variables) == 2
    for query in variables:
        assert await asyncio.to_thread(filled.count, json.loads(f'"{query}"')), query
