"""agent: the owner of durable state: model slots and configuration.

In: slot state, config set, desired (what the uplink received), status. Out: slot desired, config state, reply, event.

A change of configuration is checked, written as pending, announced, and confirmed once every process that it concerns
runs with it; otherwise the previous values return by themselves.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from dataclasses import dataclass

from bus import Delivery
from bus.codec import encode
from bus.typed import Publisher
from edge.config.adoption import WELL, Adoption
from edge.config.fulfilled import Fulfilled
from edge.config.overrides import SECTIONS, ConfigRefused, ConfigStore, Values
from edge.config.tree import merged
from edge.host.race import first_of
from edge.models.desired_models import DesiredModels
from edge.models.slot_store import MODELS
from edge.process import Process
from edge.processes import PROCESSES
from schemas.errors import PlantEdgeError
from schemas.messages import (
    ConfigSet,
    ConfigState,
    Desired,
    Phase,
    Reply,
    Severity,
    Slot,
    State,
    Status,
)
from schemas.topics import CONFIG_SET, CONFIG_STATE, DESIRED, REPLY, SLOT_STATE, STATUS, Role

QUEUE_LIMIT = 64


@dataclass(frozen=True)
class Change:
    """A request to change one section, from a person on the site or from the fleet, whose last one `fulfils` it."""

    section: str
    values: Values
    base_version: int | None
    origin: str
    request_id: str
    reply_to: str = ""
    correlation: bytes = b""
    fulfils: Desired | None = None

    @property
    def role(self) -> Role:
        """Whose rights the change has."""
        return Role.UPLINK if self.origin == "fleet" else Role.CLI


class Agent:
    """Holds slots and configuration, and carries out one change after the other."""

    def __init__(self, process: Process) -> None:
        """Read the durable state."""
        self._process = process
        self.config = ConfigStore(process.home)
        self.models = DesiredModels(process, self._lives)
        self._fulfilled = Fulfilled(process.home)
        self._statuses: dict[str, Status] = {}
        self._status_seen = asyncio.Event()
        self._changes: asyncio.Queue[Change] = asyncio.Queue(QUEUE_LIMIT)
        self._states: dict[str, Publisher[ConfigState]] = {}
        self._generation = {"models": 0, "config": 0}

    # -- configuration ------------------------------------------------------------------------------------------------

    def config_set(self, request: ConfigSet, delivery: Delivery) -> None:
        """Queue a change from the site."""
        fields = CONFIG_SET.parse(delivery.topic) or {}
        reply_to = delivery.response_topic if REPLY.parse(delivery.response_topic) else ""
        change = Change(
            fields.get("section", ""), dict(request.values), request.base_version, fields.get("origin", ""),
            request.request_id, reply_to, delivery.correlation,
        )  # fmt: skip
        self._queue(change)

    def desired(self, desired: Desired, _: Delivery) -> None:
        """Queue what the fleet wants, each generation once; an older generation is stale and ignored."""
        if desired.config and desired.generation > self._generation["config"]:
            self._generation["config"] = desired.generation
            if not self._fulfilled.has(desired):
                last = list(desired.config)[-1]
                for section, values in desired.config.items():
                    name, whole = f"fleet-{desired.generation}", desired if section == last else None
                    self._queue(Change(section, dict(values), None, "fleet", name, fulfils=whole))
        if desired.models and desired.generation > self._generation["models"]:
            self._generation["models"] = desired.generation
            self.models.pin(desired.models)

    def status(self, status: Status, _: Delivery) -> None:
        """Note what a process says about itself."""
        self._statuses[status.process] = status
        self._status_seen.set()

    def announce_config(self) -> None:
        """Publish every section's state; what was pending at a crash has been reverted before."""
        for section in self.config.pending():
            self.config.revert(section)
            self._say(section, "reverted", problems=["the agent ended before the change was confirmed"])
        for section in sorted({*SECTIONS, MODELS}):
            if section not in self._states:
                self._say(section, "applied")

    async def carry_out(self) -> None:
        """Take one change after the other, until cancelled."""
        while True:
            change = await self._changes.get()
            await self._change(change)
            if change.fulfils:
                self._fulfilled.note(change.fulfils)

    async def _change(self, change: Change) -> None:
        if change.section == MODELS:
            await self._use_models(change)
            return
        try:
            self.config.check(change.section, change.values, change.base_version, change.role)
        except ConfigRefused as error:
            self._refuse(change, list(error.problems))
            return
        held = self.config.held(change.section)
        if merged(held.values, change.values) == held.values:  # a repeat, or desired state after a restart
            self._say(change.section, "applied", change)
            self._reply(change, True, "", held.version)
            return
        concerned = self._concerned(change.section)
        held = self.config.begin(change.section, change.values)
        self._say(change.section, "applying", change)
        problems = await self._problems_of(concerned, change.section, held.version)
        if problems:
            self.config.revert(change.section)
            self._say(change.section, "reverted", change, problems)
            self._process.event(
                "config_reverted", Phase.NEW, Severity.WARNING, "; ".join(problems), section=change.section,
                origin=change.origin,
            )  # fmt: skip
            self._reply(change, False, "; ".join(problems))
            return
        self.config.confirm(change.section)
        self._say(change.section, "applied", change)
        self._process.event(
            "config_applied", Phase.NEW, Severity.INFO, f"{change.section} is at version {held.version}",
            section=change.section, origin=change.origin,
        )  # fmt: skip
        self._reply(change, True, "", held.version)

    async def _use_models(self, change: Change) -> None:
        """Run other versions of models, pinned once every runtime serves them."""
        problems = self.models.problems_of(change.values, change.base_version, change.role)
        if problems:
            self._refuse(change, problems)
            return
        self._say(MODELS, "applying", change)
        problems = await self.models.use(change.values)
        version = self.models.store.version
        self._say(MODELS, "reverted" if problems else "applied", change, problems)
        text = "; ".join(problems) if problems else f"{_named(change.values)} serves"
        self._process.event(
            "config_reverted" if problems else "config_applied", Phase.NEW,
            Severity.WARNING if problems else Severity.INFO, text[:1000], section=MODELS, origin=change.origin,
        )  # fmt: skip
        self._reply(change, not problems, "; ".join(problems), None if problems else version)

    def _concerned(self, section: str) -> set[str]:
        """Return the processes that restart for a section and are well now."""
        return {
            row.identity(instance)
            for row in PROCESSES
            if section in row.sections
            for instance in self._process.settings.instances(row.instances_of)
            if self._runs(row.identity(instance))
        }

    def _runs(self, identity: str) -> bool:
        status = self._statuses.get(identity)
        return status is not None and status.state in WELL

    def _lives(self, identity: str) -> bool:
        status = self._statuses.get(identity)
        return status is not None and status.state is not State.STOPPED

    async def _problems_of(self, identities: set[str], section: str, version: int) -> list[str]:
        """Wait until each process runs well with a version; return why not, as soon as one is known not to."""
        adoption = Adoption(section, version, identities, time.monotonic())
        while True:
            self._status_seen.clear()
            problems = adoption.problems(self._statuses, time.monotonic())
            if problems is not None:
                return problems
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(max(0.05, adoption.due_s - time.monotonic())):
                    await self._status_seen.wait()

    def _queue(self, change: Change) -> None:
        try:
            self._changes.put_nowait(change)
        except asyncio.QueueFull:
            self._refuse(change, [f"{QUEUE_LIMIT} changes are waiting already; try again"])

    def _refuse(self, change: Change, problems: list[str]) -> None:
        if change.section in SECTIONS or change.section == MODELS:
            self._say(change.section, "rejected", change, problems)
        self._process.event(
            "config_rejected", Phase.NEW, Severity.WARNING, "; ".join(problems)[:1000], origin=change.origin
        )
        self._reply(change, False, "; ".join(problems))

    def _say(self, section: str, phase: str, change: Change | None = None, problems: list[str] | None = None) -> None:
        publisher = self._states.get(section)
        if publisher is None:
            publisher = self._states[section] = self._process.publisher(CONFIG_STATE, ConfigState, section=section)
        held = self.models.held() if section == MODELS else self.config.held(section)
        publisher.send(
            ConfigState(
                section=section, version=held.version, phase=phase, values=held.values,
                origin=change.origin if change else "", request_id=change.request_id if change else "",
                problems=problems or [],
            )
        )  # fmt: skip

    def _reply(self, change: Change, ok: bool, reason: str, version: int | None = None) -> None:
        if change.reply_to:
            reply = Reply(request_id=change.request_id, ok=ok, value=version, reason=reason[:1000])
            self._process.bus.publish(
                change.reply_to, encode(REPLY, reply), qos=REPLY.qos, correlation=change.correlation
            )


def _named(versions: Values) -> str:
    return ", ".join(f"{model} {version or 'newest'}" for model, version in versions.items())


async def main(process: Process) -> None:
    """Run until cancelled."""
    agent = Agent(process)
    try:
        agent.announce_config()
    except OSError as error:
        raise PlantEdgeError(f"{process.home / 'state'}: can't be written ({error}); check owner and disk") from error
    await process.read(STATUS, Status, agent.status)
    await process.read(SLOT_STATE, Slot, agent.models.state)
    agent.models.announce_all()  # once we hear the answers: one that came before is only retained, and no answer
    await process.read(CONFIG_SET, ConfigSet, agent.config_set)
    await process.read(DESIRED, Desired, agent.desired)
    await first_of(agent.carry_out(), agent.models.watch())
