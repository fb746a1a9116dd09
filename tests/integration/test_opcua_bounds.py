"""What a client may cost the OPC UA server below the sessions: sockets, bytes, channels, a reader that stops."""

import asyncio
import contextlib
import json
import math
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from asyncua import ua
from asyncua.client.client import Client
from asyncua.common.utils import Buffer
from asyncua.crypto.security_policies import SecurityPolicyBasic256Sha256
from asyncua.ua.attribute_ids import AttributeIds
from asyncua.ua.object_ids import ObjectIds
from asyncua.ua.ua_binary import nodeid_to_binary, struct_from_binary, struct_to_binary
from asyncua.ua.uaerrors import BadSecurityModeRejected, BadServiceUnsupported, BadSessionIdInvalid

from bus.mosquitto import free_port
from edge.opcua_server.access.trust import CLIENTS, Folders
from edge.opcua_server.limits import WAITING_REQUESTS
from edge.security.passwords import hash_password
from schemas.messages import State
from schemas.topics import EVENT, STATUS
from tests.device import Device
from tests.opcua_certificates import URI, party
from tests.peers.opcua_wire import HEAD, Plain

pytestmark = [pytest.mark.slow, pytest.mark.timeout(240)]
UP_S = 150.0
TAGS = "name,address,type,access,group,unit,min,max\n" + "".join(
    f"Line.{number},hr:{number * 4},string:8,r,fast,,,\n" for number in range(200)
)
SETTINGS = """
[sources.plc]
driver = "modbus"
tags = "tags/plc.csv"
groups = {{ fast = 20 }}
[opcua]
endpoint = "opc.tcp://127.0.0.1:{port}"
users = "users.json"
limits = {{ connections = 12, sessions = 5, subscriptions = 2, items = 30, all_items = 40 }}
"""


@dataclass
class Server:
    """A device whose opcua process runs."""

    device: Device
    port: int
    pid: int
    files: dict[str, str]

    @property
    def endpoint(self) -> str:
        return f"opc.tcp://127.0.0.1:{self.port}"

    def memory_mb(self) -> float:
        pages = int(Path(f"/proc/{self.pid}/statm").read_text().split()[1])
        return pages * 4096 / 1e6

    async def client(self) -> Client:
        client = Client(self.endpoint, timeout=30.0)
        client.application_uri = URI
        client.set_user("observer")
        client.set_password("only looks on")
        await client.set_security(SecurityPolicyBasic256Sha256, self.files["certificate"], self.files["key"])
        return client


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    folder = tmp_path_factory.mktemp("bounds")
    device = Device(folder, ("opcua", "agent", "historian"))
    port = free_port()
    device.write("tags/plc.csv", TAGS)
    device.write("users.json", json.dumps({"observer": hash_password("only looks on")}))
    device.add("device.toml", SETTINGS.format(port=port))
    lists = Folders(device.home / CLIENTS)
    lists.make()
    mine = party("Mine", 21)
    mine.put(lists.trusted)
    with device.running():
        child = device.start("opcua")
        asyncio.run(_until_up(device))
        yield Server(device, port, child.pid, mine.files(folder, "client"))


async def _until_up(device: Device) -> None:
    async with device.user("agent") as agent:
        statuses = await agent.hear(STATUS)
        await statuses.until(lambda status: status.process == "opcua" and status.state is State.IDLE, UP_S)


class Deaf:
    """Takes notifications, and does nothing with them."""


async def closed(reader: asyncio.StreamReader, seconds: float = 15.0) -> bytes:
    """What came until the server closed the connection."""
    async with asyncio.timeout(seconds):
        try:
            return await reader.read()
        except ConnectionError:
            return b""


async def test_a_message_that_is_announced_too_long_is_not_waited_for(server: Server) -> None:
    before = server.memory_mb()
    for kind in (b"HELF", b"OPNF", b"MSGC"):
        reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
        writer.write(kind + struct.pack("<I", 0xFFFF_FFF0) + b"x" * 4000)
        assert await closed(reader) == b""
        writer.close()
    assert server.memory_mb() - before < 20


