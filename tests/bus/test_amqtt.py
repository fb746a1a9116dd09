"""The broker of last resort: the real amqtt, as the ladder finds it, under both buses."""

import asyncio
import importlib.util
import json
import shutil
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from bus import Address, Will
from bus.amqtt import amqtt_config, amqtt_passwords, find_amqtt
from bus.broker import Account, device_acl
from bus.broker_ladder import VARIABLE
from bus.broker_program import BrokerProgram, RungFailed
from bus.mosquitto import BrokerProcess, find_broker, free_port, probe
from bus.session import Session
from schemas.errors import BusRefused, StartError
from schemas.topics import DECISION, FRAME, RESULT, STATUS, Place, Role
from tests.bus.conftest import KINDS, WAIT_S, Inbox, eventually
from tests.conftest import PEERS, ROOT, absent

PLACE = Place("plant", "line1", "node1")
ACCOUNTS = (
    Account("runtime-safety", Role.RUNTIME), Account("camera-eye", Role.CAMERA), Account("connect-one", Role.CONNECT),
    Account("historian", Role.HISTORIAN), Account("mes", Role.MES),
)  # fmt: skip
HOME = PEERS.parent
PASSWORD = "not-a-secret-9031"


def test_its_configuration_listens_on_loopback_alone_and_knows_accounts_and_topics() -> None:
    made = json.loads(amqtt_config(4711, Path("/x/passwords"), device_acl(PLACE, ACCOUNTS)))
    assert [listener["bind"] for listener in made["listeners"].values()] == ["127.0.0.1:4711"]
    files, topics = made["plugins"].values()  # no plugin that lets anonymous clients in
    assert files == {"password_file": "/x/passwords"}
    decisions = DECISION.filter(PLACE)
    assert [user for user, filters in topics["publish_acl"].items() if decisions in filters] == ["runtime-safety"]
    assert topics["acl"].keys() == topics["publish_acl"].keys() == {account.user for account in ACCOUNTS}


