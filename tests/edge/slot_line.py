"""A runtime in the test's own loop, behind a real broker: who plays camera and agent, and what the runtime says.

Nothing of it is simulated but the peers; that it shares the loop saves a second per test. Its slots are
`models/caps/<version>/` of the device, small models of tests/edge/small_models.py.
"""

import asyncio
import os
import shutil
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import numpy as np

from edge import agent as agent_process
from edge import runtime
from edge.host.clock import boot_id
from edge.process import Process
from edge.processes import AGENT, RUNTIME
from edge.settings import load_settings
from schemas.messages import Frame, Proof, Result, Slot
from schemas.topics import DECISION, EVENT, FRAME, RESULT, SLOT_DESIRED, SLOT_STATE, STATUS
from tests.device import Device, User
from tests.edge.small_models import SHAPE

USERS = ("runtime-safety", "runtime-bulk", "camera-cam1", "agent", "historian", "connect-plant", "cli")
LINE = """
[cameras.cam1]
driver = "plant"
address = "127.0.0.1:1"
[pipelines.inspect]
lane = "safety"
model = "caps"
input = { frames = "cam1" }
deadline_ms = 5000
decision = { reject = ["bad"] }
"""


class SlotLine:
    """One line with one pipeline on one model."""

    def __init__(self, device: Device, camera: User, agent: User, historian: User, plc: User) -> None:
        self.device, self.models = device, device.home / "models"
        self._camera, self._agent, self._historian, self._plc = camera, agent, historian, plc
        self._epoch, self.seq = time.time_ns(), 0

    async def listen(self) -> None:
        self.slots = await self._agent.hear(SLOT_STATE)
        self.statuses = await self._agent.hear(STATUS)
        self.results = await self._historian.hear(RESULT)
        self.events = await self._historian.hear(EVENT)
        self.decisions = await self._plc.hear(DECISION)

    def shoot(self, brightness: int = 0, shape: tuple[int, ...] = SHAPE) -> int:
        """Publish a frame; return its seq, which is its part's number."""
        self.seq += 1
        pixels = np.full(shape, brightness, np.uint8)
        frame = Frame(
            stream="cam1", part_id=self.seq, boot=boot_id(), trigger_ns=time.monotonic_ns(), time_ns=0, shape=shape,
            dtype="uint8", data=memoryview(pixels.tobytes()), epoch=self._epoch, seq=self.seq,
        )  # fmt: skip
        self._camera.say(FRAME, frame, stream="cam1")
        return self.seq

    def desire(self, folder: Path, digest: str = "", version: str = "") -> None:
        """Play the agent: this folder, for the model and version that it is named for."""
        slot = Slot(model=folder.parent.name, version=version or folder.name, digest=digest, folder=str(folder))
        self._agent.say(SLOT_DESIRED, slot, model=slot.model)

    async def said(self, phase: str, version: str, process: str = "runtime-safety") -> Slot:
        """Wait for a state that was not waited for before, nor retained from before this line."""
        wanted = (phase, version, process)
        found = await self.slots.until(
            lambda slot: (slot.phase, slot.version, slot.process) == wanted and slot.epoch > self._epoch
        )
        assert isinstance(found, Slot)
        del self.slots.all[: self.slots.all.index(found) + 1]
        return found

    async def result(self, seq: int) -> Result:
        found = await self.results.until(lambda result: result.source_seq == seq)
        assert isinstance(found, Result)
        return found

    async def answered(self) -> list[Result]:
        """Wait for the answer to the last frame; return all results, of which each frame has exactly one."""
        await self.result(self.seq)
        await self.decisions.until(lambda decision: decision.part_id == self.seq)
        results: list[Result] = sorted(self.results.all, key=lambda result: result.source_seq)
        assert [result.source_seq for result in results] == list(range(1, self.seq + 1))
        decided = [decision.part_id for decision in self.decisions.all if decision.proof is Proof.PART]
        assert sorted(decided) == list(range(1, self.seq + 1))
        return results


@asynccontextmanager
async def slot_line(device: Device, *lanes: str, agent: bool = False, runtimes: bool = True) -> AsyncIterator[SlotLine]:
    """Run the runtimes of `lanes` (safety without any), an agent where wanted, and their peers in this loop.

    Without `runtimes` the test starts them, as processes of their own.
    """
    settings = load_settings(device.home)
    async with (
        device.user("camera-cam1") as camera,
        device.user("agent") as listener,
        device.user("historian") as historian,
        device.user("connect-plant") as plc,
    ):
        line = SlotLine(device, camera, listener, historian, plc)
        await line.listen()
        processes = [Process(RUNTIME, lane, device.home, settings) for lane in lanes or ("safety",) if runtimes]
        tasks = [asyncio.create_task(process.run(runtime.main)) for process in processes]
        if agent:
            tasks.append(asyncio.create_task(Process(AGENT, "", device.home, settings).run(agent_process.main)))
        try:
            yield line
        finally:
            ended = [task for task in tasks if task.done()]
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            for task in ended:
                task.result()
            assert not ended, "a process has ended by itself"


class SlowDisk:
    """A model whose file comes as slowly as the test wants: `model.onnx` is a pipe, which is read several times."""

    def __init__(self, folder: Path) -> None:
        """Replace the file by a pipe."""
        path = folder / "model.onnx"
        self._content, self._path = path.read_bytes(), path
        path.unlink()
        os.mkfifo(path)

    async def reached(self) -> None:
        """Wait until somebody reads; what is read then waits for `deliver`."""
        while True:
            with suppress(OSError):  # ENXIO: nobody reads yet
                self._end = os.open(self._path, os.O_WRONLY | os.O_NONBLOCK)
                os.set_blocking(self._end, True)
                return
            await asyncio.sleep(0.005)

    async def deliver(self) -> None:
        """Let the reader have it."""
        await asyncio.to_thread(os.write, self._end, self._content)
        os.close(self._end)

    async def deliver_all(self) -> None:
        """Serve this reader and become a plain file again for those after it."""
        self.become_a_file()
        await self.deliver()

    def become_a_file(self) -> None:
        """Be as fast as any file, for those who open it from now on."""
        aside = self._path.with_name("aside")
        aside.write_bytes(self._content)
        aside.replace(self._path)

    def remove(self) -> None:
        """Remove the whole folder under the reader, which then finds the end of its file."""
        shutil.rmtree(self._path.parent)
        os.close(self._end)
