import msgspec
import pytest

from bus.codec import decode, encode
from edge.host.load import Machine
from edge.settings import Device, Settings
from edge.upstream.health import ALERT_CODES, DeviceView
from schemas.fleet import Health, Models
from schemas.messages import Drift, DriftSignal, Event, Insight, Phase, Severity, Slot, State, Status
from schemas.topics import UP_HEALTH, UP_MODELS

MACHINE = Machine(uptime_s=1.0, cpu_share=0.1, memory_share=0.2, disk_share=0.3, temperature_c=None)


@pytest.fixture
def view() -> DeviceView:
    return DeviceView(Settings(device=Device(site="s", line="l", node="n")), "0.1.0")


def event(code: str, phase: Phase = Phase.NEW, severity: Severity = Severity.ALARM, key: str = "k") -> Event:
    return Event(
        key=key, origin="connect-plc", code=code, phase=phase, severity=severity, text="MARKER 17.3 bar",
        args={"tag": "MARKER"}, time_ns=1,
    )  # fmt: skip


def health(view: DeviceView, now_s: float = 1.0) -> Health:
    return view.health(MACHINE, now_s, 1, 0, 0, 0)


def test_a_device_is_ok_until_a_process_says_otherwise(view: DeviceView) -> None:
    view.status(Status(process="connect-plc", state=State.ACTIVE), 0.0)
    assert health(view).state == "ok"
    view.status(Status(process="connect-plc", state=State.DEGRADED, reason="MARKER"), 0.5)
    assert (health(view).state, health(view).reasons) == ("degraded", ["connect_degraded"])
    view.status(Status(process="connect-plc", state=State.STOPPED), 0.6)
    assert (health(view).state, health(view).reasons) == ("alarm", ["process_stopped"])


def test_a_silent_process_is_an_alarm(view: DeviceView) -> None:
    view.status(Status(process="opcua", state=State.ACTIVE), 0.0)
    assert health(view, 100.0).reasons == ["process_silent"]


def test_an_alarm_holds_until_its_end(view: DeviceView) -> None:
    assert view.event(event("plc_lost"), 1) is not None
    assert health(view).reasons == ["plc_lost"]
    assert view.event(event("plc_lost", Phase.END, Severity.INFO), 1) is not None
    assert health(view).state == "ok"


@pytest.mark.parametrize("code", ["line_anomaly", "anomaly", "defect", "write_done"])
def test_events_that_are_predictions_or_values_stay_on_the_site(view: DeviceView, code: str) -> None:
    assert code not in ALERT_CODES
    assert view.event(event(code), 1) is None


def test_no_text_of_an_event_or_a_status_can_leave(view: DeviceView) -> None:
    alert = view.event(event("plc_lost"), 1)
    view.status(Status(process="connect-plc", state=State.DEGRADED, reason="MARKER", counters={"MARKER": 1.0}), 0.0)
    payloads = [msgspec.msgpack.encode(alert), encode(UP_HEALTH, health(view))]
    assert all(b"MARKER" not in payload and b"17.3" not in payload for payload in payloads)


def test_what_is_made_is_always_of_its_closed_schema(view: DeviceView) -> None:
    view.status(Status(process="runtime-safety", state=State.ACTIVE, rss_mb=81.234), 0.0)
    view.insight(
        Insight(
            pipeline="p", model="m", version="1", window_s=10, inputs=200, results=200, late=1, dropped={"expired": 2},
            gaps=0, verdicts={"ok": 190, "nok": 10}, p50_ms=0.4, p99_ms=1.1, max_ms=3, score_mean=0.5, time_ns=1,
        ),
        0.0,
    )  # fmt: skip
    view.slot(Slot(model="m", version="1", digest="ab", phase="active"))
    made = decode(UP_HEALTH, Health, encode(UP_HEALTH, health(view)))
    assert made.pipelines[0].rate_hz == 20.0
    assert made.reasons == ["deadlines_missed"]
    assert decode(UP_MODELS, Models, encode(UP_MODELS, view.models(1))).models[0].model == "m"


@pytest.mark.parametrize(
    ("level", "state", "reasons"),
    [
        ("ok", "ok", []),
        ("inputs_changed", "ok", ["inputs_changed"]),
        ("model_degraded", "degraded", ["model_degraded"]),
    ],
)
def test_a_watch_s_level_leaves_as_a_code_without_its_figures(
    view: DeviceView, level: str, state: str, reasons: list[str]
) -> None:
    drift = Drift(level=level, learned=True, signals={"MARKER": DriftSignal(value=17.3, score=2.0)})
    view.insight(
        Insight(
            pipeline="p", model="m", version="1", window_s=10, inputs=1, results=1, late=0, dropped={}, gaps=0,
            verdicts={}, p50_ms=0.4, p99_ms=1.1, max_ms=3, score_mean=0.5, time_ns=1, drift=drift,
        ),
        0.0,
    )  # fmt: skip
    said = health(view)
    assert (said.state, said.reasons) == (state, reasons)
    assert b"MARKER" not in encode(UP_HEALTH, said)
