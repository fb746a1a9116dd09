import pytest

from edge.mes import tag_changes
from edge.mes.tag_changes import TagChanges
from schemas.messages import Reading, Sample


def reading(*names: str) -> Reading:
    tags = {name: Sample(value=1.0) for name in names}
    return Reading(source="plc", group="fast", boot="b", scan_ns=0, scan_ms=0.1, time_ns=0, tags=tags)


def test_names_without_end_make_no_topics_without_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tag_changes, "MAX_TAGS", 2)
    changes = TagChanges({})
    changes.take(reading("A", "B", "C"))
    assert [name for _, name in changes.due(0.0)] == ["A", "B"]
    changes.take(reading("D", "B"))
    assert [name for _, name in changes.due(1.0)] == ["B"], "whatever was told between"
    assert changes.refused == 2
