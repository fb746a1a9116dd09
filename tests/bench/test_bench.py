"""The benchmarks' own arithmetic: what is counted, dropped and compared, against real sockets."""

import contextlib
import json
import re
import socket
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from tests.bench import shown
from tests.bench.__main__ import names
from tests.bench.clients import Client, OverHttp
from tests.bench.closed_loop import WARM_UP, Loop
from tests.bench.duel import Truth
from tests.bench.lanes import DEADLINE_MS, _judged
from tests.bench.peer_install import PEERS, Absent
from tests.bench.players import Plan
from tests.bench.plc import nested
from tests.bench.plc_isolation import AGAIN, PERIOD_MS, QUIET, STATES, Grid, Isolated
from tests.bench.plc_players import FAULTS, WELL, Plc
from tests.bench.plc_scan import Match, Scanned, Side, modbus
from tests.bench.windows import Rounds, Window, interleave, p50, per_second
from tests.edge.small_models import SHAPE, write_classifier

pytestmark = pytest.mark.alone

HERE = Path(__file__).resolve().parent


def _window(us: list[float], seconds: float = 1.0) -> Window:
    return Window(np.array(us), seconds, len(us))


def test_figures_are_medians_over_rounds_and_ratios_are_taken_within_a_round():
    rounds = Rounds(tuple({"a": _window([x]), "b": _window([x * y])} for x, y in ((1, 2), (10, 2), (100, 5))), 0, 0.0)
    assert rounds.median("a", p50) == 10
    assert rounds.ratio("b", "a", p50) == 2


@pytest.mark.slow
def test_contestants_take_turns_in_changing_order():
    order: list[str] = []

    def take(name: str) -> Window:
        order.append(name)
        return _window([1.0, 2.0], 0.5)

    rounds = interleave({name: lambda name=name: take(name) for name in "ab"}, 2)
    assert len(rounds.kept) == 2
    assert order[-4:] in (list("abba"), list("baab"))
    assert rounds.median("a", per_second) == 4


def _http_server(answer: bytes) -> tuple[socket.socket, int]:
    """A server that answers each request of up to 64 KiB with `answer`."""
    server = socket.create_server(("127.0.0.1", 0))

    def serve(link: socket.socket) -> None:
        data = b""
        with link:
            while part := link.recv(65_536):
                data += part
                head = data.find(b"\r\n\r\n")
                if head < 0:
                    continue
                size = int(re.search(rb"Content-Length: (\d+)", data)[1])
                if len(data) >= head + 4 + size:
                    data = data[head + 4 + size :]
                    link.sendall(answer[:20])  # in two parts: the client has to put them together
                    link.sendall(answer[20:])

    def accept() -> None:
        while True:
            try:
                link, _ = server.accept()
            except OSError:
                return
            threading.Thread(target=serve, args=(link,), daemon=True).start()

    threading.Thread(target=accept, daemon=True).start()
    return server, server.getsockname()[1]


@pytest.fixture
def images(tmp_path: Path) -> Path:
    path = tmp_path / "images.npy"
    np.save(path, np.linspace(0, 255, 4 * 192).astype(np.uint8).reshape(4, *SHAPE))
    return path


def _reply(body: bytes, status: str = "200 OK") -> bytes:
    return f"HTTP/1.1 {status}\r\ncontent-length: {len(body)}\r\n\r\n".encode() + body


@contextlib.contextmanager
def _loop(answer: bytes, images: Path) -> Iterator[Loop]:
    """A closed loop against a server that answers with `answer`."""
    server, port = _http_server(answer)
    transport = OverHttp({"port": port, "path": "/", "headers": "", "images": str(images)})
    with server, contextlib.closing(transport):
        yield Loop(transport)


@pytest.mark.parametrize("in_flight", [1, 16])
@pytest.mark.slow
def test_a_closed_loop_counts_each_answer_once(images: Path, in_flight: int):
    with _loop(_reply(np.array([0.25, 0.75], "<f4").tobytes()), images) as loop:
        told = loop.window(in_flight, 0.2)
        assert told["sent"] == len(told["us"]) > in_flight
        assert (told["dropped"], told["lost"]) == (0, 0)
        assert loop.window(in_flight, 0.0)["sent"] == in_flight, "what is on its way at the end is waited for"
        assert all(probabilities == [0.25, 0.75] for _, probabilities in told["sample"])
    assert WARM_UP > 0


def test_an_answer_that_is_no_result_is_no_request_served(images: Path):
    with _loop(_reply(b"busy", "503 Busy"), images) as loop:
        told = loop.window(2, 0.1)
    assert not told["us"]
    assert told["dropped"] == told["sent"] > 0


@pytest.mark.slow
def test_a_client_is_a_program_that_takes_orders_by_lines(images: Path):
    server, port = _http_server(_reply(np.array([0.5, 0.5], "<f4").tobytes()))
    with server:
        client = Client({"kind": "http", "port": port, "path": "/", "headers": "", "images": str(images)})
        try:
            window, sample = client.window(4, 0.2)
        finally:
            client.close()
    assert window.sent == len(window.us) > 0
    assert sample


def test_a_peer_that_answers_differently_is_found(tmp_path: Path, images: Path):
    truth = Truth(write_classifier(tmp_path) / "model.onnx", images)
    bright = [float(picture.mean()) / 255 for picture in np.load(images)]
    truth.check("honest", [(n, [1 - share, share]) for n, share in enumerate(bright)])
    with pytest.raises(Absent, match="liar"):
        truth.check("liar", [(3, [1.0, 0.0])])
    with pytest.raises(Absent, match="no answer"):
        truth.check("silent", [])


