from pathlib import Path

import pytest

from edge.upstream.outbox import Outbox, today
from schemas.errors import CodecError
from schemas.fleet import Alert, Models, Report
from schemas.messages import Phase, Severity
from schemas.topics import UP_ALERT, UP_MODELS, UP_REPORT


def alert(key: str = "abc", code: str = "plc_lost") -> Alert:
    return Alert(key=key, origin="connect-plc", code=code, phase=Phase.NEW, severity=Severity.ALARM, time_ns=1)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "state" / "outbox.db"


def test_what_waits_survives_the_process_with_its_epoch_and_seq(path: Path) -> None:
    outbox = Outbox(path, 1_000_000)
    outbox.put(UP_ALERT, alert())
    before = outbox.waiting()
    outbox.close()
    again = Outbox(path, 1_000_000)
    assert again.waiting() == before
    again.put(UP_ALERT, alert())
    assert [message.seq for message in again.waiting()] == [1, 2]
    again.close()


def test_state_replaces_its_older_self_and_alerts_keep_their_order(path: Path) -> None:
    outbox = Outbox(path, 1_000_000)
    for number in range(3):
        outbox.put(UP_MODELS, Models(models=[], config={"mirror": number}, time_ns=1))
        outbox.put(UP_ALERT, alert(key=f"{number}"))
    keys = [message.topic.key for message in outbox.waiting()]
    assert keys == ["UP_ALERT", "UP_ALERT", "UP_MODELS", "UP_ALERT"]
    outbox.close()


@pytest.mark.parametrize(
    "report",
    [
        Report(about="config", id="x" * 65, ok=True, reason="", time_ns=1),
        Report(about="config", id="1", ok=True, reason="score was 0.93", time_ns=1),
        Report(about="pixels", id="1", ok=True, reason="", time_ns=1),
    ],
)
def test_what_is_not_of_its_closed_schema_is_not_even_kept(path: Path, report: Report) -> None:
    outbox = Outbox(path, 1_000_000)
    with pytest.raises(CodecError):
        outbox.put(UP_REPORT, report)
    assert len(outbox) == 0
    outbox.close()


def test_the_quota_evicts_the_oldest_and_counts(path: Path) -> None:
    outbox = Outbox(path, 2_000)
    for number in range(40):
        outbox.put(UP_ALERT, alert(key=f"{number:x}"))
    assert outbox.evicted > 0
    assert len(outbox) == 40 - outbox.evicted
    assert outbox.waiting(100)[-1].seq == 40
    outbox.close()


def test_the_ledger_adds_up_what_left(path: Path) -> None:
    outbox = Outbox(path, 1_000_000)
    outbox.put(UP_ALERT, alert())
    outbox.put(UP_ALERT, alert())
    sizes = [len(message.payload) for message in outbox.waiting()]
    for message in outbox.waiting():
        outbox.sent(message, "alert")
    outbox.add_wire_bytes(512)
    ledger = outbox.ledger(today())
    assert ledger.wire_bytes == 512
    assert [(row.kind, row.messages, row.payload_bytes) for row in ledger.rows] == [("alert", 2, sum(sizes))]
    assert len(outbox) == 0
    outbox.close()
