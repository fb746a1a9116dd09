"""`plantedge model list|use|rollback`: which version of a model a running device has, and another one in its place."""

from __future__ import annotations

import asyncio
import contextlib
import uuid
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Final, cast

from bus.typed import Reader
from edge.commands.bus import ask, on_bus
from edge.commands.device import device_home
from edge.config.problems import nearest
from edge.line.plan import CLI
from edge.line.tally import open_bus
from edge.models.slot_store import MODELS
from edge.settings import Settings, load_settings
from schemas.errors import StartError
from schemas.messages import ConfigSet, ConfigState, Slot
from schemas.topics import CONFIG_SET, CONFIG_STATE, SLOT_DESIRED, SLOT_STATE

if TYPE_CHECKING:
    from collections.abc import Callable

    from bus import Bus

RETAINED_S: Final = 1.0
ADOPT_S: Final = 40.0  # the agent waits for every runtime
_PARTS: Final = "model.toml"


@dataclass
class Known:
    """What is retained about the models of a device. `held`: the agent's pins and what served."""

    desired: dict[str, Slot] = field(default_factory=dict[str, Slot])
    states: dict[tuple[str, str], Slot] = field(default_factory=dict[tuple[str, str], Slot])
    held: ConfigState | None = None

    def pinned(self, model: str) -> str:
        """Return the version that somebody has pinned, "" for none."""
        return str(self._entry(model).get("pinned", ""))

    def before(self, model: str) -> str:
        """Return the version that served before the one that serves, "" where none is known."""
        served = cast("list[str]", self._entry(model).get("served", []))
        now = {slot.serving for (name, _), slot in self.states.items() if name == model}
        return next((version for version in served if version not in now), "")

    def _entry(self, model: str) -> dict[str, object]:
        return cast("dict[str, object]", (self.held.values if self.held else {}).get(model, {}))


async def read_known(bus: Bus, settings: Settings) -> Known:
    """Return what the broker has retained."""
    known, told = Known(), asyncio.Event()

    def state(slot: Slot, _: object) -> None:
        known.states[slot.model, slot.process] = slot

    def held(state: ConfigState, _: object) -> None:
        known.held = state
        told.set()

    place = settings.place
    await Reader(SLOT_DESIRED, Slot, lambda slot, _: known.desired.update({slot.model: slot})).attach(bus, place)
    await Reader(SLOT_STATE, Slot, state).attach(bus, place)
    await Reader(CONFIG_STATE, ConfigState, held).attach(bus, place, section=MODELS)
    with contextlib.suppress(TimeoutError):  # the agent's word was asked for last; what came before it is all there is
        async with asyncio.timeout(RETAINED_S):
            await told.wait()
    return known


def list_models(home: Path | None) -> int:
    """Print every version in the models folder, and what the runtimes say of it."""
    folder = device_home(home)
    settings = load_settings(folder)

    async def work() -> int:
        async with open_bus(settings, folder) as bus:
            known = await read_known(bus, settings)
        used = {model for pipeline in settings.pipelines.values() for model in pipeline.models}
        rows = described(versions_in(folder / settings.runtime.folder), known, used)
        wide = [max(len(row[column]) for row in rows) for column in range(2)]
        for model, version, what in rows:
            print(f"{model:<{wide[0]}}  {version:<{wide[1]}}  {what}".rstrip())
        return 0

    return on_bus(work())


def versions_in(models: Path) -> dict[str, list[str]]:
    """Return model -> its versions in the folder."""
    found: dict[str, list[str]] = {}
    for path in sorted(models.glob(f"[!.]*/*/{_PARTS}")):
        found.setdefault(path.parent.parent.name, []).append(path.parent.name)
    return found


def described(versions: dict[str, list[str]], known: Known, used: set[str]) -> list[tuple[str, str, str]]:
    """Return a row of texts for each version, below a head. `used`: the models that pipelines name."""
    rows = [("model", "version", "")]
    for model, there in versions.items():
        for version in there:
            said = _said(model, version, known) if model in used else ["no pipeline names it"]
            rows.append((model, version, "; ".join(said)))
    return rows


def _said(model: str, version: str, known: Known) -> list[str]:
    states = [slot for (name, _), slot in sorted(known.states.items()) if name == model]
    found: list[str] = []
    if serving := [slot.process for slot in states if slot.serving == version]:
        found.append(f"serves in {', '.join(serving)}")
    if known.pinned(model) == version:
        found.append("pinned")
    if (wanted := known.desired.get(model)) and wanted.version == version and not serving:
        found.append("wanted")
    found += [f"{s.process} loads it" for s in states if s.phase == "loading" and s.version == version]
    found += [f"{s.process} refuses it: {s.reason}" for s in states if s.phase == "rejected" and s.version == version]
    return found


def use_model(home: Path | None, model: str, version: str | None) -> int:
    """Let every runtime of a model load a version ("" or None: its newest), and pin it when all serve it."""
    return _use(home, model, lambda _: version or "")


def rollback(home: Path | None, model: str) -> int:
    """Return to the version that served before."""

    def before(known: Known) -> str:
        if version := known.before(model):
            return version
        raise StartError(f"no version of {model} is known to have served before; `plantedge model list` shows them")

    return _use(home, model, before)


def _use(home: Path | None, model: str, choose: Callable[[Known], str]) -> int:
    folder = device_home(home)
    settings = load_settings(folder)
    _need_model(model, versions_in(folder / settings.runtime.folder))

    async def work() -> int:
        async with open_bus(settings, folder) as bus:
            known = await read_known(bus, settings)
            version = choose(known)
            base = known.held.version if known.held else 0
            request = ConfigSet(request_id=uuid.uuid4().hex, base_version=base, values={model: version})
            topic = CONFIG_SET.name(settings.place, section=MODELS, origin=CLI)
            done = f"{model} {version} serves and is pinned" if version else f"{model}: the newest version serves"
            return await ask(bus, settings, CONFIG_SET, topic, request, timeout_s=ADOPT_S, done=done)

    return on_bus(work())


def _need_model(model: str, versions: dict[str, list[str]]) -> None:
    if model not in versions:
        near = nearest(model, versions)
        raise StartError(f"there is no model {model}; " + (f"did you mean {near}?" if near else ", ".join(versions)))