def test_a_fail_safe_is_missed_where_the_plc_has_nothing_in_time_or_lets_a_bad_part_pass():
    sent_ns = np.zeros(8, np.int64)
    in_time, late = int(DEADLINE_MS * 1e6) - 1, int(DEADLINE_MS * 1e6) + 1
    latched = {1: (in_time, False), 2: (late, False), 4: (in_time, True), 5: (in_time, True)}
    plan = Plan(False, 1, 5, 100.0, bad_every=4)
    window = _judged(plan, latched, sent_ns, 1.0)
    assert window.notes == {"passed": 2, "failsafes": 2, "missed": 2, "never": 1}, "2 came late, 3 never"
    assert _judged(plan, latched | {4: (in_time, False)}, sent_ns, 1.0).notes["missed"] == 3


def test_the_last_line_is_json_of_significant_digits(capsys: pytest.CaptureFixture[str]):
    shown.finish({"a": 1234.5678, "b": [float("inf"), 3], "c": {"d": 0.000123456}})
    assert json.loads(capsys.readouterr().out) == {"a": 1235.0, "b": [None, 3], "c": {"d": 0.0001235}}


def test_scans_are_told_by_protocol_and_the_first_floor_is_the_one_that_counts():
    taken = {"ours": _window([3, 3, 30]), "raw": _window([2, 2, 2]), "decoded": _window([6, 6, 6])}
    scanned = Scanned("S7", Rounds((taken,), 0, 0.0), ("raw", "decoded"))
    told = nested({"modbus 100": scanned.figures, "modbus 1000": scanned.figures, "s7": scanned.figures})
    assert told["modbus"].keys() == {"100", "1000"}
    assert (told["s7"]["ratio_p50"], told["s7"]["ratio_decoded_p50"]) == (1.5, 0.5)
    assert told["s7"]["steal"] == [0.0]


def test_a_floor_that_reads_something_else_is_found():
    match = Match("S7", {"ours": Side(lambda: [1, 2]), "raw": Side(lambda: [1, 3])})
    with pytest.raises(RuntimeError, match="raw reads"):
        match.agree()


@pytest.mark.slow
def test_connector_and_bare_library_read_the_same_registers():
    with modbus(130) as match:
        match.agree()
        scanned = match.fight(1, 0.05, lambda: None)
    assert scanned.floors == ("raw",)
    assert scanned.figures["ratio_p50"] > 0


def test_jitter_is_how_long_after_its_point_of_a_grid_that_does_not_drift_a_scan_begins():
    grid, period_ns = Grid(), int(PERIOD_MS * 1e6)
    starts = [0, period_ns + 70, 2 * period_ns + 30, 5 * period_ns + 10, 6 * period_ns]
    assert [grid.late_ns(1_000 + start) for start in starts] == [0, 70, 30, 2 * period_ns + 10, 0]
    assert grid.missed == 2, "of a scan that comes two points late"


def test_the_worst_fault_is_what_isolation_is_judged_by():
    late_us = {state: 100.0 + 10 * number for number, state in enumerate(STATES)} | {AGAIN: 100.0}
    windows = {state: replace(_window([us] * 9), notes={"busy": 0.1}) for state, us in late_us.items()}
    figures = Isolated(Rounds((windows,), 0, 0.0), realtime=True).figures
    worst = max(late_us.values())
    assert figures["isolation_jitter_ratio"] == pytest.approx(worst / 100)
    assert figures["isolation_noise_ratio"] == 1
    assert figures["isolation_worst_p99_share_of_period"] == pytest.approx(worst / 20_000)
    assert figures["isolation"].keys() == set(STATES) >= {QUIET, *FAULTS}


def _asked(port: int, within_s: float) -> bytes:
    """What a PLC answers to a read of two registers."""
    with socket.create_connection(("127.0.0.1", port), timeout=within_s) as link:
        link.sendall(b"\0\1\0\0\0\6\1\3\0\0\0\2")
        return link.recv(64)


@pytest.mark.slow
def test_a_plc_of_the_benchmark_falls_ill_as_told_and_is_well_again():
    plc = Plc(lambda: 7)
    for fault in FAULTS:
        well = _asked(plc.port, 2)
        assert well == b"\0\1\0\0\0\7\1\3\4\0\7\0\7"
        plc.turn(fault)
        if fault == "garbled":
            assert _asked(plc.port, 2) != well
        else:
            with pytest.raises((TimeoutError, ConnectionRefusedError)):
                _asked(plc.port, 0.1)
        plc.turn(WELL)


def test_every_benchmark_runs_itself_and_says_what_it_does():
    assert {"e2e", "serve", "lanes", "device", "reload", "plc"} <= set(names())
    for name in names():
        assert (HERE / f"{name}.py").read_text(encoding="utf-8").startswith('"""'), name


def test_peers_are_pinned():
    for name in ("mlserver", "litserve", "bentoml"):
        pins = (PEERS / f"{name}.txt").read_text().splitlines()
        assert pins[0].startswith("# Locked")
        assert all("==" in line for line in pins[1:])
    wanted = json.loads((PEERS / "package.json").read_text())["dependencies"]
    assert all(version[0].isdigit() for version in wanted.values())
    assert json.loads((PEERS / "package-lock.json").read_text())["packages"][""]["dependencies"] == wanted
