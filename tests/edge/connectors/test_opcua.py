"""What only OPC UA has: NodeIds, statuses, types of nodes, security. The server is node-opcua's."""

import asyncio
import contextlib
import signal
import socket
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from asyncua import ua
from asyncua.common.utils import wait_for

from edge.connectors.opcua import OpcUaConnector, check_address, open_connector, planned
from edge.plc.opcua import session
from edge.plc.opcua.session import Session, Terms
from edge.plc.opcua.values import is_done
from edge.plc.tags.lists import Access, Native, Tag, coerce
from edge.settings import Source
from schemas.errors import ConnectorError, SettingsError, TagError
from schemas.messages import Quality, Sample
from tests.peers.opcua_peer import PASSWORD, USER, OpcUaPeer, shared_opcua_peer

pytestmark = pytest.mark.slow

Connect = Callable[..., OpcUaConnector]
TYPES: dict[str, tuple[str, Native, Native]] = {
    "Bool": ("bool", True, False), "SByte": ("int8", -8, 7), "Byte": ("uint8", 200, 255),
    "Int16": ("int16", -1600, 1600), "UInt16": ("bcd16", 1234, 9876), "Int32": ("int32", -320000, 5),
    "UInt32": ("uint32", 3200000000, 2**32 - 1), "Int64": ("int64", -2, -(2**62)),
    "UInt64": ("uint64", (1 << 32) + 2, 2**63 + 1), "Float": ("float32", 1.5, -0.25),
    "Double": ("float64", -2.25, 1e300), "String": ("wstring:16", "héllo", "größer"),
    "Time": ("datetime", "2026-05-01T12:30:00.250000Z", "2031-01-02T03:04:05Z"),
    "Localized": ("wstring:8", "Halt", "Los"), "Bytes": ("uint8[3]", [1, 2, 3], [255, 0, 7]),
    "Floats": ("float32[3]", [1.5, 2.5, -3.5], [0.0, 4.0, 8.5]), "Bools": ("bool[2]", [True, False], [False, True]),
}  # fmt: skip


def tag(address: str, kind: str = "float32", **fields: object) -> Tag:
    return Tag(name=f"{address}.{kind}", address=address, type=kind, **fields)  # type: ignore[arg-type]


def node(name: str, kind: str = "float32", **fields: object) -> Tag:
    return tag(f"ns=2;s={name}", kind, **fields)


def source(port: int = 1, timeout_ms: float = 1000, **options: str | int) -> Source:
    return Source(driver="opcua", port=port, tags="-", groups={}, timeout_ms=timeout_ms, options=options)


@pytest.fixture
def server() -> Iterator[OpcUaPeer]:
    with shared_opcua_peer() as running:
        yield running


@pytest.fixture
def connect(server: OpcUaPeer) -> Iterator[Connect]:
    """Connects with options; all is closed at the end."""
    with contextlib.ExitStack() as stack:

        def made(timeout_ms: float = 1000, **options: str | int) -> OpcUaConnector:
            one = open_connector(source(server.port, timeout_ms, **options))
            stack.callback(one.close)
            one.connect()
            return one

        yield made


def secured(server: OpcUaPeer, name: str = "client", **options: str) -> dict[str, str]:
    (server.folder / "right").write_text(f"{PASSWORD}\n")
    (server.folder / "wrong").write_text("staple\n")
    return {
        "security": "Basic256Sha256", "certificate_file": str(server.folder / f"{name}.pem"),
        "key_file": str(server.folder / f"{name}.key"), "trusted_file": str(server.folder / "server.pem"),
    } | options  # fmt: skip


def read(connector: OpcUaConnector, *tags: Tag) -> dict[str, Sample]:
    return {name: sample for part in connector.read(tags) for name, sample in part.items()}


