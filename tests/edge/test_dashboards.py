"""Grafana's files are those of the table of views; its queries meet a real InfluxDB in tests/integration."""

import json
from pathlib import Path

import pytest

from edge.history.dashboards import FOLDER, SOURCE_UID, curve_query, files, rows_query
from edge.history.views import DEVICE, LINE, VIEWS, Curve, How

ROOT = Path(__file__).resolve().parents[2]


def test_the_files_are_committed_as_generated() -> None:
    assert {path: (ROOT / path).read_text() for path in files()} == files()
    there = {path.relative_to(ROOT) for path in (ROOT / FOLDER).rglob("*.json")}
    assert there == {path for path in files() if path.suffix == ".json"}


def test_uids_are_fixed_and_each_query_is_of_our_source() -> None:
    pages = [json.loads(text) for path, text in files().items() if path.suffix == ".json"]
    assert [page["uid"] for page in pages] == [f"plantedge-{view.name}" for view in VIEWS]
    for page in pages:
        for panel in page["panels"]:
            assert {target["datasource"]["uid"] for target in panel["targets"]} == {SOURCE_UID}


@pytest.mark.parametrize("view", VIEWS, ids=lambda view: view.name)
def test_panels_fill_their_rows_and_lie_on_no_other(view: object) -> None:
    page = next(json.loads(text) for path, text in files().items() if path.stem == getattr(view, "name", ""))
    taken: set[tuple[int, int]] = set()
    for panel in page["panels"]:
        at = panel["gridPos"]
        cells = {(x, y) for x in range(at["x"], at["x"] + at["w"]) for y in range(at["y"], at["y"] + at["h"])}
        assert not cells & taken, panel["title"]
        assert max(x for x, _ in cells) < 24
        taken |= cells


def test_a_curve_is_influxql() -> None:
    late = Curve(of="insight", fields=("late", "dropped"), how=How.LACK, among=("inputs",), by=("pipeline",))
    assert curve_query(late) == (
        'SELECT 1 - (sum("late") + sum("dropped")) / (sum("inputs")) FROM "insight" WHERE $timeFilter AND'
        ' "node" =~ /^$node$/ GROUP BY time($__interval), "pipeline" fill(none)'
    )
    (rejects,) = [panel.rows for panel in LINE.panels if panel.title == "Last rejects"]
    assert rejects
    assert rows_query(rejects).endswith("(\"verdict\" = 'nok') ORDER BY time DESC LIMIT 25")
    assert 'WHERE $timeFilter AND "node" =~ /^$node$/ AND "process" = \'machine\' GROUP' in curve_query(
        DEVICE.panels[0].curves[0]
    )


def test_the_provisioned_source_has_the_uid_that_the_panels_name() -> None:
    (source,) = [text for path, text in files().items() if path.parent.name == "datasources"]
    assert f"\n    uid: {SOURCE_UID}\n" in source
