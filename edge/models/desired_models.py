"""The agent's half of the model slots: which version of each model shall be loaded, and what became of it.

A model runs its pinned version, or its newest. A version that a person asks for is pinned once every runtime of the
model serves it; where one refuses it, all return to the version before. A device that starts beside a version that
can't be used falls back to the one that served last, and says so.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Final

from edge.config.overrides import Held
from edge.models.contract import Contract, newest_version
from edge.models.folder_watch import LOOK_S, Change, FolderWatch, models_in
from edge.models.slot_store import MODELS, SlotStore
from edge.processes import RUNTIME
from schemas.errors import ContractError
from schemas.messages import Phase, Severity, Slot, State
from schemas.topics import SLOT_DESIRED, Role

if TYPE_CHECKING:
    from bus import Delivery
    from bus.typed import Publisher
    from edge.process import Process

log = logging.getLogger(__name__)
ADOPT_S: Final = 30.0  # until every runtime of a model has loaded it or refused
_TEXT_LENGTH: Final = 1_000


class DesiredModels:
    """Desired versions and the runtimes' states."""

    def __init__(self, process: Process, runs: Callable[[str], bool]) -> None:
        """Read the durable state. `runs` says of a process by its identity whether it is alive."""
        self._process, self._runs = process, runs
        self._models = process.home / process.settings.runtime.folder
        self.store = SlotStore(process.home)
        self._publishers: dict[str, Publisher[Slot]] = {}
        self._announced: dict[str, Slot] = {}
        self._states: dict[str, dict[str, Slot]] = {}
        self._news = asyncio.Event()
        self._asking = False
        self._refusals: dict[str, set[str]] = {}  # versions that nothing could be made of, since somebody asked
        self._fallen: set[str] = set()  # models that run a version which was not asked for
        self._unusable: dict[str, str] = {}
        self._alarms: dict[tuple[str, str], Slot] = {}
        self._watch = FolderWatch(self._models, self.store.pinned) if process.settings.runtime.watch else None

    # -- what shall be loaded -----------------------------------------------------------------------------------------

    def announce_all(self) -> None:
        """Publish which version of each model shall be loaded; say which folders can't be."""
        if self._watch:
            self._watch.look(models_in(self._models), time.monotonic())
        for model in models_in(self._models):
            self._announce_usable(model)
        self._report()

    def pin(self, versions: Mapping[str, str]) -> None:
        """Keep and announce versions that the fleet desires, of those that are here."""
        here = {m: v for m, v in versions.items() if (self._models / m / v / "model.toml").is_file()}
        self.store.pin(here)
        self.announce_all()

    def _announce_usable(self, model: str) -> None:
        """Announce the version that shall run, or the last that served where that one can't be used."""
        problem = ""
        for version in dict.fromkeys([self.store.pinned(model), *self.store.served(model)]):
            try:
                self._announce(self._contract(model, version))
            except ContractError as error:
                problem = problem or str(error)
                continue
            if problem:
                self._fallen.add(model)
            break
        self._note_unusable(model, problem)

    def _contract(self, model: str, version: str) -> Contract:
        """Read a version's folder, "" for the newest."""
        return Contract.load(self._models / model / (version or newest_version(self._models / model)))

    def _announce(self, contract: Contract) -> None:
        """Announce what somebody asked for."""
        self._refusals.pop(contract.name, None)
        self._say(_slot(contract))

    def _say(self, slot: Slot) -> None:
        publisher = self._publishers.get(slot.model)
        if publisher is None:
            publisher = self._publishers[slot.model] = self._process.publisher(SLOT_DESIRED, Slot, model=slot.model)
        self._announced[slot.model] = slot
        self._states.pop(slot.model, None)  # what was said of an earlier one is no answer to this
        self._fallen.discard(slot.model)
        publisher.send(slot)

    def _note_unusable(self, model: str, problem: str) -> None:
        """Raise the alarm of a model whose folder can't be used, or end it."""
        before = self._unusable.pop(model, "")
        if problem:
            self._unusable[model] = problem
        if problem != before:
            phase = Phase.END if not problem else Phase.UPDATE if before else Phase.NEW
            severity = Severity.ALARM if problem else Severity.INFO
            self._process.event("model_unusable", phase, severity, (problem or "it can be used")[:_TEXT_LENGTH],
                                key=f"model-{model}", model=model)  # fmt: skip

    def _report(self) -> None:
        problems = list(self._unusable.values())
        if not self._models.is_dir():
            problems.append(f"{self._models}: no such folder; put models there as <name>/<version>/")
        self._process.report(State.DEGRADED if problems else State.ACTIVE, "; ".join(problems))

    # -- what became of it --------------------------------------------------------------------------------------------

    def state(self, slot: Slot, delivery: Delivery) -> None:
        """Note what a runtime has loaded or refused."""
        wanted = self._announced.get(slot.model)
        answers = wanted is not None and slot.version == wanted.version
        self._alarm(slot, answers and slot.model not in self._fallen)
        if not answers or delivery.retained:  # a retained one was said before we asked
            return
        self._states.setdefault(slot.model, {})[slot.process] = slot
        self._news.set()
        if slot.phase == "active" and not self._missing([slot.model]):
            self.store.note_served(slot.model, slot.version)
        elif slot.phase == "rejected" and not slot.serving and not self._asking:
            self._fall_back(slot)

    def _alarm(self, slot: Slot, as_wanted: bool) -> None:
        """A refused version is an event until the runtime has loaded what shall run."""
        key = (slot.model, slot.process)
        held = self._alarms.get(key)
        if slot.phase == "rejected" and (held is None or (held.version, held.reason) != (slot.version, slot.reason)):
            self._alarms[key] = slot
            self._event(slot, Phase.UPDATE if held else Phase.NEW, Severity.ALARM, slot.reason)
        elif slot.phase == "active" and held and as_wanted:
            del self._alarms[key]
            self._event(slot, Phase.END, Severity.INFO, "loaded")

    def _event(self, slot: Slot, phase: Phase, severity: Severity, text: str) -> None:
        self._process.event(
            "model_rejected", phase, severity, text[:_TEXT_LENGTH], key=f"slot-{slot.model}-{slot.process}",
            model=slot.model, version=slot.version, process=slot.process, serving=slot.serving,
        )  # fmt: skip

    def _fall_back(self, refused: Slot) -> None:
        """Nothing serves in a runtime: announce the version that served last, each once."""
        refusals = self._refusals.setdefault(refused.model, set())
        refusals.add(refused.version)
        for version in self.store.served(refused.model):
            if version in refusals:
                continue
            try:
                contract = self._contract(refused.model, version)
            except ContractError:
                continue
            log.warning("%s %s was refused; %s served last and shall serve", refused.model, refused.version, version)
            self._say(_slot(contract))
            self._fallen.add(refused.model)
            return

    # -- what a person asks for ---------------------------------------------------------------------------------------

    def held(self) -> Held:
        """Return what is pinned and what has served, as a section of the settings."""
        values = {
            name: {"pinned": self.store.pinned(name), "served": self.store.served(name)} for name in self.store.models()
        }
        return Held(version=self.store.version, values=values)

    def problems_of(self, versions: Mapping[str, object], base_version: int | None, role: Role) -> list[str]:
        """Say why a request for versions is not even tried."""
        if role is Role.UPLINK:
            return [f"{MODELS}: the fleet desires versions as `models`, not as configuration"]
        if base_version not in (None, self.store.version):
            based = f"the change is based on version {base_version}"
            return [f"{MODELS}: {based}, the device has {self.store.version}; read again"]
        known = models_in(self._models)
        return [
            f"{MODELS}: there is no model {name}; there are {', '.join(known)}"
            if name not in known
            else f"{MODELS}: {name}: a version is a text, {version!r} is none"
            for name, version in versions.items()
            if name not in known or not isinstance(version, str)
        ]

    async def use(self, versions: Mapping[str, str]) -> list[str]:
        """Run these versions ("" for the newest) and pin them; return why not, [] when all runtimes serve them.

        Where one refuses, nothing is pinned and all return to what was announced before.
        """
        problems: list[str] = []
        contracts: list[Contract] = []
        for model, version in versions.items():
            try:
                contracts.append(self._contract(model, version))
            except ContractError as error:
                problems += error.problems
        if problems:
            return problems
        before = {name: slot for name in versions if (slot := self._announced.get(name))}
        self._asking = True
        try:
            for contract in contracts:
                self._announce(contract)
            problems = await self._adopted(list(versions))
        finally:
            self._asking = False
        if problems:
            for slot in before.values():
                self._say(slot)
            return problems
        self.store.pin(dict(versions))
        for contract in contracts:
            self._note_unusable(contract.name, "")
        self._report()
        return []

    async def _adopted(self, models: list[str]) -> list[str]:
        """Wait until every runtime of these models serves them, or one has refused."""
        try:
            async with asyncio.timeout(ADOPT_S):
                while self._missing(models):
                    self._news.clear()
                    if problems := self._refusals_of(models):
                        return problems
                    await self._news.wait()
        except TimeoutError:
            missing = ", ".join(self._missing(models))
            return [f"{missing} did not load it within {ADOPT_S:.0f} s; see `plantedge status` and its log"]
        return []

    def _refusals_of(self, models: list[str]) -> list[str]:
        states = [state for model in models for state in self._states.get(model, {}).values()]
        refused = [state for state in states if state.phase == "rejected"]
        return [f"{state.process} refuses {state.model} {state.version}: {state.reason}" for state in refused]

    def _missing(self, models: list[str]) -> list[str]:
        """Return the running runtimes that don't serve one of the models as announced."""
        missing: list[str] = []
        for name, pipeline in self._process.settings.pipelines.items():
            process = RUNTIME.identity(pipeline.lane)
            for model in set(models) & set(pipeline.models):
                state = self._states.get(model, {}).get(process)
                if self._runs(process) and (state is None or state.phase != "active"):
                    missing.append(process)
                    log.debug("%s waits for %s in %s", name, model, process)
        return sorted(set(missing))

    # -- development --------------------------------------------------------------------------------------------------

    async def watch(self) -> None:
        """Announce what changes in the models folder, until cancelled; without `[runtime] watch` never."""
        while True:
            await asyncio.sleep(LOOK_S)
            if self._watch:
                for change in await asyncio.to_thread(self._watch.look, models_in(self._models), time.monotonic()):
                    self._take(change)

    def _take(self, change: Change) -> None:
        self._note_unusable(change.model, "; ".join(change.problems))
        if change.contract:
            self._announce(change.contract)
        self._report()


def _slot(contract: Contract) -> Slot:
    return Slot(
        model=contract.name, version=contract.version, digest=contract.sha256, folder=str(contract.folder)
    )  # fmt: skip
