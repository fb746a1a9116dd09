"""Model slots of one runtime: loads what is desired beside the serving model, and swaps only what has proved itself.

Loading, warming and comparing golden vectors happen in one named thread; the swap is one turn of the loop, between two
batches, for all pipelines of the model at once. A model that is refused leaves the one before it serving and says why
in its slot's state. What is desired last wins: what a load brings that nobody wants any more never serves.

Where no agent says within a second what to load, the newest version in the models folder is taken; what an agent
desires later wins. With `[runtime] watch`, models that no agent speaks of are watched in their folder.
"""

from __future__ import annotations

import asyncio
import logging
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Final, TypeVar

from bus import Delivery
from edge.host.memory import give_back
from edge.host.priority import step_back
from edge.models.contract import Contract, newest_version
from edge.models.engine_choice import device_engine
from edge.models.folder_watch import LOOK_S, FolderWatch
from edge.models.loaded import LoadedModel, load_model
from edge.models.slot_states import StateVoice
from schemas.errors import ContractError
from schemas.messages import Slot
from schemas.topics import SLOT_DESIRED

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from edge.inference.pipeline import Pipeline
    from edge.process import Process

log = logging.getLogger(__name__)
T = TypeVar("T")
AGENT_S: Final = 1.0  # silence after which there is no agent
_REASON_LENGTH: Final = 2_000


