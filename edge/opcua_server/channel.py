"""Secure channels and what lies below them: whose certificate is let in, and how much a connection may cost.

The one file that overrides protected members of asyncua 2.1 (`_process_message`, `_process_one_msg`, `_make_protocol`,
`_should_close_session_on_transport_loss`, `_setup_server_nodes`, and reads `_connection`, `_transport`, `_buffer`,
`_policies`): it has no hooks there. What that is for, each seen with asyncua as it is:
- a session that was created but not activated reads everything on the channel without security, which checks nobody;
- a client that leaves its certificate out of CreateSession is never validated, and others after the channel is open;
- one connection may create sessions without end, and take up another's by its token, which is a counter;
- a session timeout that is not a number makes a timer that is always due, and takes a core for as long as it lives;
- a connection that ends closes a session which its client has long taken along to another;
- a header that announces 4 GB is waited for, and a client that does not read is written to, both in our memory;
- a message that can't be read is logged and the channel goes on.
What its decoding lacks is in `decoding.py`.
"""

# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
# (asyncua's structures and calls carry no types there)

from __future__ import annotations

import asyncio
import contextlib
import logging
import math
import struct
import time
from typing import Any, Final, cast

from asyncua import ua
from asyncua.common.connection import TransportLimits
from asyncua.common.utils import Buffer, ServiceError
from asyncua.crypto.security_policies import SecurityPolicyFactory, SecurityPolicyNone
from asyncua.server.binary_server_asyncio import BinaryServer, OPCUAProtocol
from asyncua.server.server import Server
from asyncua.server.uaprocessor import UaProcessor
from asyncua.ua.object_ids import ObjectIds
from asyncua.ua.status_codes import StatusCodes
from asyncua.ua.ua_binary import struct_from_binary, uatcp_to_binary
from asyncua.ua.uaerrors import UaStatusCodeError
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from edge.opcua_server.access.door import Door
from edge.opcua_server.access.tokens import Proof, TokenRefused
from edge.opcua_server.access.trust import split_chain
from edge.opcua_server.core import Core
from edge.opcua_server.decoding import Body, bound_decoding
from edge.opcua_server.limits import CHUNK_BYTES, OPENING_BYTES, READS_AGAIN_S, REQUEST_BYTES, SEND_BUFFER_BYTES
from edge.opcua_server.session import Session
from edge.settings import OpcUa
from schemas.errors import CertificateRefused

POLICIES: Final = [
    ua.SecurityPolicyType.NoSecurity,  # discovery only
    ua.SecurityPolicyType.Basic256Sha256_SignAndEncrypt,
    ua.SecurityPolicyType.Basic256Sha256_Sign,
    ua.SecurityPolicyType.Aes256Sha256RsaPss_SignAndEncrypt,
    ua.SecurityPolicyType.Aes256Sha256RsaPss_Sign,
]
SMALLEST_BUFFER: Final = 8192  # OPC 10000-6, 7.1.2.3
SMALLEST_NONCE: Final = 32
_HEAD_BYTES: Final = 8  # of any message: its kind, and its length
LONGEST_REASON: Final = 200  # some quote what the peer sent
_CREATE: Final = ObjectIds.CreateSessionRequest_Encoding_DefaultBinary
_ACTIVATE: Final = ObjectIds.ActivateSessionRequest_Encoding_DefaultBinary
_ENTERING: Final = frozenset({_CREATE, _ACTIVATE})
_WITHOUT_SESSION: Final = frozenset({
    *_ENTERING, ObjectIds.FindServersRequest_Encoding_DefaultBinary,
    ObjectIds.GetEndpointsRequest_Encoding_DefaultBinary, ObjectIds.CloseSecureChannelRequest_Encoding_DefaultBinary,
})  # fmt: skip
_NOT_ACTIVATED: Final = ObjectIds.CloseSessionRequest_Encoding_DefaultBinary
_NEVER: Final = frozenset({
    ObjectIds.RegisterServerRequest_Encoding_DefaultBinary, ObjectIds.RegisterServer2Request_Encoding_DefaultBinary,
    ObjectIds.AddNodesRequest_Encoding_DefaultBinary, ObjectIds.DeleteNodesRequest_Encoding_DefaultBinary,
    ObjectIds.AddReferencesRequest_Encoding_DefaultBinary,
    ObjectIds.DeleteReferencesRequest_Encoding_DefaultBinary,
})  # fmt: skip
_log = logging.getLogger(__name__)


