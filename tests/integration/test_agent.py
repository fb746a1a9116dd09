"""The agent with real processes behind a real broker: a change is taken by all of them, or it never was."""

import contextlib
import json
import signal
import subprocess
import time
import uuid
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from bus.codec import decode, encode
from edge.config.adoption import COME_UP_S
from schemas.errors import RequestTimeout
from schemas.messages import ConfigSet, ConfigState, Desired, Reply, State, Status
from schemas.topics import CONFIG_SET, CONFIG_STATE, DESIRED, REPLY, STATUS
from tests.device import Device, Heard, User

pytestmark = [pytest.mark.alone, pytest.mark.slow, pytest.mark.timeout(90)]
USERS = ("agent", "mirror", "cli", "uplink")


@pytest.fixture
def device(tmp_path: Path) -> Iterator[Device]:
    """A device with its broker; the tests start its processes."""
    device = Device(tmp_path, USERS)
    (device.home / "models").mkdir()
    with device.running():
        yield device


@pytest.fixture
async def person(device: Device) -> AsyncIterator[User]:
    async with device.user("cli") as user:
        yield user


async def ask(person: User, values: dict[str, object], base: int, tries: int = 1) -> Reply:
    """Ask the agent for a change, as `plantedge config set` does; one that starts misses the first tries."""
    request = ConfigSet(request_id=uuid.uuid4().hex, base_version=base, values=values, epoch=time.time_ns(), seq=1)
    topic, payload = CONFIG_SET.name(person.place, section="mirror", origin="cli"), encode(CONFIG_SET, request)
    reply_to = REPLY.name(person.place, origin="cli")
    for _ in range(tries - 1):
        with contextlib.suppress(RequestTimeout):
            answer = await person.bus.request(topic, payload, reply_to=reply_to, timeout_s=4.0)
            return decode(REPLY, Reply, answer.payload)
    answer = await person.bus.request(topic, payload, reply_to=reply_to, timeout_s=COME_UP_S + 10)
    return decode(REPLY, Reply, answer.payload)


async def said(states: Heard, phase: str, version: int) -> ConfigState:
    found = await states.until(lambda state: (state.section, state.phase, state.version) == ("mirror", phase, version))
    assert isinstance(found, ConfigState)
    return found


async def up(device: Device, person: User, *processes: str) -> Heard:
    """Start processes and wait until all run well."""
    statuses = await person.hear(STATUS)
    for name in processes:
        device.start(name)
    for name in processes:
        await runs(statuses, name, 0)
    return statuses


async def runs(statuses: Heard, process: str, version: int) -> None:
    def well(status: Status) -> bool:
        ours = status.process == process and status.config.get("mirror", 0) == version
        return ours and status.state in (State.ACTIVE, State.IDLE)

    await statuses.until(well)


def held(device: Device) -> dict[str, dict[str, object]]:
    path = device.home / "state" / "config.json"
    return dict(json.loads(path.read_text())) if path.exists() else {}


async def test_a_change_is_applied_by_the_process_and_its_state_is_told(device: Device, person: User) -> None:
    statuses = await up(device, person, "agent", "mirror")
    states = await person.hear(CONFIG_STATE)
    reply = await ask(person, {"tag_hz": 4.0}, 0)
    assert (reply.ok, reply.value) == (True, 1)
    assert (await said(states, "applying", 1)).origin == "cli"
    assert (await said(states, "applied", 1)).values == {"tag_hz": 4.0}
    await runs(statuses, "mirror", 1)
    assert held(device)["mirror"]["pending"] is False


async def test_a_change_that_a_process_cannot_run_with_returns_with_its_reason(device: Device, person: User) -> None:
    statuses = await up(device, person, "agent", "mirror")
    states = await person.hear(CONFIG_STATE)
    began = time.monotonic()
    reply = await ask(person, {"sinks": ["mse"]}, 0)
    assert not reply.ok
    assert "mirror is stopped with it: " in reply.reason
    assert "no sink 'mse'" in reply.reason
    assert time.monotonic() - began < COME_UP_S
    assert (await said(states, "reverted", 2)).values == {}
    assert held(device)["mirror"]["values"] == {}
    await runs(statuses, "mirror", 2)  # the same process: a change that is refused stops nothing


async def test_a_writer_who_has_not_read_the_newest_version_is_refused(device: Device, person: User) -> None:
    await up(device, person, "agent", "mirror")
    assert (await ask(person, {"tag_hz": 4.0}, 0)).ok
    reply = await ask(person, {"tag_hz": 5.0}, 0)
    assert not reply.ok
    assert "based on version 0, the device has 1; read again" in reply.reason
    assert held(device)["mirror"]["values"] == {"tag_hz": 4.0}


async def test_what_the_fleet_desires_is_applied_once(device: Device, person: User) -> None:
    """It is retained, and must not undo what the site has set since."""
    statuses = await person.hear(STATUS)
    agent = device.start("agent")
    device.start("mirror")
    for name in ("agent", "mirror"):
        await runs(statuses, name, 0)
    states = await person.hear(CONFIG_STATE)
    async with device.user("uplink") as uplink:
        wanted = Desired(generation=7, config={"mirror": {"tag_hz": 3.0}}, epoch=time.time_ns(), seq=1)
        uplink.say(DESIRED, wanted, kind="config")
        state = await said(states, "applied", 1)
        assert (state.origin, state.values) == ("fleet", {"tag_hz": 3.0})
        await runs(statuses, "mirror", 1)
        assert (await ask(person, {"tag_hz": 4.0}, 1)).value == 2
        kill(agent)
        device.start("agent")
        assert (await ask(person, {"tag_hz": 5.0}, 2, tries=10)).value == 3
        assert (await ask(person, {"tag_hz": 6.0}, 3)).value == 4  # nobody has changed it in between


async def test_an_agent_that_is_killed_in_the_middle_takes_the_change_back(device: Device, person: User) -> None:
    statuses = await person.hear(STATUS)
    states = await person.hear(CONFIG_STATE)
    agent, mirror = device.start("agent"), device.start("mirror")
    for name in ("agent", "mirror"):
        await runs(statuses, name, 0)
    mirror.send_signal(signal.SIGSTOP)  # it can't confirm
    try:
        request = ConfigSet(request_id="r1", base_version=0, values={"tag_hz": 9.0}, epoch=time.time_ns(), seq=1)
        person.say(CONFIG_SET, request, section="mirror", origin="cli")
        await said(states, "applying", 1)
        assert held(device)["mirror"]["pending"] is True
        kill(agent)
        device.start("agent")
        state = await said(states, "reverted", 2)
        assert (state.values, state.problems) == ({}, ["the agent ended before the change was confirmed"])
        assert held(device)["mirror"]["values"] == {}
    finally:
        mirror.send_signal(signal.SIGCONT)
    await runs(statuses, "mirror", 2)


def kill(process: "subprocess.Popen[bytes]") -> None:
    process.kill()
    process.wait(5)
