"""The supervisor with real children: each test ends them, and looks for what it might have left."""

import asyncio
import contextlib
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import msgspec
import psutil
import pytest

from edge.supervision import child, spawn
from edge.supervision.child import Command
from edge.supervision.run_state import Phase, RunState, log_file, own_state, read_state, state_file
from edge.supervision.supervisor import Supervisor, already_running
from schemas.errors import StartError

pytestmark = pytest.mark.alone

NOTIFY = """
import os, signal, socket, sys, time
def say(state):
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as s:
        s.sendto(state.encode(), "\\0" + os.environ["NOTIFY_SOCKET"][1:])
say("READY=1")
"""
STEADY = NOTIFY + "while True: say('WATCHDOG=1'); time.sleep(0.05)"


def program(code: str) -> tuple[str, ...]:
    return (sys.executable, "-I", "-S", "-c", code)


def marked(work: Path) -> list[int]:
    """Every process that was started below a work folder and still runs."""
    found = []
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error):
            if process.environ().get("PLANTEDGE_RUN") == str(work) and process.status() != psutil.STATUS_ZOMBIE:
                found.append(process.pid)
    return found


def all_gone(work: Path, timeout_s: float = 5.0) -> None:
    """Wait until nothing below a work folder runs: SIGKILL takes its moment."""
    deadline = time.monotonic() + timeout_s
    while left := marked(work):
        assert time.monotonic() < deadline, f"still running: {left}"
        time.sleep(0.02)


@pytest.fixture
async def supervisor(tmp_path: Path) -> AsyncIterator[Supervisor]:
    async with Supervisor(tmp_path) as running:
        yield running
    assert marked(tmp_path) == []


async def test_commands_start_in_order_of_readiness(supervisor: Supervisor, tmp_path: Path) -> None:
    order = tmp_path / "order"
    note = f"open({str(order)!r}, 'a').write(sys.argv[1] + '\\n'); "
    supervisor.apply(
        [
            Command(
                name="third", argv=(*program(NOTIFY + note + "time.sleep(60)"), "third"), after=("second", "first")
            ),
            Command(name="second", argv=(*program(NOTIFY + note + "time.sleep(60)"), "second"), after=("first",)),
            Command(
                name="first",
                argv=(*program("import time; time.sleep(0.3)" + NOTIFY + note + "time.sleep(60)"), "first"),
            ),
        ]
    )
    assert await supervisor.until(supervisor.ready, 10)
    assert await supervisor.until(lambda: order.read_text().split() == ["first", "second", "third"], 1)
    assert [state.phase for state in supervisor.state().children] == [Phase.READY] * 3


async def test_a_child_that_dies_while_it_is_probed_is_started_again(
    supervisor: Supervisor, monkeypatch: pytest.MonkeyPatch
) -> None:
    # asyncio.wait_for of Python 3.11 loses a cancellation that comes as its work ends: the probe went on for ever.
    monkeypatch.setattr(child, "PROBE_S", 0.0)

    async def refused() -> bool:
        await asyncio.sleep(0)
        raise ConnectionRefusedError

    supervisor.apply([Command(name=f"c{number}", argv=("/bin/false",), probe=refused) for number in range(12)])
    assert await supervisor.until(lambda: all(one.failures for one in supervisor.children.values()), 10), [
        (name, one.phase) for name, one in supervisor.children.items()
    ]


async def test_a_crashed_child_is_started_again_with_growing_pauses(supervisor: Supervisor, tmp_path: Path) -> None:
    starts = tmp_path / "starts"
    supervisor.apply(
        [
            Command(
                name="c",
                argv=program(f"import time; open({str(starts)!r}, 'a').write(f'{{time.monotonic()}}\\n'); 1/0"),
            )
        ]
    )
    assert await supervisor.until(lambda: supervisor.children["c"].restarts >= 3, 10)
    assert supervisor.children["c"].failures >= 3
    assert supervisor.children["c"].reason == "ended with exit status 1"
    at = [float(line) for line in starts.read_text().split()]
    assert at[1] - at[0] >= 0.2
    assert at[2] - at[1] >= 0.4
    assert "ZeroDivisionError" in "\n".join(spawn.last_lines(log_file(tmp_path, "c")))