class _Discovery(SecurityPolicyFactory):
    """The policy without security, forgetting the certificate that a client sends along unproven."""

    def create(self, peer_certificate: bytes | None) -> SecurityPolicyNone:
        """Return the policy of one channel."""
        return SecurityPolicyNone(None)  # type: ignore[no-untyped-call]  # asyncua has no types here


class _Guarded(SecurityPolicyFactory):
    """A policy whose channels are for certificates that the door lets in; a chain is cut to its leaf."""

    def __init__(self, door: Door, made: SecurityPolicyFactory) -> None:
        """Take over what asyncua has made."""
        super().__init__(made.cls, made.mode, made.certificate, made.private_key, made.permission_ruleset)  # type: ignore[no-untyped-call]  # nor here
        self._door = door

    def create(self, peer_certificate: bytes | None) -> Any:
        """Return the policy of one channel.

        Raises:
            CertificateRefused: the client may not open one.
        """
        chain = split_chain(peer_certificate or b"")
        if not chain:
            raise CertificateRefused("BadCertificateInvalid", "there is none")
        self._door.check_client(chain)
        made = super().create(chain[0].public_bytes(Encoding.DER))  # type: ignore[no-untyped-call]  # nor here
        made.sent = chain
        return made


class Channel(UaProcessor):
    """The services of one connection."""

    def __init__(self, core: Core, door: Door, transport: asyncio.Transport, limits: TransportLimits) -> None:
        """Begin before the Hello."""
        super().__init__(core, transport, limits)
        self._core, self._door = core, door

    @property
    def certificate(self) -> bytes | None:
        """The certificate that the client has proven, DER; None without security."""
        return self._connection.security_policy.peer_certificate or None

    @property
    def chain(self) -> list[x509.Certificate]:
        """That certificate, and the authorities that came with it."""
        return getattr(self._connection.security_policy, "sent", [])

    async def process(self, header: Any, body: Buffer) -> bool:
        """Process one chunk; whether the connection goes on. What can't be read or verified ends it."""
        try:
            if header.MessageType == ua.MessageType.Hello:
                _check_hello(struct_from_binary(ua.Hello, body.copy()))
            return bool(await super().process(header, body))  # type: ignore[no-untyped-call]  # nor here
        except (ServiceError, UaStatusCodeError) as error:
            code = error.code
        except Exception as error:  # noqa: BLE001  # a certificate, a signature, a length: whatever the peer sent
            said = str(error)[:LONGEST_REASON].encode("utf-8", "backslashreplace").decode() or type(error).__name__
            self._core.closings.info(f"OPC UA connection from {self.name} is closed: {said!r}")
            code = StatusCodes.BadSecurityChecksFailed  # Part 4, 6.1.3: the reason is not for a stranger
        told = ua.ErrorMessage(Error=ua.StatusCode(ua.UInt32(code)), Reason=ua.String(""))
        self._transport.write(uatcp_to_binary(cast(ua.MessageType, ua.MessageType.Error), told))
        return False

    def open_secure_channel(self, algohdr: Any, seqhdr: Any, body: Buffer) -> None:
        """Open or renew the channel."""
        super().open_secure_channel(algohdr, seqhdr, Body(bytes(body)))  # type: ignore[no-untyped-call]  # nor here

    async def process_message(self, seqhdr: Any, body: Buffer) -> bool:
        """Answer one request."""
        return bool(await super().process_message(seqhdr, Body(bytes(body))))  # type: ignore[no-untyped-call]  # nor here

    async def _process_message(self, typeid: ua.NodeId, requesthdr: Any, seqhdr: Any, body: Buffer) -> Any:
        kind = typeid.Identifier
        if kind in _NEVER:
            raise ServiceError(StatusCodes.BadServiceUnsupported)
        if kind in _WITHOUT_SESSION and len(body) > OPENING_BYTES:
            raise ServiceError(StatusCodes.BadRequestTooLarge)
        if kind == _CREATE:
            await self._before_session(struct_from_binary(ua.CreateSessionParameters, body.copy()))
        elif kind == _ACTIVATE:
            await self._before_user(requesthdr, struct_from_binary(ua.ActivateSessionParameters, body.copy()))
        elif kind not in _WITHOUT_SESSION:
            self._check_session(requesthdr, kind)
        done = await super()._process_message(typeid, requesthdr, seqhdr, body)  # type: ignore[no-untyped-call]  # nor here
        if kind in _ENTERING and isinstance(self.session, Session):
            self.session.certificate = self.certificate
            self.session.channel, self.session.left_s = self, None
        return done

    def _should_close_session_on_transport_loss(self) -> bool:
        held = isinstance(self.session, Session) and self.session.channel in (None, self)
        return held and bool(super()._should_close_session_on_transport_loss())

    async def close(self) -> None:
        """Leave a session that has subscriptions to the client that may come back for it."""
        await super().close()  # type: ignore[no-untyped-call]  # nor here
        if isinstance(self.session, Session) and self.session.channel is self:
            self.session.channel, self.session.left_s = None, time.monotonic()

    async def _before_session(self, params: Any) -> None:
        if self.certificate is None:
            raise ServiceError(StatusCodes.BadSecurityModeRejected)
        if len(params.ClientNonce or b"") < SMALLEST_NONCE:
            raise ServiceError(StatusCodes.BadNonceInvalid)
        if math.isnan(params.RequestedSessionTimeout):
            raise ServiceError(StatusCodes.BadInvalidArgument)
        try:
            chain = split_chain(params.ClientCertificate or b"")
            if not chain or chain[0].public_bytes(Encoding.DER) != self.certificate:
                raise ServiceError(StatusCodes.BadCertificateInvalid)
            self._door.check_uri(chain[0], str(params.ClientDescription.ApplicationUri))
        except CertificateRefused as error:
            raise ServiceError(getattr(StatusCodes, error.code)) from error
        if self.session is not None and self.session.is_activated():
            raise ServiceError(StatusCodes.BadTooManySessions)
        await self._leave_session()
        await self._core.end_unactivated()

    async def _leave_session(self) -> None:
        """End a session that was refused its user: its client begins anew on the same channel."""
        if self._session_watchdog_task is not None:
            self._session_watchdog_task.cancel()
        if self.session is not None:
            await self.session.close_session()
            self.session = None

    async def _before_user(self, header: Any, params: Any) -> None:
        session = self._core.sessions.get(header.AuthenticationToken)
        if session is None or (self.session is not None and self.session is not session):
            raise ServiceError(StatusCodes.BadSessionIdInvalid)
        if self.certificate is None or session.certificate != self.certificate or session.nonce is None:
            raise ServiceError(StatusCodes.BadSecurityChecksFailed)
        policy = self._connection.security_policy
        proof = Proof(
            self._core.private_key, policy.host_certificate or b"", session.nonce,
            policy.Mode == ua.MessageSecurityMode.SignAndEncrypt,
        )  # fmt: skip
        try:
            session.admitted = await self._door.admit(params.UserIdentityToken, params.UserTokenSignature, proof)
        except TokenRefused as error:
            raise ServiceError(error.code) from error

    def _check_session(self, header: Any, kind: object) -> None:
        if self.session is None or header.AuthenticationToken != self.session.auth_token:
            raise ServiceError(StatusCodes.BadSessionIdInvalid)
        if not self.session.is_activated() and kind != _NOT_ACTIVATED:
            raise ServiceError(StatusCodes.BadSessionNotActivated)