class Slots:
    """The models that a runtime's pipelines name: one in memory for all of them."""

    def __init__(
        self, process: Process, pipelines: Sequence[Pipeline], swap: Callable[[Pipeline, LoadedModel], None]
    ) -> None:
        """`swap` is called on the loop for each pipeline of a model that is ready."""
        self._process, self._swap = process, swap
        self._users: dict[str, list[Pipeline]] = {}
        for pipeline in pipelines:
            for model in pipeline.settings.models:
                self._users.setdefault(model, []).append(pipeline)
        self._models = process.home / process.settings.runtime.folder
        self._watching = process.settings.runtime.watch
        self._active: dict[str, LoadedModel] = {}
        self._wanted: dict[str, Slot] = {}
        self._heard: set[str] = set()
        self._wake = asyncio.Event()
        self._loading = False
        self._thread = ThreadPoolExecutor(1, "slots", step_back)
        self._voice = StateVoice(process)
        self.waiting = set(self._users)  # models of which nothing is known yet
        self.missing: dict[str, str] = {}  # models that could not be loaded, and why

    async def run(self) -> None:
        """Load what is desired, one model after the other, until cancelled."""
        await self._process.read(SLOT_DESIRED, Slot, self._desired)
        alone = asyncio.get_running_loop().call_later(AGENT_S, self._choose_alone)
        try:
            async with asyncio.TaskGroup() as tasks:
                if self._watching:
                    tasks.create_task(self._watch(), name="watch")
                while await self._wake.wait():
                    self._wake.clear()
                    self._loading = True
                    while self._wanted:
                        await self._load(self._wanted.pop(next(iter(self._wanted))))
                    self._loading = False
        finally:
            alone.cancel()
            self._voice.close()
            self._thread.shutdown(wait=False, cancel_futures=True)  # a load that is under way may take minutes

    async def aside(self, work: Callable[..., T], *arguments: object) -> T:
        """Do what takes time in the thread that loads models, after what it does now."""
        return await asyncio.get_running_loop().run_in_executor(self._thread, work, *arguments)

    # -- what serves --------------------------------------------------------------------------------------------------

    @property
    def loading(self) -> bool:
        """Whether a model is being loaded, or about to be."""
        return self._loading or bool(self._wanted)

    def serving(self, model: str) -> LoadedModel | None:
        """Return the model that serves under a name, None while none does."""
        return self._active.get(model)

    def unproven(self, model: str) -> str:
        """Return why a pipeline of a model does not believe what is in memory, "" while all do."""
        return "; ".join(pipeline.unproven for pipeline in self._users.get(model, ()) if pipeline.unproven)

    # -- what to load -------------------------------------------------------------------------------------------------

    def _desired(self, slot: Slot, _: Delivery) -> None:
        if slot.model in self._users:
            self._heard.add(slot.model)
            self._want(slot)

    def _want(self, slot: Slot) -> None:
        self._wanted[slot.model] = slot
        self._wake.set()

    def _choose_alone(self) -> None:
        """Take the newest in the folder of each model that no agent has said anything of."""
        for model in self._users.keys() - self._heard:
            self._want(Slot(model=model, version="", digest=""))

    async def _watch(self) -> None:
        """Follow the folder of each model that no agent speaks of."""
        watch = FolderWatch(self._models, lambda _: "")
        while True:
            alone = sorted(self._users.keys() - self._heard)
            for change in await self.aside(watch.look, alone, time.monotonic()):
                found = change.contract
                slot = Slot(model=change.model, version=found.version if found else "", digest="")
                if change.model in self._heard:
                    continue
                if found:
                    self._want(slot)
                else:
                    self._reject(slot, ContractError(list(change.problems)))
            await asyncio.sleep(LOOK_S)

    # -- loading ------------------------------------------------------------------------------------------------------

    async def _load(self, slot: Slot) -> None:
        active = self._active.get(slot.model)
        if active and _is(active, slot) and not self._watching:
            self._say(slot, "active")
            return
        self._say(slot, "loading")
        try:
            model = await self.aside(self._read, slot, active)
        except ContractError as error:
            self._reject(slot, error)
            return
        left = self._serve(slot, model, active)
        if left:
            await self.aside(_retire, left)

    def _serve(self, slot: Slot, model: LoadedModel, active: LoadedModel | None) -> LoadedModel | None:
        """Let `model` answer from now on, if it is still wanted; return the one whose memory can be given back."""
        newer = self._wanted.get(slot.model)
        if newer and (newer.version, newer.digest) != (slot.version, slot.digest):
            return model if model is not active else None
        if model is not active:
            try:
                self._swap_all(slot.model, model, active)
            except ContractError as error:
                self._reject(slot, error)
                return model
            log.info("%s %s serves", slot.model, model.contract.version)
        self._active[slot.model] = model
        self.waiting.discard(slot.model)
        self.missing.pop(slot.model, None)
        contract = model.contract
        told = Slot(model=slot.model, version=contract.version, digest=contract.sha256, folder=str(contract.folder))
        self._say(told, "active")
        return active if model is not active else None

    def _swap_all(self, name: str, model: LoadedModel, active: LoadedModel | None) -> None:
        """Swap in every pipeline or in none."""
        done: list[Pipeline] = []
        try:
            for pipeline in self._users[name]:
                self._swap(pipeline, model)
                done.append(pipeline)
        except ContractError:
            if active:
                for pipeline in done:
                    self._swap(pipeline, active)
            raise

    def _read(self, slot: Slot, active: LoadedModel | None) -> LoadedModel:
        """Load and try a model, in the thread; returns the active one if it is what the folder holds."""
        try:
            folder = self._process.home / slot.folder if slot.folder else self._folder(slot)
            if active and _is(active, slot) and Contract.load(folder) == active.contract:
                return active
            engine = device_engine(self._process.settings.runtime, self._process.home)
            return self._fitting(slot, load_model(folder, engine, slot.digest))
        except ContractError:
            give_back()
            raise
        except Exception as error:  # whatever a file makes a library raise: the line goes on with what it has
            log.exception("%s %s is not loaded", slot.model, slot.version)
            raise ContractError([f"{slot.model} {slot.version}: can't be loaded: {error!r}"]) from error

    def _fitting(self, slot: Slot, model: LoadedModel) -> LoadedModel:
        contract = model.contract
        problems = [problem for pipeline in self._users[slot.model] for problem in pipeline.problems_of(model)]
        if contract.name != slot.model or slot.version not in ("", contract.version):
            asked = f"{slot.model} {slot.version}"
            problems.append(f"{contract.folder}: holds {contract.name} {contract.version}, asked for is {asked}")
        if problems:
            model.session.close()
            raise ContractError(problems)
        return model

    def _folder(self, slot: Slot) -> Path:
        return self._models / slot.model / (slot.version or newest_version(self._models / slot.model))

    def _reject(self, slot: Slot, error: ContractError) -> None:
        log.warning("%s %s is not loaded: %s", slot.model, slot.version, error)
        if slot.model not in self._active:
            self.missing[slot.model] = str(error)
            self.waiting.discard(slot.model)
        self._say(slot, "rejected", str(error)[:_REASON_LENGTH])

    def _say(self, slot: Slot, phase: str, reason: str = "") -> None:
        active = self._active.get(slot.model)
        self._voice.say(
            Slot(
                model=slot.model, version=slot.version, digest=slot.digest, folder=slot.folder, phase=phase,
                reason=reason, process=self._process.identity, serving=active.contract.version if active else "",
            )
        )  # fmt: skip


def _is(model: LoadedModel, slot: Slot) -> bool:
    return slot.version == model.contract.version and slot.digest in ("", model.contract.sha256)


def _retire(model: LoadedModel) -> None:
    """Give a model's memory back, in the thread: freeing it takes as long as the model is large."""
    model.session.close()
    give_back()
