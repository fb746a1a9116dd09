"""One OPC UA session for a thread that blocks: asyncua's client on a loop of its own, which runs while a call does.

asyncua's own `connect` starts a supervisor that reads the server's state each second, and may reconnect: here nothing
happens between two calls. The channel is renewed before the call that finds three quarters of its life over. A session
that failed stays failed: a late answer can't be taken for the next one's.
"""

from __future__ import annotations

import asyncio
import logging
import socket
import struct
import time
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from operator import attrgetter
from typing import Final, TypeVar

from asyncua import ua
from asyncua.client.client import Client
from asyncua.crypto.security_policies import (
    SecurityPolicy,
    SecurityPolicyAes256Sha256RsaPss,
    SecurityPolicyBasic256Sha256,
)
from asyncua.ua.object_ids import ObjectIds
from asyncua.ua.status_codes import StatusCodes
from asyncua.ua.ua_binary import Primitives1
from asyncua.ua.uaerrors import UaError, UaStatusCodeError
from cryptography import x509

from edge.plc.opcua.security import OWN_URI, Credentials, application_uri, distrust
from schemas.errors import ConnectorError

T = TypeVar("T")

POLICIES: Final[dict[str, type[SecurityPolicy]]] = {
    "Basic256Sha256": SecurityPolicyBasic256Sha256, "Aes256_Sha256_RsaPss": SecurityPolicyAes256Sha256RsaPss,
}  # fmt: skip
_CLOSE_S = 0.3
_MOST_ANSWERS = 100  # of 1000 references
_SHOWN = 3  # objects and variables
_TOO_MUCH = (
    StatusCodes.BadTooManyOperations, StatusCodes.BadResponseTooLarge, StatusCodes.BadRequestTooLarge,
    StatusCodes.BadEncodingLimitsExceeded, StatusCodes.BadTcpMessageTooLarge,
)  # fmt: skip
_UNTRUSTED = "it does not trust our certificate; move it to its trusted ones"
_REMEDIES = {
    "BadUserAccessDenied": "the server refuses the user; check user and password_file",
    "BadIdentityTokenRejected": "the server refuses the user; check user and password_file",
    "BadIdentityTokenInvalid": "the server takes no such user; set user and password_file, or allow anonymous there",
    "BadSecurityChecksFailed": _UNTRUSTED,
    "BadCertificateUntrusted": _UNTRUSTED,
    "BadCertificateUriInvalid": "application_uri is not the one in certificate_file",
    "BadSecurityModeRejected": "the server does not take this security here; set security and mode",
    "BadSecurityPolicyRejected": "the server does not take this security; set security and mode",
    "BadTooManySessions": "the server has no session left; close others or allow more",
}
# What an answer that is none makes asyncua raise, besides its own errors.
_GARBLED = (
    UaError, struct.error, ValueError, IndexError, KeyError, TypeError, AttributeError, AssertionError,
    OverflowError, RecursionError, x509.InvalidVersion,
)  # fmt: skip


class _ArraysOfNothing:
    """How asyncua unpacks an array of Nulls: it would believe six bytes that say there are two thousand million."""

    @staticmethod
    def unpack_array(_data: object, length: int) -> tuple[()]:
        """Take an empty one."""
        if length:
            raise ValueError(f"an array of {length} times nothing")
        return ()


Primitives1.Null = _ArraysOfNothing  # type: ignore[attr-defined]  # where asyncua looks for what it unpacks fast


