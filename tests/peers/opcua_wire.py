"""OPC UA below the services: a tap that keeps what a client sends, and a channel that seals any bytes as a request.

On a channel that signs without encrypting, what node-opcua says can be read on the wire. Spoilt and sealed anew, it
reaches what lies behind the server's signature check; sent as it is, it ends there.
"""

import asyncio
import contextlib
import struct
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any

from asyncua import ua
from asyncua.client.client import Client
from asyncua.common.connection import SecureConnection, TransportLimits
from asyncua.common.utils import Buffer
from asyncua.crypto.security_policies import SecurityPolicyBasic256Sha256
from asyncua.crypto.uacrypto import sign_sha256
from asyncua.ua.ua_binary import (
    header_from_binary,
    nodeid_from_binary,
    struct_from_binary,
    struct_to_binary,
    uatcp_to_binary,
)
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from tests.opcua_certificates import URI, Party

HEAD, SIGNATURE = 24, 32  # of a MSG: type, size, channel, token, sequence number, request id; HMAC-SHA256
TOKEN = 13  # of every channel of the server, until it is renewed
WITHOUT_SECURITY = b"http://opcfoundation.org/UA/SecurityPolicy#None"
SIGNED_WITH = "http://www.w3.org/2001/04/xmldsig-more#rsa-sha256"


