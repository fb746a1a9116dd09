"""Model slots of one runtime: loads what is desired beside the serving model, and swaps only what has proved itself.

Loading, warming and comparing golden vectors happen in one named thread; the swap is one assignment on the loop,
between two batches. A model that is refused leaves the one before it serving. Where no agent says within a second
what to load, the newest version in the models folder is taken; what an agent desires later wins.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Final

from bus import Delivery
from bus.typed import Publisher
from edge.engines import load_engine
from edge.inference.contract import newest_version
from edge.inference.loaded import LoadedModel, load_model
from schemas.errors import ContractError
from schemas.messages import Slot
from schemas.topics import SLOT_DESIRED, SLOT_STATE

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from edge.inference.pipeline import Pipeline
    from edge.process import Process

log = logging.getLogger(__name__)
AGENT_S: Final = 1.0  # silence after which there is no agent
_REASON_LENGTH: Final = 2_000


class Slots:
    """The models that a runtime's pipelines name."""

    def __init__(
        self, process: Process, pipelines: Sequence[Pipeline], swap: Callable[[Pipeline, LoadedModel], None]
    ) -> None:
        """`swap` is called on the loop for each pipeline of a model that is ready."""
        self._process, self._swap = process, swap
        self._pipelines = {p.settings.model: [q for q in pipelines if q.settings.model == p.settings.model]
                           for p in pipelines}  # fmt: skip
        self._models = process.home / process.settings.runtime.folder
        self._active: dict[str, LoadedModel] = {}
        self._wanted: dict[str, Slot] = {}
        self._heard: set[str] = set()
        self._wake = asyncio.Event()
        self._states: dict[str, Publisher[Slot]] = {}
        self.waiting = set(self._pipelines)  # models of which nothing is known yet
        self.missing: dict[str, str] = {}  # models that could not be loaded, and why

    async def run(self) -> None:
        """Load what is desired, one model after the other, until cancelled."""
        await self._process.read(SLOT_DESIRED, Slot, self._desired)
        alone = asyncio.get_running_loop().call_later(AGENT_S, self._choose_alone)
        try:
            with ThreadPoolExecutor(1, "slots", _step_back) as thread:
                while await self._wake.wait():
                    self._wake.clear()
                    while self._wanted:
                        await self._load(self._wanted.pop(next(iter(self._wanted))), thread)
        finally:
            alone.cancel()

    def _desired(self, slot: Slot, _: Delivery) -> None:
        if slot.model in self._pipelines:
            self._heard.add(slot.model)
            self._wanted[slot.model] = slot  # the latest wins
            self._wake.set()

    def _choose_alone(self) -> None:
        """Take the newest in the folder of each model that no agent has said anything of."""
        for model in self._pipelines.keys() - self._heard:
            self._wanted[model] = Slot(model=model, version="", digest="")
        self._wake.set()

    async def _load(self, slot: Slot, thread: ThreadPoolExecutor) -> None:
        active = self._active.get(slot.model)
        if active and (slot.version, slot.digest) == (active.contract.version, active.contract.sha256):
            self._say(slot, "active")
            return
        self._say(slot, "loading")
        run = asyncio.get_running_loop().run_in_executor
        try:
            model = await run(thread, self._read, slot)
        except ContractError as error:
            self._reject(slot, error)
            return
        for pipeline in self._pipelines[slot.model]:
            self._swap(pipeline, model)
        self._active[slot.model] = model
        self.waiting.discard(slot.model)
        self.missing.pop(slot.model, None)
        contract = model.contract
        log.info("%s %s serves", contract.name, contract.version)
        self._say(Slot(model=slot.model, version=contract.version, digest=contract.sha256,
                       folder=str(contract.folder)), "active")  # fmt: skip
        if active:
            await run(thread, active.session.close)

    def _read(self, slot: Slot) -> LoadedModel:
        """Load and try a model, in the thread."""
        folder = self._process.home / slot.folder if slot.folder else self._newest(slot.model)
        model = load_model(folder, load_engine(self._process.settings.runtime.engine), slot.digest)
        contract = model.contract
        problems = [problem for pipeline in self._pipelines[slot.model] for problem in pipeline.problems_of(model)]
        if contract.name != slot.model or slot.version not in ("", contract.version):
            problems.append(f"{folder}: holds {contract.name} {contract.version}, asked for is {slot.version}")
        if problems:
            model.session.close()
            raise ContractError(problems)
        return model

    def _newest(self, model: str) -> Path:
        return self._models / model / newest_version(self._models / model)

    def _reject(self, slot: Slot, error: ContractError) -> None:
        log.warning("%s %s is not loaded: %s", slot.model, slot.version, error)
        if slot.model not in self._active:
            self.missing[slot.model] = str(error)
            self.waiting.discard(slot.model)
        self._say(slot, "rejected", str(error)[:_REASON_LENGTH])

    def _say(self, slot: Slot, phase: str, reason: str = "") -> None:
        publisher = self._states.get(slot.model)
        if publisher is None:
            publisher = self._states[slot.model] = self._process.publisher(SLOT_STATE, Slot, model=slot.model)
        publisher.send(
            Slot(
                model=slot.model,
                version=slot.version,
                digest=slot.digest,
                folder=slot.folder,
                phase=phase,
                reason=reason,
            )
        )


def _step_back() -> None:
    """Let the loading thread of a real-time process run below the broker and the line, but above ordinary work.

    It must not be ordinary work itself: a thread that is preempted while it holds the interpreter stops the line.
    """
    if os.sched_getscheduler(os.getpid()) & ~os.SCHED_RESET_ON_FORK == os.SCHED_FIFO:
        with contextlib.suppress(PermissionError):
            os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(1))