async def test_a_child_that_cannot_use_its_settings_is_not_started_at_full_speed(supervisor: Supervisor) -> None:
    supervisor.apply([Command(name="c", argv=program("import sys; sys.exit(78)"))])
    assert await supervisor.until(lambda: supervisor.children["c"].phase is Phase.BACKOFF, 5)
    assert supervisor.children["c"].reason == "its settings can't be used"
    assert not await supervisor.until(lambda: supervisor.children["c"].restarts > 1, 0.5)


async def test_a_program_that_is_not_there_is_told(supervisor: Supervisor) -> None:
    supervisor.apply([Command(name="c", argv=("/nowhere/broker",))])
    assert await supervisor.until(lambda: supervisor.children["c"].restarts > 0, 5)
    assert "/nowhere/broker" in supervisor.children["c"].reason


async def test_a_killed_child_is_started_again_and_ready(supervisor: Supervisor) -> None:
    supervisor.apply([Command(name="c", argv=program(STEADY))])
    assert await supervisor.until(supervisor.ready, 5)
    first = supervisor.children["c"].pid
    os.kill(first, signal.SIGKILL)
    assert await supervisor.until(lambda: supervisor.ready() and supervisor.children["c"].pid != first, 5)
    assert supervisor.children["c"].reason == "killed by SIGKILL"


@pytest.mark.parametrize("ignores", [False, True], ids=["aborts", "ignores SIGABRT"])
@pytest.mark.slow
async def test_a_hung_child_is_killed_and_started_again(supervisor: Supervisor, tmp_path: Path, ignores: bool) -> None:
    flag = tmp_path / "hung once"
    deaf = "signal.signal(signal.SIGABRT, signal.SIG_IGN); " if ignores else ""
    hang = f"""
if not os.path.exists({str(flag)!r}):
    open({str(flag)!r}, "w"); {deaf}time.sleep(60)
while True: say('WATCHDOG=1'); time.sleep(0.05)"""
    supervisor.apply([Command(name="c", argv=program(NOTIFY + hang), watchdog_s=0.3)])
    assert await supervisor.until(lambda: supervisor.children["c"].restarts == 1 and supervisor.ready(), 10)
    assert supervisor.children["c"].reason == "hung: silent for 0.3 s"
    assert not await supervisor.until(lambda: supervisor.children["c"].restarts > 1, 0.5)


@pytest.mark.slow
async def test_a_stopped_child_counts_as_hung(supervisor: Supervisor) -> None:
    supervisor.apply([Command(name="c", argv=program(STEADY), watchdog_s=0.3)])
    assert await supervisor.until(supervisor.ready, 5)
    os.kill(supervisor.children["c"].pid, signal.SIGSTOP)
    assert await supervisor.until(lambda: supervisor.children["c"].restarts == 1 and supervisor.ready(), 10)


async def test_a_child_that_never_becomes_ready_is_killed(supervisor: Supervisor) -> None:
    supervisor.apply([Command(name="c", argv=program("import time; time.sleep(60)"), start_s=0.3)])
    assert await supervisor.until(lambda: supervisor.children["c"].restarts > 0, 5)
    assert supervisor.children["c"].reason == "not ready within 0.3 s"


async def test_a_probe_says_when_a_foreign_program_is_ready(supervisor: Supervisor) -> None:
    with socket.socket() as chosen:
        chosen.bind(("127.0.0.1", 0))
        port = chosen.getsockname()[1]

    async def probe() -> bool:
        _, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.close()
        return True

    serve = f"import socket, time; time.sleep(0.2); s = socket.create_server(('127.0.0.1', {port})); time.sleep(60)"
    supervisor.apply([Command(name="server", argv=program(serve), probe=probe)])
    assert await supervisor.until(supervisor.ready, 5)


