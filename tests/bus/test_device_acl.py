"""Who gets through at a device's broker, by delivery: SUBACK grants everything, so that it proves nothing."""

import asyncio
import socket
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager

import aiomqtt
import pytest

from bus import Address
from bus.broker import DEVICE_ROLES, EXTERNAL_ROLES, Account, device_acl, password_file, password_line
from bus.broker_config import development, device_config
from bus.mosquitto import BrokerProcess, find_broker, free_port, probe
from schemas import topics as t
from schemas.errors import StartError
from schemas.topics import TOPICS, Place, Reach, Role, Topic

PLACE = Place("plant", "line1", "node1")
SITE_ROWS = tuple(row for row in TOPICS if row.reach is Reach.SITE)
USERS = {role: f"{role}-one" if role in DEVICE_ROLES else f"{role}er" for role in DEVICE_ROLES + EXTERNAL_ROLES}
PASSWORD = "only for this test"
STRANGER = "someone-else"


@pytest.fixture(scope="module")
def broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Address]:
    """A broker with an account per role, and a witness that may do everything."""
    folder = tmp_path_factory.mktemp("acl")
    config = development(folder, free_port())
    accounts = [Account(user, role) for role, user in USERS.items()]
    config.passwords.write_text(password_file(dict.fromkeys([*USERS.values(), "witness"], PASSWORD)))
    config.passwords.chmod(0o600)
    config.acl.write_text(
        device_acl(PLACE, accounts) + "\nuser witness\ntopic readwrite #\npattern read fence\npattern write barrier\n"
    )
    address = Address(port=config.port, username="witness", password=PASSWORD)
    with BrokerProcess(find_broker(folder, allow_install=False)).start(device_config(config), folder, address):
        yield address


@asynccontextmanager
async def client_of(broker: Address, user: str) -> AsyncIterator[aiomqtt.Client]:
    async with aiomqtt.Client(
        broker.host, broker.port, username=user, password=PASSWORD, protocol=aiomqtt.ProtocolVersion.V5, timeout=5
    ) as client:
        yield client


async def received_until(client: aiomqtt.Client, fence: str) -> set[tuple[str, str]]:
    """(topic, payload) of all that comes before `fence`."""
    found = set()
    async with asyncio.timeout(10):
        async for message in client.messages:
            if message.topic.value == fence:
                return found
            assert isinstance(message.payload, bytes)
            if message.payload:
                found.add((message.topic.value, message.payload.decode()))
    raise AssertionError("the connection ended")


def name_of(row: Topic, who: str) -> str:
    fields = {"source": "s1", "stream": "s1", "pipeline": "p1", "origin": "o1", "kind": "k1", "model": "m1"}
    fields |= {"section": "c1", "process": "x1", "tag": "t1"}
    if row.binds:
        fields[row.binds] = who
    return row.name(PLACE, **{key: value for key, value in fields.items() if "{" + key + "}" in row.pattern})


def may(row: Topic, role: Role, who: str, side: str) -> bool:
    """What the table says, in the test's own words."""
    roles = row.publishers if side == "publisher" else row.readers
    tied = row.binds != "" and row.bound == side
    return role in roles and (not tied or who == USERS[role])


async def test_exactly_the_publishers_of_the_table_get_through(broker: Address) -> None:
    tried = {
        (name_of(row, who), f"{role} as {who}"): may(row, role, who, "publisher")
        for role in USERS
        for row in SITE_ROWS
        for who in (USERS[role], STRANGER)
    }
    async with client_of(broker, "witness") as witness:
        await witness.subscribe("#")
        for role, user in USERS.items():
            async with client_of(broker, user) as client:
                for topic, payload in tried:
                    if payload.startswith(f"{role} as "):
                        await client.publish(topic, payload)
                await client.publish("barrier", qos=1)
        await witness.publish("fence")
        got = await received_until(witness, "fence")
    assert got == {message for message, allowed in tried.items() if allowed}


