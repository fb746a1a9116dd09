"""`plantedge config get|set`: the settings of a running device, and changes that its agent carries out."""

from __future__ import annotations

import asyncio
import json
import uuid
from pathlib import Path

from bus import Bus, Delivery
from bus.codec import decode
from edge.commands.bus import ask, on_bus, value_of
from edge.commands.device import device_home
from edge.config.overrides import SECTIONS
from edge.config.problems import nearest
from edge.config.tree import Tree, is_tree
from edge.line.plan import CLI
from edge.line.tally import open_bus
from edge.settings import Settings, load_settings
from schemas.errors import CodecError, StartError
from schemas.messages import ConfigSet, ConfigState
from schemas.topics import CONFIG_SET, CONFIG_STATE

APPLY_S = 30.0  # the agent waits until every process runs with the new values
RETAINED_S = 1.0


def config_get(home: Path | None, section: str) -> int:
    """Print a section's values as the device has them, or those of all sections that can be changed."""
    known = sorted(Settings.model_fields)
    if section and section not in known:
        near = nearest(section, known)
        raise StartError(f"there is no section {section}; " + (f"did you mean {near}?" if near else ", ".join(known)))
    settings = load_settings(device_home(home))

    async def work() -> int:
        async with open_bus(settings, device_home(home)) as bus:
            held = await _held(bus, settings)
        values = load_settings(device_home(home)).model_dump(mode="json", exclude_none=True)
        for name in [section] if section else sorted(SECTIONS):
            print(described(name, held.get(name)))
            print(json.dumps(values[name], ensure_ascii=False, indent=1))
        return 0

    return on_bus(work())


def described(section: str, state: ConfigState | None) -> str:
    """Return where a section's values come from."""
    if section not in SECTIONS:
        return f"{section}, as in the device's files; it can't be changed while the device runs"
    if state is None or not state.values:
        return f"{section} version {state.version if state else 0}, as in the device's files"
    changed = json.dumps(state.values, ensure_ascii=False)
    by = f", by {state.origin}" if state.origin else ""
    return f"{section} version {state.version} ({state.phase}{by}), over the device's files: {changed}"


async def _held(bus: Bus, settings: Settings) -> dict[str, ConfigState]:
    """Return section -> what is retained of it."""
    found: dict[str, ConfigState] = {}

    def take(delivery: Delivery) -> None:
        try:
            state = decode(CONFIG_STATE, ConfigState, delivery.payload)
        except CodecError:
            return
        found[state.section] = state

    await bus.subscribe(CONFIG_STATE.filter(settings.place), 1, take)
    await asyncio.sleep(RETAINED_S)  # MQTT does not say when the last retained message has been sent
    return found


def config_set(home: Path | None, section: str | None, pairs: list[str]) -> int:
    """Ask the agent to change a section; it checks, applies and confirms, or returns to what was before."""
    if not section or not pairs:
        raise StartError("say what to set: plantedge config set SECTION KEY=VALUE ...")
    settings = load_settings(device_home(home))
    values = nested(pairs)

    async def work() -> int:
        async with open_bus(settings, device_home(home)) as bus:
            state = (await _held(bus, settings)).get(section)
            request = ConfigSet(request_id=uuid.uuid4().hex, base_version=state.version if state else 0, values=values)
            topic = CONFIG_SET.name(settings.place, section=section, origin=CLI)
            done = f"{section} is version {{}} now"
            return await ask(bus, settings, CONFIG_SET, topic, request, timeout_s=APPLY_S, done=done)

    return on_bus(work())


def nested(pairs: list[str]) -> dict[str, object]:
    """Return `a.b=1` pairs as tables; a value is TOML, or text where it is none.

    Raises:
        StartError: a pair has no `=`, or two don't fit together.
    """
    whole: Tree = {}
    for pair in pairs:
        key, equals, text = pair.partition("=")
        if not equals or not key:
            raise StartError(f"{pair!r} is not KEY=VALUE")
        *tables, last = key.split(".")
        table = whole
        for name in tables:
            inner: object = table.setdefault(name, Tree())
            if not is_tree(inner):
                raise StartError(f"{pair!r}: {name} has a value already")
            table = inner
        table[last] = value_of(text)
    return whole