async def test_only_what_changed_is_replaced(supervisor: Supervisor) -> None:
    kept = Command(name="kept", argv=program(STEADY))
    supervisor.apply([kept, Command(name="changed", argv=program(STEADY)), Command(name="gone", argv=program(STEADY))])
    assert await supervisor.until(supervisor.ready, 5)
    before = {name: child.pid for name, child in supervisor.children.items()}
    supervisor.apply(
        [kept, Command(name="changed", argv=program(STEADY), env={"X": "1"}), Command(name="new", argv=program(STEADY))]
    )
    assert await supervisor.until(lambda: supervisor.ready("kept", "changed", "new"), 5)
    after = {name: child.pid for name, child in supervisor.children.items()}
    assert set(after) == {"kept", "changed", "new"}
    assert after["kept"] == before["kept"]
    assert after["changed"] != before["changed"]
    assert not psutil.pid_exists(before["changed"])


async def test_all_stop_within_five_seconds_though_one_is_deaf(tmp_path: Path) -> None:
    deaf = "signal.signal(signal.SIGTERM, signal.SIG_IGN); " + "subprocess.Popen(['sleep', '60']); time.sleep(60)"
    async with Supervisor(tmp_path) as supervisor:
        supervisor.apply(
            [
                Command(name="broker", argv=program(STEADY)),
                Command(name="deaf", argv=program("import subprocess\n" + NOTIFY + deaf), after=("broker",), stop_s=1),
                *(Command(name=f"c{n}", argv=program(STEADY), after=("broker",)) for n in range(6)),
            ]
        )
        assert await supervisor.until(supervisor.ready, 10)
        assert len(marked(tmp_path)) == 9
        started = time.monotonic()
    assert time.monotonic() - started < 5.0
    assert marked(tmp_path) == []


async def test_what_others_come_after_stops_last(tmp_path: Path) -> None:
    order = tmp_path / "order"
    code = (
        NOTIFY
        + f"def end(*_):\n  open({str(order)!r}, 'a').write(sys.argv[1] + '\\n'); sys.exit(0)\n"
        + "signal.signal(signal.SIGTERM, end)\n"
    )
    async with Supervisor(tmp_path) as supervisor:
        supervisor.apply(
            [
                Command(name="broker", argv=(*program(code + "while True: time.sleep(1)"), "broker")),
                Command(name="agent", argv=(*program(code + "while True: time.sleep(1)"), "agent"), after=("broker",)),
                Command(
                    name="runtime", argv=(*program(code + "while True: time.sleep(1)"), "runtime"), after=("agent",)
                ),
            ]
        )
        assert await supervisor.until(supervisor.ready, 10)
        await asyncio.sleep(0.1)  # READY is sent before the handler is set
    assert order.read_text().split() == ["runtime", "agent", "broker"]


async def test_a_child_leaves_no_process_of_its_own(supervisor: Supervisor, tmp_path: Path) -> None:
    code = "import subprocess\n" + NOTIFY + "subprocess.Popen(['sleep', '60']); time.sleep(0.2); os._exit(3)"
    supervisor.apply([Command(name="c", argv=program(code))])
    assert await supervisor.until(lambda: supervisor.children["c"].phase is Phase.BACKOFF, 5)
    await asyncio.to_thread(all_gone, tmp_path)


SUPERVISE = """
import asyncio, sys
from pathlib import Path
from edge.supervision.child import Command
from edge.supervision.supervisor import Supervisor
async def main():
    async with Supervisor(Path(sys.argv[1])) as supervisor:
        argv = (sys.executable, "-I", "-S", "-c", sys.argv[2])
        supervisor.apply([Command(name=f"c{n}", argv=argv) for n in range(3)])
        assert await supervisor.until(supervisor.ready, 10)
        print("ready", flush=True)
        await asyncio.sleep(60)
asyncio.run(main())
"""