def test_a_caller_that_needs_mosquitto_gets_no_amqtt(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(VARIABLE, "amqtt")
    with pytest.raises(StartError, match="needs a mosquitto 2"):
        find_broker(tmp_path)


def test_where_there_is_none_the_rung_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(VARIABLE, raising=False)
    monkeypatch.setattr("sys.prefix", str(tmp_path))
    with pytest.raises(StartError, match=r"(?s)installed: no mosquitto.*amqtt: none in .*Install mosquitto 2"):
        find_broker(tmp_path, allow_install=False, search=[], amqtt=True)


# --- the real one -----------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def program() -> BrokerProgram:
    """The real amqtt, installed from the lock by the first test that asks."""
    try:
        return find_amqtt(HOME, True, print)
    except RungFailed as failure:
        absent("amqtt", f"it is installed from requirements/amqtt.txt ({failure})")


@pytest.fixture
def address(program: BrokerProgram, tmp_path: Path) -> Iterator[Callable[[str], Address]]:
    """`address(user)` of a running amqtt with the accounts above."""
    port = free_port()
    passwords = tmp_path / "passwords"
    passwords.write_text(amqtt_passwords(program, {account.user: PASSWORD for account in ACCOUNTS}))

    def of(user: str) -> Address:
        return Address(port=port, username=user, password=PASSWORD, mqtt=program.mqtt)

    config = amqtt_config(port, passwords, device_acl(PLACE, ACCOUNTS))
    with BrokerProcess(program) as process:
        process.start(config, tmp_path, of("historian"))
        yield of


@pytest.fixture(params=["hot-311", "control-311"])
def kind(request: pytest.FixtureRequest) -> str:
    name: str = request.param
    return name


Make = Callable[..., Session]


@pytest.fixture
def to(kind: str, address: Callable[[str], Address]) -> Make:
    """`to("historian")` is a bus of the kind under test with that account."""

    def make(user: str, **arguments: object) -> Session:
        return KINDS[kind][0](address(user), f"{user}-test", connect_timeout_s=WAIT_S, **arguments)  # type: ignore[arg-type]  # the caller's

    return make


@pytest.mark.slow
def test_the_ladder_ends_at_it_with_a_warning(
    program: BrokerProgram, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv(VARIABLE, raising=False)
    monkeypatch.setenv("PATH", str(tmp_path))  # no apt either
    (tmp_path / "amqtt").symlink_to(program.path.parent.parent)
    said: list[str] = []
    found = find_broker(tmp_path, search=[], as_root=False, amqtt=True, say=said.append)
    assert (found.kind, found.mqtt, found.version) == ("amqtt", "3.1.1", program.version)
    assert "last resort" in said[-1] and "install mosquitto" in said[-1]


@pytest.mark.slow
@pytest.mark.timeout(400)
def test_it_is_installed_by_its_lock_and_named_by_the_variable(
    program: BrokerProgram, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(VARIABLE, "amqtt")
    monkeypatch.setattr("sys.prefix", str(tmp_path))  # where it is not
    monkeypatch.setenv("PATH", "/usr/bin:/bin")  # by pip, if uv is not there
    if importlib.util.find_spec("ensurepip") is None and shutil.which("uv", path="/usr/bin:/bin") is None:
        absent("pip in a new environment", "apt-get install python3-venv")
    found = find_broker(tmp_path, amqtt=True)
    assert found.path == tmp_path / "amqtt" / "bin" / "amqtt"
    assert f"amqtt=={found.version}" in (ROOT / "requirements" / "amqtt.txt").read_text()


@pytest.mark.slow
async def test_messages_retained_states_and_wills_arrive(to: Make) -> None:
    inbox, late = Inbox(), Inbox()
    name = STATUS.name(PLACE, process="camera-eye")
    async with to("mes") as reader:
        await reader.subscribe(STATUS.filter(PLACE, process="runtime-safety"), 1, inbox)
        async with to("runtime-safety") as writer:
            await writer.deliver(STATUS.name(PLACE, process="runtime-safety"), b"on", retain=True)
            assert (await inbox.take()).payload == b"on"
    async with to("mes") as reader:
        await reader.subscribe(STATUS.filter(PLACE), 1, late)
        got = await late.take()
        assert (got.payload, got.retained) == (b"on", True)
        dying = to("camera-eye", will=Will(name, b"gone"))
        async with dying:
            link = dying._link
            assert link
            await link.close(goodbye=False)
            got = await late.take()
            assert (got.topic, got.payload) == (name, b"gone")


@pytest.mark.slow
async def test_a_session_is_kept_while_its_reader_is_away(to: Make) -> None:
    inbox = Inbox()
    name, topic_filter = RESULT.name(PLACE, pipeline="p"), RESULT.filter(PLACE)
    async with to("runtime-safety") as writer:
        async with to("historian", session_expiry_s=60) as reader:
            await reader.subscribe(topic_filter, 1, inbox)
        await writer.deliver(name, b"while away")
        async with to("historian", session_expiry_s=60) as reader:
            await reader.subscribe(topic_filter, 1, inbox)
            assert (await inbox.take()).payload == b"while away"


@pytest.mark.slow
async def test_strangers_are_refused_and_only_the_runtime_decides(
    to: Make, kind: str, address: Callable[[str], Address]
) -> None:
    inbox = Inbox()
    with pytest.raises(BusRefused, match="not authorized"):
        async with KINDS[kind][0](replace(address("historian"), password="wrong"), "stranger"):
            pass
    with pytest.raises(StartError, match="refuses 'historian'"):
        probe(replace(address("historian"), password="wrong"))
    name = DECISION.name(PLACE, pipeline="p")
    async with to("connect-one") as reader, to("mes") as outsider, to("runtime-safety") as runtime:
        await reader.subscribe(DECISION.filter(PLACE), 1, inbox)
        await outsider.deliver(name, b"forged")
        await runtime.deliver(name, b"true")
        assert (await inbox.take()).payload == b"true"
    assert inbox.empty


@pytest.mark.slow
async def test_frames_of_the_demo_s_size_and_rate_are_carried(to: Make) -> None:
    taken: list[float] = []
    payload = bytes(64 * 64 * 3)
    async with to("camera-eye") as camera, to("runtime-safety") as runtime:
        await runtime.subscribe(FRAME.filter(PLACE), 0, lambda delivery: taken.append(time.monotonic()))
        began = time.monotonic()
        sent = []
        for n in range(40):
            await asyncio.sleep(max(0.0, began + n / 20 - time.monotonic()))
            sent.append(time.monotonic())
            assert camera.publish(FRAME.name(PLACE, stream="eye"), payload)
        await eventually(lambda: len(taken) == 40, "every frame")
    late = sorted(got - at for got, at in zip(taken, sent, strict=True))
    assert late[20] < 0.05, late
