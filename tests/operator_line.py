"""The operators' page of a real process; the test plays camera, runtime and PLC on a real broker."""

import asyncio
import itertools
import json
import time
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import numpy as np

from edge.commands.operator_page import login_link
from edge.host.clock import boot_id
from edge.security.passwords import hash_password
from edge.settings import load_settings
from schemas.messages import Frame, Output, State, Status, Verdict
from schemas.topics import EVENT, FRAME, OUTPUT, RESULT, STATUS
from tests.device import Device, Heard, User
from tests.edge.operator_page.messages import result

USERS = ("hmi", "runtime-safety", "camera-cam1", "connect-plant", "historian")
SETTINGS = """
[sources.plant]
driver = "modbus"
tags = "tags/plant.csv"
groups = {{ slow = 100 }}
[outputs.inspect]
source = "plant"
verdict = "Reject"
[cameras.cam1]
driver = "folder"
address = "pictures"
[pipelines.inspect]
lane = "safety"
model = "caps"
input = {{ frames = "cam1" }}
deadline_ms = 50
decision = {{ reject = ["scratch"] }}
[hmi]
port = {port}
users = "users.json"
ideal_per_min = 120
stopped_after_s = 20
"""


@dataclass
class Line:
    """A device whose page runs; the test plays the processes that feed it."""

    device: Device
    port: int
    users: dict[str, User] = field(default_factory=dict[str, User])
    events: Heard | None = None
    lost: str = ""  # why the PLC can't be reached
    seq: "itertools.count[int]" = field(default_factory=lambda: itertools.count(1))

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def link(self) -> str:
        return login_link(self.device.home, load_settings(self.device.home), "ann")

    async def up(self) -> None:
        """Start the page and wait until it answers."""
        self.device.start("hmi")
        end = time.monotonic() + 30
        async with httpx.AsyncClient(trust_env=False) as http:
            while True:
                try:
                    if (await http.get(self.url + "/api/v1/session")).status_code == 401:
                        return
                except httpx.TransportError:
                    pass
                assert time.monotonic() < end, self.device.log("hmi")
                await asyncio.sleep(0.05)

    def part(self, verdict: Verdict = Verdict.OK, *, seen: bool = True, **other: Any) -> str:
        """One part passes: its frame if it was `seen`, its result, its output. Returns the result's id."""
        seq = next(self.seq)
        made = result(seq, verdict, **other)
        shade = 200 if verdict is Verdict.OK else 90
        pixels = np.full((64, 64, 3), shade, np.uint8)
        pixels[20:44, 20:44] = (180, 40, 40) if verdict is Verdict.NOK else (60, 140, 200)
        frame = Frame(
            stream="cam1", part_id=made.part_id or 0, boot=boot_id(), trigger_ns=time.monotonic_ns(),
            time_ns=time.time_ns(), shape=pixels.shape, dtype="uint8", data=memoryview(pixels.tobytes()), epoch=1,
            seq=seq,
        )  # fmt: skip
        output = Output(
            pipeline="inspect", result_id=made.result_id, part_id=made.part_id, verdict=verdict, failsafe=False,
            actuate_ms=2, total_ms=8, late=False, time_ns=time.time_ns(), epoch=1, seq=seq,
        )  # fmt: skip
        if seen:
            self.users["camera-cam1"].say(FRAME, frame, stream="cam1")
        self.users["runtime-safety"].say(RESULT, made, pipeline="inspect")
        self.users["connect-plant"].say(OUTPUT, output, pipeline="inspect")
        return made.result_id

    async def parts(self, *verdicts: Verdict) -> list[str]:
        """Parts pass, slowly enough for a frame to be there before its result."""
        found = []
        for verdict in verdicts:
            found.append(self.part(verdict))
            await asyncio.sleep(0.02)
        return found

    async def told(self, http: httpx.AsyncClient, wanted: Callable[[dict[str, Any]], bool]) -> dict[str, Any]:
        """Read the event stream until a snapshot is the wanted one."""
        station: dict[str, Any] = {}
        async with asyncio.timeout(20), http.stream("GET", "/api/v1/events") as answer:
            async for line in answer.aiter_lines():
                if line.startswith("data: "):
                    station = json.loads(line[6:])["stations"][0]
                    if wanted(station):
                        return station
        raise AssertionError(station)


@asynccontextmanager
async def running(folder: Path, port: int, more: str = "") -> AsyncIterator[Line]:
    """The page of a device, whose other processes say that they are well; `more`: settings of the page, and tables."""
    device = Device(folder, USERS)
    device.add("device.toml", SETTINGS.format(port=port) + more)
    device.write("tags/plant.csv", "name,address,type,access,group\nReject,coil:0,bool,rw,slow\n")
    device.write("users.json", json.dumps({"bob": hash_password("password of bob")}))
    line = Line(device, port)
    with device.running():
        async with AsyncExitStack() as stack, asyncio.TaskGroup() as tasks:
            for name in ("runtime-safety", "camera-cam1", "connect-plant", "historian"):
                line.users[name] = await stack.enter_async_context(device.user(name))
            line.events = await line.users["historian"].hear(EVENT)
            playing = tasks.create_task(play(line))
            await line.up()
            yield line
            playing.cancel()


async def play(line: Line) -> None:
    """Say that they are well, again and again: silence is no health."""
    for seq in itertools.count(1):
        for name, wrong in (("runtime-safety", ""), ("connect-plant", line.lost)):
            state = State.DEGRADED if wrong else State.ACTIVE
            said = Status(process=name, state=state, reason=wrong, epoch=1, seq=seq, time_ns=time.time_ns())
            line.users[name].say(STATUS, said, process=name)
        await asyncio.sleep(1.0)