@pytest.mark.parametrize("claim", [b"\x80" + b"\xff\xff\xff\x7f", b"\x8c" + struct.pack("<ii", 2**30, -4)])
async def test_a_stranger_with_sixty_bytes_costs_neither_memory_nor_time(server: Server, claim: bytes) -> None:
    before = server.memory_mb()
    header = struct_to_binary(ua.RequestHeader(TimeoutHint=ua.UInt32(1000)))[:-3]
    literal = nodeid_to_binary(ua.typeid_by_extension_objects[ua.LiteralOperand])
    hidden = literal + b"\1" + struct.pack("<i", len(claim)) + claim  # in the header, where anything may be
    plain = Plain(server.port)
    await plain.open()
    async with asyncio.timeout(15):
        with pytest.raises(ConnectionError):
            await plain.ask(b"\1\0" + struct.pack("<H", 428) + header + hidden)
    plain.close()
    assert server.memory_mb() - before < 20


async def test_a_request_without_a_session_is_short(server: Server) -> None:
    request = ua.GetEndpointsRequest()
    request.Parameters.EndpointUrl = ua.String("opc.tcp://" + "x" * 20_000)  # Python would keep 128 of them
    plain = Plain(server.port)
    await plain.open()
    answer = struct_from_binary(ua.ServiceFault, Buffer((await plain.ask(struct_to_binary(request)))[HEAD:]))
    assert answer.ResponseHeader.ServiceResult.name == "BadRequestTooLarge"
    plain.close()


async def test_a_session_timeout_is_a_number(server: Server) -> None:
    client = await server.client()
    client.session_timeout = math.nan
    with pytest.raises(ua.uaerrors.BadInvalidArgument):
        await client.connect()


async def test_sessions_that_killed_clients_left_behind_make_room(server: Server) -> None:
    for _ in range(7):  # two more than there may be at once
        client = await server.client()
        await client.connect()
        await client.create_subscription(500, Deaf())
        transport = client.uaclient.protocol.transport if client.uaclient.protocol else None
        assert transport is not None
        transport.abort()
        with contextlib.suppress(Exception):  # it finds itself cut off
            await client.disconnect()
    last = await server.client()
    await last.connect()
    assert "urn:plantedge:device" in await last.get_namespace_array()
    await last.disconnect()


async def test_a_hello_with_tiny_buffers_is_refused(server: Server) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
    url = server.endpoint.encode()
    body = struct.pack("<IIIII", 0, 64, 64, 0, 0) + struct.pack("<I", len(url)) + url
    writer.write(b"HELF" + struct.pack("<I", 8 + len(body)) + body)
    assert (await closed(reader))[:3] == b"ERR"
    writer.close()


async def test_connections_are_bounded_and_one_without_a_session_ends(server: Server) -> None:
    held = [await asyncio.open_connection("127.0.0.1", server.port) for _ in range(12)]
    reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
    assert await closed(reader) == b"", "the thirteenth"
    for one, other in held:
        assert await closed(one, 40) == b"", "nobody has activated a session in ten seconds"
        other.close()
    writer.close()


async def test_without_a_session_nothing_is_read_whatever_the_channel(server: Server) -> None:
    node = ua.NodeId(ua.Int32(ObjectIds.Server_ServerStatus_CurrentTime))
    client = Client(server.endpoint, timeout=30.0)
    await client.connect_socket()
    try:
        await client.send_hello()
        await client.open_secure_channel()
        with pytest.raises(BadSecurityModeRejected):
            await client.create_session()
        with pytest.raises(BadSessionIdInvalid):
            await client.get_node(node).read_value()
        with pytest.raises(BadServiceUnsupported):
            await client.uaclient.register_server(ua.RegisteredServer())
    finally:
        client.disconnect_socket()
    secure = await server.client()
    await secure.connect_socket()
    try:
        await secure.send_hello()
        await secure.open_secure_channel()
        await secure.create_session()
        with pytest.raises(ua.uaerrors.BadSessionNotActivated):
            await secure.get_node(node).read_value()
    finally:
        secure.disconnect_socket()