@dataclass
class Tap:
    """Passes one connection through, and keeps the client's frames in order."""

    frames: list[bytes] = field(default_factory=list[bytes])

    def bodies(self) -> list[bytes]:
        """The requests on a channel that only signs: type, header and parameters."""
        return [one[HEAD:-SIGNATURE] for one in self.frames if one[:4] == b"MSGF"]

    @contextlib.asynccontextmanager
    async def before(self, port: int) -> AsyncIterator[int]:
        """Listen; yields the port."""
        server = await asyncio.start_server(lambda *ends: self._serve(port, *ends), "127.0.0.1", 0)
        try:
            yield server.sockets[0].getsockname()[1]
        finally:
            server.close()

    async def _serve(self, port: int, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        theirs, to_server = await asyncio.open_connection("127.0.0.1", port)
        try:
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(self._keep(reader, to_server))
                tasks.create_task(_pass(theirs, writer))
        finally:
            to_server.close()
            writer.close()

    async def _keep(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(asyncio.IncompleteReadError, OSError):
            while True:
                frame = await read_frame(reader)
                self.frames.append(frame)
                writer.write(frame)
        writer.close()


async def _pass(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(OSError):
        while data := await reader.read(65536):
            writer.write(data)
    writer.close()


async def read_frame(reader: asyncio.StreamReader) -> bytes:
    """One message of the transport; IncompleteReadError where the connection ends."""
    head = await reader.readexactly(8)
    return head + await reader.readexactly(struct.unpack_from("<I", head, 4)[0] - 8)


async def server_certificate(endpoint: str) -> bytes:
    """What the server proves itself with, DER."""
    (first, *_) = await Client(endpoint, timeout=30).connect_and_get_server_endpoints()
    return bytes(first.ServerCertificate)


class Plain:
    """A connection with a channel without security, as anybody gets one."""

    def __init__(self, port: int) -> None:
        """Not yet connected."""
        self._port, self._last, self._channel = port, 1, 0
        self.reader: asyncio.StreamReader
        self.writer: asyncio.StreamWriter

    async def open(self) -> None:
        """Hello and channel."""
        self.reader, self.writer = await asyncio.open_connection("127.0.0.1", self._port)
        self.writer.write(hello(self._port))
        await read_frame(self.reader)
        request = ua.OpenSecureChannelRequest()
        request.Parameters.SecurityMode = ua.MessageSecurityMode.None_
        request.Parameters.RequestedLifetime = 60_000
        security = struct.pack("<I", len(WITHOUT_SECURITY)) + WITHOUT_SECURITY + struct.pack("<ii", -1, -1)
        body = struct.pack("<I", 0) + security + struct.pack("<II", 1, 1) + struct_to_binary(request)
        self.writer.write(b"OPNF" + struct.pack("<I", len(body) + 8) + body)
        (self._channel,) = struct.unpack_from("<I", await read_frame(self.reader), 8)

    async def ask(self, body: bytes) -> bytes:
        """Send any bytes as a request; the next answer, ConnectionError where the connection ends instead."""
        self._last += 1
        numbers = struct.pack("<IIII", self._channel, TOKEN, self._last, self._last)
        self.writer.write(b"MSGF" + struct.pack("<I", len(body) + HEAD) + numbers + body)
        try:
            answer = await read_frame(self.reader)
        except asyncio.IncompleteReadError as error:
            raise ConnectionError("the server has closed the connection") from error
        if answer[:3] == b"ERR":
            raise ConnectionError("the server has ended the channel")
        return answer

    def close(self) -> None:
        """End it without a word."""
        self.writer.transport.abort()


def hello(port: int) -> bytes:
    """The first message of a connection."""
    said = ua.Hello(EndpointUrl=f"opc.tcp://127.0.0.1:{port}", ReceiveBufferSize=65535, SendBufferSize=65535)
    return uatcp_to_binary(ua.MessageType.Hello, said)


class Sealed:
    """A connection with a signed channel and, after `enter`, a session."""

    def __init__(self, port: int, certificate: bytes, client: Party) -> None:
        """Not yet connected."""
        self._port, self._theirs, self._client = port, certificate, client
        self._own = client.certificate.public_bytes(Encoding.DER)
        self._last = 0
        self.token = ua.NodeId()
        limits = TransportLimits(65535, 65535, 0, 0)
        policy = SecurityPolicyBasic256Sha256(
            x509.load_der_x509_certificate(certificate), client.certificate, client.key, ua.MessageSecurityMode.Sign
        )
        self._connection = SecureConnection(policy, limits)
        self.reader: asyncio.StreamReader
        self.writer: asyncio.StreamWriter

    async def open(self) -> None:
        """Hello and channel."""
        self.reader, self.writer = await asyncio.open_connection("127.0.0.1", self._port)
        self.writer.write(hello(self._port))
        await read_frame(self.reader)
        request = ua.OpenSecureChannelRequest()
        request.Parameters.ClientNonce = bytes(range(32))
        request.Parameters.SecurityMode = ua.MessageSecurityMode.Sign
        request.Parameters.RequestType = ua.SecurityTokenRequestType.Issue
        request.Parameters.RequestedLifetime = 3_600_000
        self._send(struct_to_binary(request), ua.MessageType.SecureOpen)
        response = struct_from_binary(ua.OpenSecureChannelResponse, await self.answer())
        self._connection.set_channel(response.Parameters, ua.SecurityTokenRequestType.Issue, bytes(range(32)))

    async def enter(self, person: Party, timeout_ms: float = 30_000.0) -> None:
        """A session, by a user's certificate."""
        request = ua.CreateSessionRequest()
        request.Parameters.ClientDescription.ApplicationUri = URI
        request.Parameters.ClientNonce = bytes(range(32))
        request.Parameters.ClientCertificate = self._own
        request.Parameters.RequestedSessionTimeout = timeout_ms
        made = await self.call(request, ua.CreateSessionResponse)
        self.token = made.Parameters.AuthenticationToken
        proven = self._theirs + made.Parameters.ServerNonce
        activation = ua.ActivateSessionRequest()
        activation.Parameters.LocaleIds = ["en"]
        activation.Parameters.ClientSignature.Algorithm = SIGNED_WITH
        activation.Parameters.ClientSignature.Signature = sign_sha256(self._client.key, proven)
        activation.Parameters.UserIdentityToken = ua.X509IdentityToken(
            PolicyId="certificate", CertificateData=person.certificate.public_bytes(Encoding.DER)
        )
        activation.Parameters.UserTokenSignature.Algorithm = SIGNED_WITH
        activation.Parameters.UserTokenSignature.Signature = sign_sha256(person.key, proven)
        await self.call(activation, ua.ActivateSessionResponse)

    async def call(self, request: Any, response: type) -> Any:
        """Ask as the specification wants it; what is not answered with `response` raises UaStatusCodeError."""
        request.RequestHeader.AuthenticationToken = self.token
        request.RequestHeader.TimeoutHint = 10_000
        answer = await self.ask(struct_to_binary(request))
        fault = nodeid_from_binary(answer.copy()).Identifier == ua.ObjectIds.ServiceFault_Encoding_DefaultBinary
        found: Any = struct_from_binary(ua.ServiceFault if fault else response, answer)
        found.ResponseHeader.ServiceResult.check()
        return found

    def send(self, body: bytes) -> None:
        """Seal any bytes as a request, without waiting for what is said to it."""
        self._send(body, ua.MessageType.SecureMessage)

    async def ask(self, body: bytes) -> Buffer:
        """Seal any bytes as a request; the next answer, ConnectionError where the connection ends instead."""
        self.send(body)
        return await self.answer()

    def close(self) -> None:
        """End it as a killed client does: without a word."""
        self.writer.transport.abort()

    def _send(self, body: bytes, kind: Any) -> None:
        self._last += 1
        self.writer.write(self._connection.message_to_binary(body, message_type=kind, request_id=self._last))

    async def answer(self) -> Buffer:
        while True:
            try:
                buffer = Buffer(await read_frame(self.reader))
            except asyncio.IncompleteReadError as error:
                raise ConnectionError("the server has closed the connection") from error
            message = self._connection.receive_from_header_and_body(header_from_binary(buffer), buffer)
            if isinstance(message, ua.ErrorMessage):
                raise ConnectionError("the server has ended the channel")
            if message is not None:
                return message.body()