@pytest.mark.parametrize(
    "address",
    ["i=2258", "ns=3;i=4294967295", "ns=2;s=a;b=c [3].\"d\"", "nsu=urn:a%3Bb;s=x", "ns=0;b=M/RbKBsRVkePCePcx24oRA==",
     "ns=1;g=09087e75-8e5e-499b-954f-f2a9603db28a"],
)  # fmt: skip
def test_node_ids_are_taken_in_their_usual_notation(address: str) -> None:
    check_address(tag(address))


@pytest.mark.parametrize(
    "address", ["", "40001", "ns=2", "s=", "ns=70000;i=1", "i=4294967296", "i=1x", "ns=-1;i=1", "g=12", "b=?", "x=1"]
)
def test_what_is_no_node_id_is_refused_by_name(address: str) -> None:
    with pytest.raises(TagError, match="no NodeId; write ns=2"):
        check_address(tag(address))


@pytest.mark.parametrize(
    ("fields", "says"),
    [({"bit": 3}, "no bits"), ({"order": "DCBA"}, "no byte order"), ({"type": "datetime:dtl"}, "one form")],
)
def test_what_opc_ua_does_not_have_is_refused(fields: dict[str, object], says: str) -> None:
    with pytest.raises(TagError, match=says):
        check_address(Tag(**{"name": "t", "address": "ns=2;s=x", "type": "bool"} | fields))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"security": "Basic128Rsa15"}, "security"),
        ({"security": "Basic256Sha256"}, "certificate_file, key_file, trusted_file"),
        ({"user": "u"}, "password_file"),
        ({"user": "u", "password_file": "p"}, "SignAndEncrypt"),
        ({"password_file": "/no/such"}, "no file /no/such"),
    ],
)
def test_options_that_can_not_be_meant_are_refused(options: dict[str, str], says: str) -> None:
    with pytest.raises(SettingsError, match=says):
        open_connector(source(**options))


def test_a_scan_is_planned_without_a_server() -> None:
    tags = [node(f"Line.Tag{number:04}") for number in range(600)]
    plans = planned(source(), tags)
    assert [plan.tags for plan in plans] == [250, 250, 100]
    assert plans[0].asked > 250 * len("Line.Tag0000") and plans[0].answered > 250 * 4


def test_every_type_is_read(connect: Connect) -> None:
    tags = {name: node(name, kind) for name, (kind, _, _) in TYPES.items()}
    samples = read(connect(), *tags.values())
    assert {name: samples[one.name].value for name, one in tags.items()} == {k: v[1] for k, v in TYPES.items()}


@pytest.mark.parametrize("name", TYPES)
def test_every_type_is_written_as_its_node_holds_it(connect: Connect, name: str) -> None:
    kind, before, after = TYPES[name]
    one, connector = node(f"Set.{name}", kind, access=Access.WRITE), connect()
    for value in (after, before):
        connector.write(one, coerce(one, value))
        assert read(connector, one)[one.name].value == value


def test_a_number_takes_the_type_of_its_node(connect: Connect) -> None:
    connector = connect()
    connector.write(node("Set.Int16", "float64"), 12.0)
    connector.write(node("Set.Double", "int16"), 12)
    assert read(connector, node("Set.Int16", "int16"))["ns=2;s=Set.Int16.int16"].value == 12
    for wrong in (node("Set.Int16", "float32"), node("Set.Bool", "float32"), node("Set.Time", "float32")):
        with pytest.raises(TagError, match=r"which can't hold 12\.5"):
            connector.write(wrong, 12.5)
    with pytest.raises(TagError, match="Int16, which can't hold 70000"):
        connector.write(node("Set.Int16", "int32"), 70000)


def test_statuses_become_quality_and_reason(connect: Connect) -> None:
    samples = read(connect(), node("Uncertain"), node("Bad"), node("Nothing"), node("NaN", "float64"), node("Float"))
    uncertain, bad, nothing, nan, good = samples.values()
    assert (uncertain.quality, uncertain.value) == (Quality.UNCERTAIN, 4.5)
    assert "UncertainLastUsableValue" in uncertain.reason
    assert (bad.quality, bad.value) == (Quality.BAD, None) and "BadSensorFailure" in bad.reason
    assert (nothing.quality, nothing.value) == (Quality.BAD, None) and "no such node" in nothing.reason
    assert (nan.quality, nan.value) == (Quality.BAD, None)
    assert good == Sample(value=1.5)


