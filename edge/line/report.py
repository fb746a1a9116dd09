"""The figures of one `plantedge up`: counted from real messages and the plant's own counters, written as JSON."""

from __future__ import annotations

from pathlib import Path

import msgspec

from edge.line.ground import Ground
from edge.line.parts_count import Parts, PartsCount
from edge.line.plan import MES
from edge.line.tally import Tally
from edge.line.timeline import Timeline
from edge.process import resident_mb
from edge.settings import Hmi, Settings
from edge.supervision.run_state import command_name, of_home, shortened
from edge.supervision.supervisor import Supervisor


class Report(msgspec.Struct, frozen=True, kw_only=True):
    """What was measured from ready on. p50 and p99: trigger to published result, of the pipelines that have outputs.

    `actuated_*`: trigger to the output that the PLC acknowledged. `dropped` is what came too late or was too much,
    `bad_input` what held Bad values. `parts` and what became of them are the plant's own figures: `failsafe_parts` got
    the fail-safe of a device that was not armed, `undecided` were rejected by the PLC without a word of the device; the
    rejects and misses are the device's verdicts.
    `upstream_bytes` counts the handshakes too, `upstream_bytes_per_day` extrapolates from ready on. None: not measured.
    """

    ready_s: float | None
    seconds: float
    results: int
    late: int
    dropped: int
    bad_input: int
    lost: int
    p50_ms: float | None
    p99_ms: float | None
    actuated_p50_ms: float | None
    actuated_p99_ms: float | None
    outputs: int
    failsafe_outputs: int
    parts: int
    correct_rejects: int
    missed_rejects: int
    false_rejects: int
    undecided: int
    failsafe_parts: int
    opcua_url: str
    mqtt_url: str
    dashboard_url: str
    upstream_bytes: int | None
    upstream_bytes_per_day: int | None
    rss_mb: dict[str, float]
    restarts: dict[str, int]
    realtime: dict[str, bool]
    before_ready: dict[str, int]
    stages: dict[str, float]


def make_report(ground: Ground, supervisor: Supervisor, tally: Tally, parts: PartsCount, timeline: Timeline) -> Report:
    """Measure now."""
    urls = urls_of(ground)
    children = supervisor.state().children
    done = parts.now() or Parts()
    total, actuated = tally.deciding(ground.settings.outputs), tally.actuated
    return Report(
        ready_s=timeline.stages.get("ready"), seconds=round(tally.seconds, 3), results=tally.results, late=tally.late,
        dropped=tally.dropped, bad_input=tally.bad, lost=tally.lost, p50_ms=rounded(total.at(0.5)),
        p99_ms=rounded(total.at(0.99)),
        actuated_p50_ms=rounded(actuated.at(0.5)), actuated_p99_ms=rounded(actuated.at(0.99)), outputs=tally.outputs,
        failsafe_outputs=tally.failsafe, parts=done.parts, correct_rejects=done.correct_rejects,
        missed_rejects=done.missed_rejects, false_rejects=done.false_rejects, undecided=done.undecided,
        failsafe_parts=done.failsafe,
        opcua_url=urls["OPC UA"], mqtt_url=urls["MQTT"], dashboard_url=urls.get("dashboard", ""),
        upstream_bytes=tally.upstream_bytes,
        upstream_bytes_per_day=tally.upstream_bytes_per_day,
        rss_mb={child.name: child.rss_mb for child in children} | {"up": round(resident_mb(), 1)},
        restarts={child.name: child.restarts for child in children},
        realtime={child.name: child.realtime for child in children if child.realtime is not None},
        before_ready=tally.before | {"parts": parts.before.parts}, stages=timeline.stages,
    )  # fmt: skip


def write_report(path: Path, report: Report) -> None:
    """Write a report as JSON."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(msgspec.json.format(msgspec.json.encode(report)) + b"\n")


def urls_of(ground: Ground) -> dict[str, str]:
    """Return where a person finds the device; the login links of dashboard and operators' page work once."""
    broker = ground.settings.broker
    found = {
        "OPC UA": ground.settings.opcua.endpoint,
        "MQTT": f"mqtt://{MES}@{broker.host}:{broker.port}",
        "metrics": f"{monitor_url(ground.settings)}/metrics",
    }
    if ground.settings.hmi is not None:
        found["operators"] = ground.operators or operator_url(ground.settings.hmi)
    file = ground.fleet.read() if ground.fleet else None
    return found | ({"dashboard": file.login} if file else {})


def monitor_url(settings: Settings) -> str:
    """Return where the monitor is reached from this machine."""
    return _url(settings.monitor.host, settings.monitor.port)


def operator_url(hmi: Hmi) -> str:
    """Return where the operators' page is reached from this machine."""
    return _url(hmi.host, hmi.port)


def _url(host: str, port: int) -> str:
    host = "127.0.0.1" if host in ("0.0.0.0", "::", "") else host  # noqa: S104 - compared, not bound
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def notes_of(ground: Ground) -> dict[str, str]:
    """Return what a person needs to know beside an address."""
    credentials, found = ground.settings.broker.credentials, dict[str, str]()
    if credentials:
        found["MQTT"] = f"password of {MES} in {shortened(ground.home / credentials)}"
    if ground.settings.hmi is not None and not ground.operators:
        found["operators"] = f"`{command_name()} hmi{of_home(ground.work)}` prints a link that logs in"
    return found


def rounded(value: float | None) -> float | None:
    """Return milliseconds as a person reads them."""
    return None if value is None else round(value, 3)