@dataclass(frozen=True)
class Terms:
    """How a session is opened. Without `credentials` the channel has no security; `user` needs one."""

    host: str
    port: int
    path: str
    timeout_s: float
    connect_s: float
    session_s: float
    channel_s: float
    policy: str = ""
    encrypt: bool = True
    credentials: Credentials | None = None
    application_uri: str = ""
    user: str = ""
    password: str = ""

    def __repr__(self) -> str:
        """Say where, not who."""
        return f"Terms({self.url})"

    @property
    def url(self) -> str:
        """The endpoint."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"opc.tcp://{host}:{self.port}/{self.path.lstrip('/')}".rstrip("/")

    @property
    def mode(self) -> ua.MessageSecurityMode:
        """As the protocol says it."""
        return ua.MessageSecurityMode.SignAndEncrypt if self.encrypt else ua.MessageSecurityMode.Sign


@dataclass(frozen=True)
class _Offer:
    """An endpoint of a server: policy, mode, and its certificate with those of its issuers."""

    policy: str
    mode: ua.MessageSecurityMode
    chain: bytes


class Session:
    """A session; every call ends within its limit, and none after a ConnectorError but `close` does anything."""

    def __init__(self, terms: Terms) -> None:
        """Open nothing yet."""
        self._terms = terms
        self._client: Client | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._alive = False
        self._renew_at = 0.0
        logging.getLogger("asyncua").setLevel(logging.CRITICAL + 1)  # a lost server is one event of ours

    def open(self) -> None:
        """Connect, secure the channel, and begin a session.

        Raises:
            ConnectorError: one of them failed; the message says which and what to do.
        """
        self._loop = asyncio.SelectorEventLoop()
        self._loop.set_exception_handler(lambda _loop, _context: None)  # answers that nobody waits for any more
        self._alive = True
        try:
            self._call(self._open, self._terms.connect_s)
        except ConnectorError:
            self.close()
            raise

    def read(self, nodes: Sequence[ua.ReadValueId]) -> list[ua.DataValue] | None:
        """Return a value for each node; None where that is too much for one answer, or can't be understood.

        Raises:
            ConnectorError: the session failed.
        """
        asked = ua.ReadParameters(MaxAge=0, TimestampsToReturn=ua.TimestampsToReturn.Neither, NodesToRead=list(nodes))
        try:
            values = self._call(lambda: self._living().uaclient.session.read(asked), self._terms.timeout_s)
        except _Unread:
            return None
        return self._counted(values, len(nodes))

    def browse(self, node: ua.NodeId) -> list[ua.ReferenceDescription] | None:
        """Return what hangs below a node; None where the server does not say, or its answer can't be understood.

        Raises:
            ConnectorError: the session failed.
        """
        try:
            return self._call(lambda: self._below(node), self._terms.timeout_s)
        except _Unread:
            return None

    async def _below(self, node: ua.NodeId) -> list[ua.ReferenceDescription] | None:
        """Ask for references until the server has no more; it has at most `_MOST_ANSWERS` answers."""
        session = self._living().uaclient.session
        asked = ua.BrowseDescription(
            NodeId=node, BrowseDirection=ua.BrowseDirection.Forward, IncludeSubtypes=True,
            ReferenceTypeId=ua.NodeId(ua.Int32(ObjectIds.HierarchicalReferences)),
            NodeClassMask=ua.UInt32(_SHOWN), ResultMask=ua.UInt32(63),
        )  # fmt: skip
        parameters = ua.BrowseParameters(NodesToBrowse=[asked], RequestedMaxReferencesPerNode=ua.UInt32(1000))
        results = await session.browse(parameters)
        found: list[ua.ReferenceDescription] = []
        for _ in range(_MOST_ANSWERS):
            (result,) = results
            status, references, point = _browsed(result)
            if int(status.value) >> 31:
                return found or None
            found += references
            if not point:
                break
            following = ua.BrowseNextParameters(ContinuationPoints=[point])
            results = await session.browse_next(following)
        return found

    def write(self, node: ua.WriteValue) -> ua.StatusCode:
        """Write one value; return what the server says of it.

        Raises:
            ConnectorError: the session failed.
        """
        asked = ua.WriteParameters(NodesToWrite=[node])
        try:
            answered = self._call(lambda: self._living().uaclient.session.write(asked), self._terms.timeout_s)
        except _Unread as error:
            raise self._failed(f"no usable answer to a write ({error})") from error
        return self._counted(answered, 1)[0]

    def close(self) -> None:
        """End the session at the server, if it lives, and reset the connection; never raises."""
        loop, self._loop = self._loop, None
        client, self._client = self._client, None
        alive, self._alive = self._alive, False
        if loop is None:
            return
        if client is not None:
            with suppress(Exception):
                loop.run_until_complete(_end(client, alive))
        with suppress(Exception):
            loop.close()

    async def _open(self) -> None:
        terms, client = self._terms, self._new_client()
        if terms.credentials is not None:
            server = await self._server_certificate(client, terms.credentials)
            client = self._new_client()
            own = terms.credentials
            client.application_uri = terms.application_uri or application_uri(own.certificate)
            policy = POLICIES[terms.policy](server, own.certificate, own.key, terms.mode, host_cert_chain=[])
            client.security_policy = policy  # type: ignore[assignment]  # its type is that of the default
            client.uaclient.set_security(policy)
        self._client = client
        await self._channel(client)
        await client.create_session()
        await client.activate_session(terms.user or None, terms.password or None)

    def _new_client(self) -> Client:
        terms = self._terms
        client = Client(terms.url, timeout=terms.connect_s)
        client.name = client.description = "PlantEdge"
        client.product_uri, client.application_uri = "urn:plantedge", terms.application_uri or OWN_URI
        client.session_timeout, client.secure_channel_timeout = int(terms.session_s * 1e3), int(terms.channel_s * 1e3)
        return client

    async def _channel(self, client: Client) -> None:
        await client.connect_socket()
        _set_option(client, socket.IPPROTO_TCP, socket.TCP_NODELAY, struct.pack("i", 1))
        await client.send_hello()
        try:
            await client.open_secure_channel()
        except (AssertionError, ConnectionError) as error:  # asyncua forgets what the server said
            if self._terms.credentials is None:
                raise
            raise self._failed(f"the server refuses the channel; {_UNTRUSTED}") from error
        self._renew_at = _renewal(client)

    async def _server_certificate(self, client: Client, own: Credentials) -> x509.Certificate:
        """Ask the server, without security, what it offers; what it says of itself is proven by the channel later."""
        terms, self._client = self._terms, client
        await self._channel(client)
        offers = [_offer(one) for one in await client.get_endpoints()]
        await _end(client, alive=False)
        uri = POLICIES[terms.policy].URI
        for offer in offers:
            if (offer.policy, offer.mode) == (uri, terms.mode) and offer.chain:
                server = x509.load_der_x509_certificate(_first(offer.chain))
                if why := distrust(server, own.trusted):
                    name = server.subject.rfc4514_string()[:100]
                    raise self._failed(f"its certificate ({name}) is not trusted: {why}")
                return server
        offered = sorted({f"{one.policy.rpartition('#')[2]} {one.mode.name}" for one in offers})
        raise self._failed(
            f"it does not offer {terms.policy} {terms.mode.name}; it offers {', '.join(offered) or 'nothing'}"
        )

    def _living(self) -> Client:
        if self._client is None or not self._alive:
            raise ConnectorError(f"{self._terms.url} is not connected")
        return self._client

    def _call(self, ask: Callable[[], Awaitable[T]], limit_s: float) -> T:
        if self._loop is None or not self._alive:
            raise ConnectorError(f"{self._terms.url} is not connected")
        try:
            return self._loop.run_until_complete(self._bounded(ask, limit_s))
        except ConnectorError:
            self._alive = False
            raise
        except TimeoutError as error:
            raise self._failed(f"no answer within {limit_s * 1e3:g} ms; check cable and server") from error
        except UaStatusCodeError as error:
            if error.code in _TOO_MUCH and self._up():
                raise _Unread(_said(error)) from error
            raise self._failed(_said(error)) from error
        except OSError as error:
            raise self._failed(f"{error or 'the connection ended'}; check cable, address and port") from error
        except _GARBLED as error:
            if self._renew_at and self._up() and self._session_is_open():
                raise _Unread(_first_line(error)) from error
            raise self._failed(f"no usable answer ({_first_line(error)})") from error

    async def _bounded(self, ask: Callable[[], Awaitable[T]], limit_s: float) -> T:
        async with _within(limit_s):
            if self._renew_at and time.monotonic() > self._renew_at and self._client is not None:
                await self._client.open_secure_channel(renew=True)
                self._renew_at = _renewal(self._client)
            return await ask()

    def _up(self) -> bool:
        protocol = self._client.uaclient.protocol if self._client else None
        return protocol is not None and protocol.transport is not None and not protocol.transport.is_closing()

    def _session_is_open(self) -> bool:
        return self._client is not None and self._client.uaclient.state.value == "connected"

    def _failed(self, why: str) -> ConnectorError:
        self._alive = False
        return ConnectorError(f"{self._terms.url}: {why}")

    def _counted(self, answers: list[T] | None, count: int) -> list[T]:
        if answers is None or len(answers) != count:
            raise self._failed(f"{len(answers or ())} answers came for {count} asked")
        return answers


class _Unread(Exception):
    """An answer that was too large, or was none; the link lives. Never leaves this file."""


@asynccontextmanager
async def _within(limit_s: float) -> AsyncGenerator[None, None]:
    """`asyncio.timeout` for asyncua, whose wait on Python 3.11 may end in a CancelledError that is another class.

    It comes where the link ends in the moment of the timeout, and would be taken for the end of the thread.
    """
    limit = asyncio.timeout(limit_s)
    try:
        async with limit:
            yield
    except asyncio.CancelledError as error:
        if limit.expired():
            raise TimeoutError from error
        raise


async def _end(client: Client, alive: bool) -> None:
    """Close politely within a moment, then reset: nothing that was not delivered may reach the server later."""
    protocol = client.uaclient.protocol
    if protocol is None:
        return
    if alive or client.uaclient.state.value == "channel_open":  # a session that was refused is ended as well
        with suppress(Exception):
            async with _within(_CLOSE_S):
                await client.close_session()
                await client.close_secure_channel()
    _set_option(client, socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    if protocol.transport is not None:
        protocol.transport.abort()
    await asyncio.sleep(0)
    await asyncio.sleep(0)  # the transport closes its socket in the turn after


def _renewal(client: Client) -> float:
    """When the channel is to be renewed: OPC 10000-4, 5.6.2."""
    lifetime_ms = int(client.secure_channel_timeout)  # pyright: ignore[reportUnknownMemberType, reportUnknownArgumentType]  # revised by the server
    return time.monotonic() + lifetime_ms * 0.75e-3


def _offer(told: ua.EndpointDescription) -> _Offer:
    """What counts of an endpoint; asyncua's generated classes have types that no checker sees."""
    found: tuple[str | None, int, bytes | None] = attrgetter("SecurityPolicyUri", "SecurityMode", "ServerCertificate")(
        told
    )
    return _Offer(found[0] or "", ua.MessageSecurityMode(found[1]), found[2] or b"")


def _browsed(result: ua.BrowseResult) -> tuple[ua.StatusCode, list[ua.ReferenceDescription], bytes]:
    """What counts of an answer to Browse; see `_offer`."""
    found: tuple[ua.StatusCode, list[ua.ReferenceDescription] | None, bytes | None] = attrgetter(
        "StatusCode", "References", "ContinuationPoint"
    )(result)
    return found[0], found[1] or [], found[2] or b""


def _set_option(client: Client, level: int, option: int, value: bytes) -> None:
    protocol = client.uaclient.protocol
    link = protocol.transport.get_extra_info("socket") if protocol and protocol.transport else None
    if link is not None:
        with suppress(OSError):
            link.setsockopt(level, option, value)


def _first(chain: bytes) -> bytes:
    """The first certificate of a chain in DER, whose length stands behind its first two bytes."""
    return chain[: int.from_bytes(chain[2:4], "big") + 4]


def _said(error: UaStatusCodeError) -> str:
    name = ua.StatusCode(ua.UInt32(error.code)).name
    return f"{name} (0x{error.code:08X}){': ' + _REMEDIES[name] if name in _REMEDIES else ''}"


def _first_line(error: BaseException) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0][:200]