def test_a_value_of_another_type_is_bad_alone(connect: Connect) -> None:
    samples = read(
        connect(), node("String"), node("Floats"), node("Int32", "int16"), node("Bytes"), node("Bool", "bool")
    )
    assert [one.quality for one in samples.values()] == [*[Quality.BAD] * 4, Quality.GOOD]
    assert "no int16" in samples["ns=2;s=Int32.int16"].reason


def test_a_namespace_that_is_not_there_is_bad_alone(connect: Connect) -> None:
    away = tag("nsu=urn:elsewhere;s=Float", access=Access.WRITE)
    connector = connect()
    samples = read(connector, away, tag("nsu=urn:plantedge:test:plant;s=Float"))
    assert samples[away.name].reason == "the server has no namespace urn:elsewhere"
    assert samples["nsu=urn:plantedge:test:plant;s=Float.float32"].value == 1.5
    with pytest.raises(TagError, match="no namespace"):
        connector.write(away, 1.0)


def test_no_more_nodes_are_asked_for_than_the_server_takes(connect: Connect) -> None:
    connector = connect()
    before = connector.requests
    tags = [Tag(name=f"t{number}", address="ns=2;s=Float", type="float32") for number in range(50)]
    samples = read(connector, *tags)
    assert connector.requests - before == 3
    assert len(samples) == 50 and all(sample == Sample(value=1.5) for sample in samples.values())


def test_sessions_do_not_pile_up_at_the_server(connect: Connect) -> None:
    for _ in range(30):
        connect().close()


def test_a_server_that_hangs_costs_its_timeout(connect: Connect, server: OpcUaPeer) -> None:
    connector = connect(timeout_ms=300, connect_ms=900)
    read(connector, node("Float"))
    server.child.send_signal(signal.SIGSTOP)
    try:
        began = time.monotonic()
        with pytest.raises(ConnectorError, match="no answer within 300 ms"):
            read(connector, node("Float"))
        with pytest.raises(ConnectorError, match="not connected"):
            connector.write(node("Set.Float"), 1.0)
        connector.close()
        assert time.monotonic() - began < 1.3
        with pytest.raises(ConnectorError, match="no answer within 300 ms"):
            connect(timeout_ms=300)
        assert time.monotonic() - began < 2.6
    finally:
        server.child.send_signal(signal.SIGCONT)
    assert read(connect(), node("Float"))["ns=2;s=Float.float32"].value == 1.5


@pytest.mark.parametrize(
    "says", [b"ACKF\x08\0\0\0", b"ERRF\x10\0\0\0\0\0\x80\x80\0\0\0\0", b"MSGF" + b"\xff" * 60, b"HTTP"]
)
def test_rubbish_is_a_connector_error_soon(says: bytes) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def answer() -> None:
            with contextlib.suppress(ConnectionError), listener.accept()[0] as link:
                link.recv(4096)
                link.sendall(says)
                link.recv(4096)

        thread = threading.Thread(target=answer)
        thread.start()
        connector, began = open_connector(source(listener.getsockname()[1], 300)), time.monotonic()
        with pytest.raises(ConnectorError) as caught:
            connector.connect()
        assert not isinstance(caught.value, TagError)
        assert time.monotonic() - began < 1.3
        connector.close()
        thread.join(5)


def test_a_link_that_ends_in_the_moment_of_the_timeout_is_a_connector_error(server: OpcUaPeer) -> None:
    """asyncua's wait raises a kind of CancelledError of its own then, which is no Exception."""
    session = Session(Terms("127.0.0.1", server.port, "", timeout_s=1, connect_s=3, session_s=60, channel_s=3600))
    session.open()

    async def ends_late() -> None:
        loop = asyncio.get_running_loop()
        link = loop.create_future()
        loop.call_later(0.01, link.set_exception, ConnectionError("connection lost"))
        loop.call_soon(time.sleep, 0.05)  # so that both are overdue in one turn of the loop
        await wait_for(link, 10)

    with pytest.raises(ConnectorError, match="no answer within 20 ms"):
        session._call(ends_late, 0.02)
    session.close()