async def test_nobody_enters_as_somebody_else_or_as_nobody(server: Server) -> None:
    nobody = await server.client()
    nobody.set_user("")
    nobody.set_password("")
    other = await server.client()
    other.application_uri = "urn:somebody:else"  # not what its certificate was issued for
    wrong = await server.client()
    wrong.set_password("looks on only")
    for client, refused in (
        (nobody, ua.uaerrors.BadIdentityTokenRejected), (other, ua.uaerrors.BadCertificateUriInvalid),
        (wrong, ua.uaerrors.BadUserAccessDenied),
    ):  # fmt: skip
        with pytest.raises(refused):
            await client.connect()
    async with server.device.user("historian") as historian:
        events = await historian.hear(EVENT)
        with pytest.raises(ua.uaerrors.BadUserAccessDenied):
            await wrong.connect()
        assert (await events.until()).text == "observer was refused a login"


async def test_a_session_is_its_clients_alone(server: Server) -> None:
    first, thief = await server.client(), await server.client()
    await first.connect()
    await thief.connect()
    own, token = (client.uaclient.session.authentication_token for client in (thief, first))
    assert token.NodeIdType is ua.NodeIdType.ByteString and isinstance(token.Identifier, bytes), "nobody guesses it"
    thief.uaclient.session.restore_authentication_token(token)
    with pytest.raises(BadSessionIdInvalid):
        await thief.get_namespace_array()
    with pytest.raises(BadSessionIdInvalid):
        await thief.activate_session("observer", "only looks on")
    thief.uaclient.session.restore_authentication_token(own)
    await thief.disconnect()
    assert "urn:plantedge:device" in await first.get_namespace_array()
    await first.disconnect()


async def test_a_client_that_asks_faster_than_it_is_answered_has_all_its_answers(server: Server) -> None:
    client = await server.client()
    await client.connect()
    asked = [
        client.get_node(ua.NodeId(ua.ObjectIds.Server_NamespaceArray)).read_value()
        for _ in range(20 * WAITING_REQUESTS)
    ]
    answers = await asyncio.gather(*asked)
    assert all("urn:plantedge:device" in answer for answer in answers)
    await client.load_data_type_definitions()  # hundreds of requests at a time
    await client.disconnect()


async def test_a_client_that_stops_reading_costs_no_memory_and_nobody_else(server: Server) -> None:
    deaf = await server.client()
    await deaf.connect()
    index = await deaf.get_namespace_index("urn:plantedge:device")
    names = [ua.String(f"s/l/n/Sources/plc/Line.{number}") for number in range(200)]
    nodes = [ua.NodeId(name, ua.Int16(index)) for name in names]
    before = server.memory_mb()
    transport = deaf.uaclient.protocol.transport if deaf.uaclient.protocol else None
    assert transport is not None
    transport.pause_reading()
    params = ua.ReadParameters()
    attribute = AttributeIds.DisplayName
    params.NodesToRead = [ua.ReadValueId(NodeId=node, AttributeId=attribute) for node in nodes * 5]
    asked: list[asyncio.Task[object]] = []
    for _ in range(300):  # answers of some 25 kB
        if transport.is_closing():
            break
        asked.append(asyncio.create_task(deaf.uaclient.read(params)))
        await asyncio.sleep(0.01)
    other = await server.client()
    await other.connect()
    assert len(await other.uaclient.read_attributes(nodes, attribute)) == len(nodes)
    assert server.memory_mb() - before < 30
    for task in asked:
        task.cancel()
    await asyncio.gather(*asked, return_exceptions=True)
    transport.abort()
    await other.disconnect()