@pytest.mark.parametrize("retained", [False, True], ids=["live", "retained"])
async def test_exactly_the_readers_of_the_table_hear(broker: Address, retained: bool) -> None:
    everyone = [*USERS.values(), STRANGER]
    sent = {(name_of(row, who), row.key): (row, who) for row in SITE_ROWS for who in everyone}
    async with client_of(broker, "witness") as witness:

        async def publish_all() -> None:
            for topic, payload in sent:
                await witness.publish(topic, payload, retain=retained)

        async def heard(role: Role) -> set[tuple[str, str]]:
            async with client_of(broker, USERS[role]) as client:
                await client.subscribe("#")
                ready.release()
                return await received_until(client, "fence")

        if retained:
            await publish_all()
        ready = asyncio.Semaphore(0)
        async with asyncio.TaskGroup() as group:
            readers = {role: group.create_task(heard(role)) for role in USERS}
            for _ in USERS:
                await asyncio.wait_for(ready.acquire(), 10)
            if not retained:
                await publish_all()
            await witness.publish("fence")
        if retained:
            for topic, _ in sent:
                await witness.publish(topic, b"", retain=True)
    for role, task in readers.items():
        expected = {message for message, (row, who) in sent.items() if may(row, role, who, "reader")}
        assert task.result() == expected, role


@pytest.mark.parametrize(
    ("role", "process", "allowed"),
    [(Role.CONNECT, USERS[Role.CONNECT], True), (Role.CONNECT, "runtime-one", False), (Role.MES, "connect-one", False)],
)
async def test_a_will_needs_the_same_right_as_a_publish(
    broker: Address, role: Role, process: str, allowed: bool
) -> None:
    topic = t.STATUS.name(PLACE, process=process)
    async with client_of(broker, "witness") as witness:
        await witness.subscribe(topic)
        await witness.subscribe("fence")
        await asyncio.to_thread(die_with_will, broker, USERS[role], topic)
        await asyncio.to_thread(die_with_will, broker, "witness", "fence")  # the broker sees it die after the first
        assert await received_until(witness, "fence") == ({(topic, "will")} if allowed else set())


def die_with_will(broker: Address, user: str, topic: str) -> None:
    """Connect with a will, then vanish without a goodbye."""

    def field(text: str) -> bytes:
        return len(text).to_bytes(2, "big") + text.encode()

    body = field("MQTT") + bytes([5, 0x02 | 0x04 | 0x08 | 0x80 | 0x40, 0, 60, 0]) + field(f"will-{user}")
    body += b"\0" + field(topic) + field("will") + field(user) + field(PASSWORD)
    with socket.create_connection((broker.host, broker.port), 5) as link:
        link.sendall(bytes([0x10, 0x80 | len(body) & 0x7F, len(body) >> 7]) + body)
        link.recv(64)


async def test_nobody_clears_what_another_retains(broker: Address) -> None:
    topic = t.STATUS.name(PLACE, process=USERS[Role.CONNECT])
    async with client_of(broker, USERS[Role.CONNECT]) as owner, client_of(broker, USERS[Role.MES]) as outsider:
        await owner.publish(topic, "active", qos=1, retain=True)
        await outsider.publish(topic, b"", retain=True)
        await outsider.publish("barrier", qos=1)
        await outsider.subscribe(topic)
        async with asyncio.timeout(5):
            message = await anext(aiter(outsider.messages))
    assert (message.topic.value, message.payload) == (topic, b"active")


def test_frames_and_decisions_stay_inside() -> None:
    for role in EXTERNAL_ROLES:
        assert role not in t.FRAME.readers | t.DECISION.publishers | t.OUTPUT.publishers | t.STATUS.publishers


def test_a_wrong_password_and_no_password_are_refused(broker: Address) -> None:
    with pytest.raises(StartError, match="refuses 'connect-one'"):
        probe(Address(port=broker.port, username="connect-one", password="wrong"))
    with pytest.raises(StartError, match="refuses 'nobody'"):
        probe(Address(port=broker.port, username="nobody", password=PASSWORD))


async def test_without_an_account_nothing_is_said_or_heard(broker: Address) -> None:
    with pytest.raises(aiomqtt.MqttError):
        async with aiomqtt.Client(broker.host, broker.port, timeout=5):
            pass


@pytest.mark.parametrize("user", ["connect", "runtime-safety", "Upper", "a/b", "a+", "#", "", "line\n", "x" * 65])
def test_an_outsider_can_not_be_named_like_a_process_or_a_filter(user: str) -> None:
    with pytest.raises(ValueError, match="broker user"):
        Account(user, Role.MES)


def test_a_user_has_one_account() -> None:
    with pytest.raises(ValueError, match="two accounts"):
        device_acl(PLACE, [Account("scada", Role.MES), Account("scada", Role.CLI)])


def test_a_password_never_stands_in_its_file() -> None:
    line = password_line("agent", PASSWORD)
    assert line.startswith("agent:$7$101$")
    assert PASSWORD not in line
    assert line != password_line("agent", PASSWORD)
