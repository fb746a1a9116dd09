"""How a simulated plant is asked and disturbed: one line of JSON each way over a unix socket.

Requests: `{"do": "state"}`,
`{"do": "fault", "kind": "cut|slow|garbage|wrong-type|freeze", "source": "modbus|s7|rtu|camera", "for_s": 5}`,
`{"do": "disturb", "kind": "overheat|jam|fill_drift|imbalance|bearing|looseness", "severity": 1}`, `{"do": "rearm"}`,
`{"do": "passed", "after": 7}`, `{"do": "clear"}`.
The answer is the plant's state, to `passed` the parts that the ejector let go by and when, or `{"error": "..."}`.
"""

from __future__ import annotations

import asyncio
import json
import socket
from collections.abc import Callable
from pathlib import Path
from typing import cast

from schemas.errors import StartError

State = dict[str, object]
_MAX_LINE = 65_536


def ask(path: Path, request: dict[str, object], timeout_s: float = 3.0) -> State:
    """Send one request to a running plant and return its state.

    Raises:
        StartError: no plant listens there, or it refused the request.
    """
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as link:
            link.settimeout(timeout_s)
            link.connect(str(path))
            link.sendall(json.dumps(request).encode() + b"\n")
            with link.makefile("rb") as lines:
                answer = _object(lines.readline(_MAX_LINE))
    except (OSError, ValueError) as error:
        raise StartError(
            f"{path}: no simulated plant answers ({error}); start one with `plantedge sim plant`"
        ) from error
    if "error" in answer:
        raise StartError(f"the simulated plant refused {request.get('do')}: {answer['error']}")
    return answer


def read_state(path: Path) -> State:
    """Return all counters and the state of a running plant."""
    return ask(path, {"do": "state"})


def read_passed(path: Path, after: int = 0) -> list[tuple[int, float]]:
    """Return the parts with ids over `after` that the ejector let go by, with when, in seconds of CLOCK_MONOTONIC.

    The plant remembers the last 2,048.
    """
    found = cast(list[tuple[int, float]], ask(path, {"do": "passed", "after": after})["passed"])
    return [(part_id, at_s) for part_id, at_s in found]


def send_fault(path: Path, kind: str, for_s: float, source: str = "modbus") -> State:
    """Break a cable (`cut`, `slow`, `garbage`) or spoil a face (`wrong-type`, `freeze`) for some seconds."""
    return ask(path, {"do": "fault", "kind": kind, "for_s": for_s, "source": source})


def send_disturbance(path: Path, kind: str, severity: float = 1.0) -> State:
    """Begin a fault of the line (overheat, jam, fill_drift) or of its gearbox (imbalance, bearing, looseness)."""
    return ask(path, {"do": "disturb", "kind": kind, "severity": severity})


def send_rearm(path: Path) -> State:
    """Press the operator's reset."""
    return ask(path, {"do": "rearm"})


def send_clear(path: Path) -> State:
    """Mend all cables and faces, and end the process fault."""
    return ask(path, {"do": "clear"})


async def serve_control(path: Path, answer: Callable[[dict[str, object]], State]) -> asyncio.Server:
    """Serve requests on a unix socket; what `answer` raises as ValueError goes back as the error."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            async with asyncio.timeout(5.0):
                line = await reader.readline()
            writer.write(json.dumps(_answered(line, answer)).encode() + b"\n")
            await writer.drain()
        except (OSError, ValueError, TimeoutError):
            pass  # a client that sends no line gets no answer
        finally:
            writer.close()

    _make_room(path)
    return await asyncio.start_unix_server(serve, str(path))


def _make_room(path: Path) -> None:
    """Make the folder and remove the socket that a killed plant left."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.unlink(missing_ok=True)


def _object(line: bytes) -> State:
    """Return one line of JSON, which has to be an object; raises ValueError."""
    found = json.loads(line)
    if not isinstance(found, dict):
        raise ValueError("requests and answers are one JSON object on one line")
    return cast(State, found)


def _answered(line: bytes, answer: Callable[[dict[str, object]], State]) -> State:
    try:
        return answer(_object(line))
    except ValueError as error:
        return {"error": str(error)}