@pytest.mark.parametrize("security", ["Basic256Sha256", "Aes256_Sha256_RsaPss"])
def test_an_encrypted_session_with_a_user_reads_and_writes(connect: Connect, server: OpcUaPeer, security: str) -> None:
    password = str(server.folder / "right")
    connector = connect(**secured(server, security=security, user=USER, password_file=password))
    connector.write(node("Set.Float"), 3.5)
    assert read(connector, node("Set.Float"))["ns=2;s=Set.Float.float32"].value == 3.5


def test_a_signed_session_is_one_too(connect: Connect, server: OpcUaPeer) -> None:
    assert read(connect(**secured(server, mode="Sign")), node("Float"))["ns=2;s=Float.float32"].value == 1.5


def test_a_wrong_password_is_said_and_leaves_no_session(connect: Connect, server: OpcUaPeer) -> None:
    wrong = secured(server, user=USER, password_file=str(server.folder / "wrong"))
    for _ in range(3):
        with pytest.raises(ConnectorError, match="check user and password_file") as caught:
            connect(**wrong)
        assert "staple" not in str(caught.value)


def test_a_server_that_is_not_trusted_gets_nothing(connect: Connect, server: OpcUaPeer) -> None:
    with pytest.raises(ConnectorError, match=r"CN=server.* is not trusted"):
        connect(**secured(server, trusted_file=str(server.folder / "stranger.pem")))


def test_a_server_that_does_not_trust_us_is_said(connect: Connect, server: OpcUaPeer) -> None:
    with pytest.raises(ConnectorError, match="does not trust our certificate"):
        connect(**secured(server, "stranger"))


def test_a_server_whose_certificate_cant_be_read_is_a_connector_error(
    connect: Connect, server: OpcUaPeer, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = session._first
    version = bytes.fromhex("a003020102")  # 3, as a certificate says it; there is no tenth
    monkeypatch.setattr(session, "_first", lambda chain: first(chain).replace(version, version[:-1] + b"\x09", 1))
    with pytest.raises(ConnectorError, match=r"no usable answer \(.*X509 version"):
        connect(**secured(server))


def test_a_file_that_is_no_certificate_is_named(connect: Connect, server: OpcUaPeer, tmp_path: Path) -> None:
    (tmp_path / "x.pem").write_text("-----BEGIN CERTIFICATE-----\nno\n")
    with pytest.raises(ConnectorError, match=r"x\.pem is no certificate"):
        connect(**secured(server, certificate_file=str(tmp_path / "x.pem")))


def test_an_answer_that_comes_as_the_time_is_up_is_a_lost_link(server: OpcUaPeer) -> None:
    class WithResult(asyncio.CancelledError):
        """What wait_for2, which asyncua waits with, raises: asyncio.timeout does not take it for its own."""

    async def late() -> None:
        try:
            await asyncio.sleep(30)
        except asyncio.CancelledError as error:
            raise WithResult from error

    session = Session(Terms("127.0.0.1", server.port, "", timeout_s=4, connect_s=4, session_s=60, channel_s=60))
    session.open()
    try:
        with pytest.raises(ConnectorError, match="no answer within 50 ms"):
            session._call(late, 0.05)
    finally:
        session.close()


@pytest.mark.parametrize(
    ("code", "done"),
    [(0, True), (0x002E0000, True), (0x00300000, True), (0x803B0000, False), (0x003B0000, False), (0x40000000, False)],
)
def test_a_write_is_done_by_the_codes_of_the_standard_alone(code: int, done: bool) -> None:
    """A bit that flips must not make BadNotWritable a success of no name."""
    assert is_done(ua.StatusCode(ua.UInt32(code))) is done
