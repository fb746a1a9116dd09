"""What a person sees of a running device, on terminals of any size."""

import shutil
from pathlib import Path

import pytest
from rich.console import Console

import edge
from edge.line.demo import DemoPorts
from edge.line.ground import Ground
from edge.line.parts_count import Parts, PartsCount
from edge.line.picture import Picture
from edge.line.tally import Tally
from edge.settings import load_settings
from edge.supervision.child import Child, Command
from edge.supervision.run_state import Phase
from edge.supervision.supervisor import Supervisor
from schemas.messages import Latency, Outcome, Quality, Result, State, Status, Verdict

DEMO = Path(edge.__file__).parent / "sim" / "demo"
WHY = "127.0.0.1:5020: no usable answer (Modbus Error: [Input/Output] No response received after 0 retries)"


def result(seq: int, outcome: Outcome = Outcome.RESULT, reason: str = "") -> Result:
    return Result(
        result_id=f"r{seq}", pipeline="line_anomaly", input="plant", source_epoch=1, source_seq=seq, part_id=None,
        outcome=outcome, verdict=Verdict.OK, label="normal", score=0.1, scores={}, quality=Quality.GOOD, reason=reason,
        latency=Latency(ingest=1, queue=1, preprocess=1, infer=1, total=4), deadline_ms=500.0, model="line_anomaly",
        version="1", digest="", time_ns=1,
    )  # fmt: skip


def status(process: str, state: State, reason: str = "") -> Status:
    return Status(
        process=process, state=state, reason=reason, pid=1, boot="b", uptime_s=1.0, rss_mb=44.0, clock_synced=True,
        clock_offset_ms=0.0, config={}, counters={}, time_ns=1,
    )  # fmt: skip


def ground(folder: Path, *, demo: bool) -> Ground:
    home = Path(shutil.copytree(DEMO, folder / "my-line"))
    text = (home / "device.toml").read_text() + '\n[broker]\ncredentials = "run/broker/credentials.json"\n'
    (home / "device.toml").write_text(text)
    ports = DemoPorts(broker=1883, modbus=5020, camera=5021, opcua=4840, monitor=8002, hmi=8003) if demo else None
    return Ground(
        work=home / ".plantedge", home=home, settings=load_settings(home), port=1883, own_broker=True, demo=ports
    )


def picture(folder: Path, *, demo: bool) -> Picture:
    found = ground(folder, demo=demo)
    supervisor = Supervisor(found.work, found.home)
    supervisor.about.urls.update({"MQTT": "mqtt://mes@127.0.0.1:1883"})
    return Picture(found, supervisor, Tally(found.settings), PartsCount(found))


def seen(picture: Picture, columns: int, lines: int) -> list[str]:
    console = Console(width=columns, height=lines, force_terminal=False)
    with console.capture() as captured:
        console.print(picture.table(columns, lines))
    return captured.get().splitlines()


def feed(tally: Tally, *results: Result) -> None:
    for one in results:
        tally._on_result(one, None)  # type: ignore[arg-type]  # how it came does not matter here


@pytest.mark.parametrize("columns", [80, 120])
def test_no_column_is_lost(tmp_path: Path, columns: int) -> None:
    shown = picture(tmp_path, demo=True)
    feed(shown.tally, *(result(seq) for seq in range(10_000)))
    lines = seen(shown, columns, 40)
    assert max(map(len, lines)) <= columns
    (heading,) = [line for line in lines if line.startswith("pipeline")]
    assert heading.split() == [
        "pipeline",
        "results",
        "/s",
        "p50",
        "ms",
        "p99",
        "ms",
        "limit",
        "late",
        "dropped",
        "bad",
        "input",
    ]
    assert any(line.split()[:2] == ["line_anomaly", "10000"] for line in lines)


def test_windows_that_held_bad_values_are_no_loss(tmp_path: Path) -> None:
    shown = picture(tmp_path, demo=True)
    feed(
        shown.tally,
        result(1),
        result(2, Outcome.DROPPED, "bad_quality: link_lost"),
        result(3, Outcome.DROPPED, "overload"),
    )
    (line,) = [line for line in seen(shown, 120, 40) if line.startswith("line_anomaly")]
    assert line.split()[-3:] == ["0", "1", "1"]
    assert (shown.tally.dropped, shown.tally.bad) == (1, 1)


def test_the_person_is_told_where_the_password_is(tmp_path: Path) -> None:
    text = " ".join(" ".join(seen(picture(tmp_path, demo=True), 200, 40)).split())
    assert f"password of mes in {tmp_path}/my-line/run/broker/credentials.json" in text


def test_a_device_of_ones_own_is_offered_only_what_it_has(tmp_path: Path) -> None:
    own = picture(tmp_path, demo=False)
    text = "\n".join(seen(own, 200, 40)) + own.line()
    for absent in ("cable", " parts", "rejected rightly", "upstream"):
        assert absent not in text
    assert f"--home {tmp_path}/my-line" in text
    own.cut_cable()
    assert "cable" not in "\n".join(seen(own, 120, 40))


def test_what_was_counted_before_ready_does_not_count(tmp_path: Path) -> None:
    assert Parts(10, 2, 0, 1, 3, 4) - Parts(7, 1, 0, 0, 2, 4) == Parts(3, 1, 0, 1, 1, 0)
    assert str(Parts(3, 1)) == "3 parts: 1 rejected rightly, 0 missed, 0 wrongly, 0 by fail-safe, 0 by the PLC"


def test_a_long_reason_does_not_push_the_other_columns_away(tmp_path: Path) -> None:
    shown = picture(tmp_path, demo=True)
    child = Child(Command(name="connect-plant", argv=("true",)), tmp_path, lambda: None)
    child.phase = Phase.READY
    shown.supervisor.children["connect-plant"] = child
    shown.tally.states["connect-plant"] = status("connect-plant", State.DEGRADED, WHY)
    for columns, lines in ((80, 40), (80, 24)):
        text = seen(shown, columns, lines)
        (row,) = [line for line in text if line.startswith("connect-plant")]
        assert row.split()[:4] == ["connect-plant", "degraded", "0", "0"]
        assert row.rstrip().endswith("…")
        assert any(line.split() == ["process", "state", "MB", "restarts"] for line in text)
    assert f"not well: connect-plant degraded {WHY}" in shown.line()


def test_a_low_terminal_gets_what_fits_on_it(tmp_path: Path) -> None:
    shown = picture(tmp_path, demo=True)
    for name in ("broker", "plant", *(f"camera-{number}" for number in range(12))):
        child = Child(Command(name=name, argv=("true",)), tmp_path, lambda: None)
        child.phase = Phase.READY
        shown.supervisor.children[name] = child
    everything = seen(shown, 80, 60)
    assert any(line.startswith("camera-11") for line in everything)
    for lines in (len(everything), len(everything) - 1, 24):
        text = seen(shown, 80, lines)
        assert len(text) <= lines
        assert (text == everything) is (lines == len(everything))
        assert any(line.startswith("14 others") for line in text) is (lines < len(everything))