def _check_hello(hello: Any) -> None:
    if hello.ReceiveBufferSize < SMALLEST_BUFFER or hello.SendBufferSize < SMALLEST_BUFFER:
        raise ServiceError(StatusCodes.BadTcpInternalError)  # or each answer would be a thousand chunks


class Connection(OPCUAProtocol):
    """One connection: nothing longer than a chunk is waited for, and who does not read is not served.

    Requests that come faster than they are answered wait where they come from: asyncua would end the connection.
    """

    def __init__(self, door: Door, core: Core, **fields: Any) -> None:
        """Begin before there is a transport."""
        super().__init__(iserver=core, **fields)
        self._core, self._door = core, door
        self._writable = asyncio.Event()
        self._writable.set()
        self._held = bytearray()  # what has come and is not queued yet

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Serve it, unless there are too many."""
        super().connection_made(transport)
        if self.processor is None or self.transport is None:
            return
        self.transport.set_write_buffer_limits(high=SEND_BUFFER_BYTES)
        self.processor = Channel(self._core, self._door, self.transport, self.limits)
        self.processor.set_policies(self.policies)  # type: ignore[no-untyped-call]  # nor here

    def connection_lost(self, ex: BaseException | None) -> None:
        """Forget it once it is closed; asyncua keeps what was closed for up to ten seconds, 20 kB each."""
        super().connection_lost(ex)
        for closing in self.closing_tasks[-1:]:
            closing.add_done_callback(self._forget)

    def _forget(self, closed: asyncio.Task[Any]) -> None:
        with contextlib.suppress(ValueError):  # asyncua was faster
            self.closing_tasks.remove(closed)

    def data_received(self, data: bytes) -> None:
        """Take bytes."""
        self._held += data
        self._queue_whole()

    def _queue_whole(self) -> None:
        """Queue messages as they become whole, as many as may wait; while more have come, read no further."""
        transport = self.transport
        if transport is None or transport.is_closing():
            return
        while len(self._held) >= _HEAD_BYTES and not self.messages.full():
            size = struct.unpack_from("<I", self._held, 4)[0]
            if not _HEAD_BYTES <= size <= CHUNK_BYTES:  # asyncua would collect up to 4 GB
                self.cut()
                return
            if len(self._held) < size:
                break
            super().data_received(bytes(self._held[:size]))
            if self._buffer:  # not what it announced
                self.cut()
                return
            del self._held[:size]
        if self.messages.full():
            transport.pause_reading()
        else:
            transport.resume_reading()

    def holds(self) -> bool:
        """Whether the lists still let in this client and its user."""
        if not isinstance(self.processor, Channel):
            return True
        session = self.processor.session
        return self._door.holds(self.processor.chain, session.user if session else None)

    def pause_writing(self) -> None:
        """The client reads slower than it asks."""
        self._writable.clear()

    def resume_writing(self) -> None:
        """It has caught up."""
        self._writable.set()

    def cut(self) -> None:
        """End the connection, without waiting for what the client has not read."""
        if self.transport is not None:
            self.transport.abort()

    async def _process_one_msg(self, header: Any, buf: Buffer) -> bool:
        self._queue_whole()  # there is room now
        if not self._writable.is_set():
            try:
                async with asyncio.timeout(READS_AGAIN_S):
                    await self._writable.wait()
            except TimeoutError:
                self._core.closings.info(f"OPC UA connection from {self.peer_name} does not read, and is closed")
                self.cut()
                return False
        return await super()._process_one_msg(header, buf)


class Listener(BinaryServer):
    """The open port."""

    def __init__(self, door: Door, core: Core, hostname: str, port: int, limits: TransportLimits) -> None:
        """Not yet open."""
        super().__init__(core, hostname, port, limits)
        self._core, self._door = core, door

    def _make_protocol(self) -> OPCUAProtocol:
        return Connection(
            self._door, self._core, policies=self._policies, clients=self.clients, closing_tasks=self.closing_tasks,
            limits=self.limits,
        )  # fmt: skip

    def cut_untrusted(self) -> int:
        """End the connections whose client or user is not let in any more; return how many."""
        ended = [one for one in self.clients if isinstance(one, Connection) and not one.holds()]
        for connection in ended:
            connection.cut()
        return len(ended)


class SecuredServer(Server):
    """asyncua's server with sessions on secure channels of trusted clients only."""

    def __init__(self, core: Core, door: Door, settings: OpcUa) -> None:
        """Offer our policies and tokens."""
        super().__init__(core)
        bound_decoding()
        self._core, self._door = core, door
        self.listener: Listener | None = None
        self.limits = TransportLimits(
            max_recv_buffer=CHUNK_BYTES, max_send_buffer=CHUNK_BYTES, max_message_size=REQUEST_BYTES,
            max_chunk_count=REQUEST_BYTES // SMALLEST_BUFFER,
        )  # fmt: skip
        self.set_security_policy(POLICIES)
        tokens: list[type] = [ua.UserNameIdentityToken, ua.X509IdentityToken]
        self.set_identity_tokens([ua.AnonymousIdentityToken, *tokens] if settings.anonymous else tokens)

    async def _setup_server_nodes(self) -> None:
        await super()._setup_server_nodes()
        self._policies[:] = [
            _Discovery(SecurityPolicyNone, ua.MessageSecurityMode.None_)  # type: ignore[no-untyped-call]  # nor here
            if policy.cls is SecurityPolicyNone
            else _Guarded(self._door, policy)
            for policy in self._policies
        ]

    async def start(self) -> None:
        """Listen.

        Raises:
            OSError: the port is taken, or the address is not ours.
        """
        await self._setup_server_nodes()
        await self.iserver.start()
        host, port = self.endpoint.hostname, self.endpoint.port
        self.listener = self.bserver = Listener(self._door, self._core, host or "", port or 4840, self.limits)
        self.listener.set_policies(self._policies)
        try:
            await self.listener.start()
        except OSError:
            await self.iserver.stop()
            raise

    async def look_again(self) -> None:
        """Take up what has changed in the trust lists, and end the connections that they no longer let in."""
        if await self._door.refresh() and self.listener is not None and (ended := self.listener.cut_untrusted()):
            _log.info("%d OPC UA connections were ended: their certificates are not trusted any more", ended)