@pytest.fixture
def other(tmp_path: Path) -> Iterator["subprocess.Popen[str]"]:
    """Another process that supervises three children in `tmp_path`."""
    argv = [sys.executable, "-c", SUPERVISE, str(tmp_path), STEADY]
    with subprocess.Popen(argv, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        yield process
        process.kill()


def test_a_killed_supervisor_leaves_no_process(tmp_path: Path, other: "subprocess.Popen[str]") -> None:
    assert len(marked(tmp_path)) == 3
    other.kill()
    all_gone(tmp_path)
    assert read_state(tmp_path) is None


async def test_a_folder_has_one_supervisor(tmp_path: Path, other: "subprocess.Popen[str]") -> None:
    with pytest.raises(StartError, match=rf"already running \(process {other.pid}\); `plantedge down` stops it"):
        async with Supervisor(tmp_path):
            pass
    assert len(marked(tmp_path)) == 3


def test_who_holds_the_folder_is_told_with_how_to_end_it(tmp_path: Path) -> None:
    work = tmp_path / "my-line" / ".plantedge"
    other = msgspec.structs.replace(own_state(), pid=7)
    work.parent.mkdir()
    (work.parent / "device.toml").touch()
    assert f"`plantedge down --home {work.parent}` stops it" in already_running(work, other)
    assert "(process 7) is stopping; try again" in already_running(work, msgspec.structs.replace(other, stopping=True))


async def test_a_supervisor_that_ends_says_so(tmp_path: Path) -> None:
    async with Supervisor(tmp_path) as supervisor:
        supervisor.apply([Command(name="slow", argv=("sleep", "60"))])
    state = msgspec.json.decode(state_file(tmp_path).read_bytes(), type=RunState)
    assert state.stopping


def written(work: Path) -> bool:
    state = read_state(work)
    return state is not None and [child.phase for child in state.children] == [Phase.READY]


async def test_the_state_file_tells_who_runs(supervisor: Supervisor, tmp_path: Path) -> None:
    supervisor.apply([Command(name="c", argv=program(STEADY))])
    assert await supervisor.until(supervisor.ready, 5)

    assert await supervisor.until(lambda: written(tmp_path), 5)
    state = read_state(tmp_path)
    assert state is not None
    assert (state.pid, state.children[0].pid) == (os.getpid(), supervisor.children["c"].pid)
    assert state.children[0].rss_mb > 1


async def test_only_the_child_itself_is_heard(supervisor: Supervisor) -> None:
    supervisor.apply([Command(name="c", argv=program("import time; time.sleep(60)"))])
    assert await supervisor.until(lambda: supervisor.children["c"].phase is Phase.STARTING, 5)
    liar = NOTIFY + "print('said')"
    env = {"NOTIFY_SOCKET": supervisor._notify.address}
    said = await asyncio.create_subprocess_exec(*program(liar), env=env, stdout=subprocess.DEVNULL)
    assert await said.wait() == 0
    assert not await supervisor.until(supervisor.ready, 0.3)


async def test_priority_is_given_where_the_kernel_permits_it(supervisor: Supervisor) -> None:
    supervisor.apply([Command(name="c", argv=program(STEADY), fifo=5)])
    assert await supervisor.until(supervisor.ready, 5)
    state = supervisor.children["c"].state()
    policy = os.sched_getscheduler(state.pid)
    assert state.realtime is (policy == os.SCHED_FIFO)


async def test_who_may_wait_yields_once_it_is_ready(supervisor: Supervisor) -> None:
    supervisor.apply([Command(name="c", argv=program(STEADY), nice=7)])
    assert await supervisor.until(supervisor.ready, 5)
    assert os.getpriority(os.PRIO_PROCESS, supervisor.children["c"].state().pid) == 7


def test_a_log_is_bounded_while_its_writer_goes_on(tmp_path: Path) -> None:
    log = tmp_path / "c.log"
    with log.open("ab", buffering=0) as writer:
        writer.write(b"old\n" * 100)
        assert spawn.rotate(log, limit=300)
        writer.write(b"new\n")
        assert not spawn.rotate(log, limit=300)
    assert log.read_bytes() == b"new\n"
    assert (tmp_path / "c.log.1").read_bytes() == b"old\n" * 100


def test_exit_statuses_in_words() -> None:
    assert child.ended(-9) == "killed by SIGKILL"
    assert child.ended(3) == "ended with exit status 3"
