"""OPC UA, as a client. The session is `edge/plc/opcua/session.py`; certificates and passwords come as files.

A scan is few Read calls of up to `max_nodes`, or what the server says it takes. What the server finds too large, or
what holds a value that can't be decoded, is halved until the node is alone; the halves are kept.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Annotated, Final, Literal, cast

from asyncua import ua
from asyncua.ua.attribute_ids import AttributeIds
from asyncua.ua.object_ids import ObjectIds
from pydantic import Field, model_validator

from edge.config.section import Section
from edge.plc.browsing import Bounds, Offered
from edge.plc.opcua.browse import Tree
from edge.plc.opcua.node_ids import NodeName, node_name, planned_reads
from edge.plc.opcua.security import read_credentials, read_secret
from edge.plc.opcua.session import Session, Terms
from edge.plc.opcua.values import kind_of, reason, sample_of, variant_of
from edge.plc.options import parse_options
from edge.plc.planning import Planned
from edge.plc.tags.lists import Native, Tag
from edge.settings import Source
from schemas.errors import ConnectorError, SettingsError, TagError
from schemas.messages import Quality, Sample

PORT: Final = 4840
URL_PATH: Final = "path"
ADDRESSES = """
| address | meaning |
|---|---|
| `ns=2;s=Line.Speed`, `ns=3;i=1001` | the NodeId of a variable: namespace by index, a text or a number |
| `ns=2;g=09087e75-8e5e-499b-954f-f2a9603db28a`, `ns=2;b=M/RbKBsRVkePCePcx24oRA==` | a GUID, or bytes in base64 |
| `nsu=urn:maker:plc;s=Line.Speed` | namespace by its URI, looked up at each connection (`%3B` for `;`, `%25` for `%`) |
| `i=2258` | namespace 0 |

A tag is written as the type that its node holds; `uint8[N]` may be a ByteString, a text a LocalizedText. An Uncertain
value keeps its value and its quality, a Bad one has none; the reason is the StatusCode's name. There are no `bit`,
`order` or `datetime:dt`.

Options: `path` (behind the port: `UA/Server`), `security` (`None`, `Basic256Sha256` or `Aes256_Sha256_RsaPss`), `mode`
(`SignAndEncrypt` or `Sign`), `certificate_file` and `key_file` (the device's own, PEM or DER), `trusted_file` (the
server's certificate, or those of authorities), `application_uri` (without it, the certificate's), `user` and
`password_file` (with `SignAndEncrypt` only), `max_nodes` (250, read in one request), `connect_ms` (without it
`timeout_ms`, with security five times that), `session_s` (without it three times the slowest group's period, 60 at
least), `channel_s` (3600). Files are relative to the device's folder.
"""
_NAMESPACES, _MAX_NODES = ObjectIds.Server_NamespaceArray, 11705  # MaxNodesPerRead of the OperationLimits
_UNREAD = Sample(quality=Quality.BAD, reason="the server's answer is too large, or can't be understood")
_FILES: Final = ("certificate_file", "key_file", "trusted_file", "password_file")
_Batch = tuple[tuple[Tag, ua.ReadValueId], ...]


class OpcUaOptions(Section):
    """The driver's options."""

    path: str = ""
    security: Literal["None", "Basic256Sha256", "Aes256_Sha256_RsaPss"] = "None"
    mode: Literal["SignAndEncrypt", "Sign"] = "SignAndEncrypt"
    certificate_file: str = ""
    key_file: str = ""
    trusted_file: str = ""
    application_uri: str = ""
    user: str = ""
    password_file: str = ""
    max_nodes: Annotated[int, Field(ge=1, le=10_000)] = 250
    connect_ms: Annotated[float, Field(ge=0, le=4_000)] = 0
    session_s: Annotated[float, Field(ge=0, le=86_400)] = 0
    channel_s: Annotated[float, Field(ge=10, le=86_400)] = 3_600

    @model_validator(mode="after")
    def _whole(self) -> OpcUaOptions:
        if self.security != "None" and (lacking := [name for name in _FILES[:3] if not getattr(self, name)]):
            raise ValueError(f"security {self.security} needs {', '.join(lacking)}")
        if self.user and not self.password_file:
            raise ValueError("user needs password_file")
        if self.user and (self.security == "None" or self.mode != "SignAndEncrypt"):
            raise ValueError("user needs security, and mode SignAndEncrypt: the password would be read along")
        return self


def check_address(tag: Tag) -> None:
    """Raise TagError where a tag's address is no NodeId."""
    node_name(tag)


def open_connector(source: Source) -> OpcUaConnector:
    """Return a connector that is not connected yet.

    Raises:
        SettingsError: options that are not known or don't fit together, or files that are not there.
    """
    options = parse_options(OpcUaOptions, source)
    missing = [(name, path) for name in _FILES if (path := getattr(options, name)) and not Path(path).is_file()]
    if missing:
        raise SettingsError([f"opcua option {name}: there is no file {path}" for name, path in missing])
    return OpcUaConnector(source, options)


def planned(source: Source, tags: Sequence[Tag]) -> list[Planned]:
    """Return the requests of one scan of a poll group; a server that takes fewer nodes at once is asked more often."""
    return planned_reads(tags, parse_options(OpcUaOptions, source).max_nodes)


def _terms(source: Source, options: OpcUaOptions) -> Terms:
    secured = options.security != "None"
    return Terms(
        host=source.host, port=source.port, path=options.path, timeout_s=source.timeout_ms / 1e3,
        connect_s=(options.connect_ms or min(source.timeout_ms * (5 if secured else 1), 4_000)) / 1e3,
        session_s=options.session_s or max(60.0, 3e-3 * max(source.groups.values(), default=0.0)),
        channel_s=options.channel_s, policy=options.security if secured else "",
        encrypt=options.mode == "SignAndEncrypt",
        credentials=read_credentials(options.certificate_file, options.key_file, options.trusted_file)
        if secured else None,
        application_uri=options.application_uri, user=options.user,
        password=read_secret(options.password_file) if options.user else "",
    )  # fmt: skip


class OpcUaConnector:
    """One session with an OPC UA server."""

    def __init__(self, source: Source, options: OpcUaOptions) -> None:
        """Connect nothing yet."""
        self.requests = 0
        self._source = source
        self._options = options
        self._session: Session | None = None
        self._most = options.max_nodes
        self._namespaces: tuple[str, ...] = ()
        self._plans: dict[tuple[str, ...], list[_Batch]] = {}
        self._kinds: dict[str, ua.VariantType] = {}

    def connect(self) -> None:
        """Open the session; files are read anew, so that a new password or certificate needs no restart."""
        self._session = Session(_terms(self._source, self._options))
        self._session.open()
        asked = [_asked(ua.NodeId(ua.Int32(number))) for number in (_NAMESPACES, _MAX_NODES)]
        namespaces, most = [_plain(value) for value in self._read(asked) or (None, None)]
        self._namespaces = tuple(map(str, cast(list[object], namespaces))) if isinstance(namespaces, list) else ()
        if isinstance(most, int) and most > 0:
            self._most = min(self._most, most)

    def close(self) -> None:
        """End the session, if it lives, and reset the connection."""
        if self._session is not None:
            self._session.close()

    def read(self, tags: Sequence[Tag]) -> Iterator[dict[str, Sample]]:
        """Read in as few requests as the server takes."""
        key = tuple(tag.name for tag in tags)
        if key not in self._plans:
            self._plans[key] = self._plan(tags)
        if homeless := {tag.name: sample for tag in tags if (sample := self._homeless(tag)) is not None}:
            yield homeless
        waiting = self._plans[key][::-1]
        answered: list[_Batch] = []
        while waiting:
            batch = waiting.pop()
            values = self._read([asked for _, asked in batch])
            if values is None and len(batch) > 1:
                waiting += [batch[len(batch) // 2 :], batch[: len(batch) // 2]]
                continue
            answered.append(batch)
            if values is None:
                yield {tag.name: _UNREAD for tag, _ in batch}
            else:
                yield {tag.name: sample_of(tag, value) for (tag, _), value in zip(batch, values, strict=True)}
        self._plans[key] = answered

    def write(self, tag: Tag, value: Native) -> None:
        """Write one value as the type of its node; status and times stay the server's, as most servers insist."""
        node = self._node(tag)
        if tag.name not in self._kinds:
            self._kinds[tag.name] = self._kind(tag, node)
        held = ua.DataValue(variant_of(tag, value, self._kinds[tag.name]), StatusCode=None)
        self.requests += 1
        status = self._living().write(ua.WriteValue(NodeId=node, AttributeId=AttributeIds.Value, Value=held))
        if int(status.value) >> 31:
            del self._kinds[tag.name]  # the node may have got another type
            raise TagError(f"{tag.name} at {self._where}: {reason(status)}")

    def browse(self, bounds: Bounds) -> Iterator[Offered]:
        """Yield the objects and variables below the server's Objects folder, as a tree."""
        return Tree(self._living().browse, self._read, self._most, bounds).browse()

    @property
    def _where(self) -> str:
        return f"{self._source.host}:{self._source.port}"

    def _living(self) -> Session:
        if self._session is None:
            raise ConnectorError(f"{self._where} is not connected")
        return self._session

    def _read(self, asked: Sequence[ua.ReadValueId]) -> list[ua.DataValue] | None:
        self.requests += 1
        return self._living().read(asked)

    def _plan(self, tags: Sequence[Tag]) -> list[_Batch]:
        known = [(tag, _asked(self._node(tag))) for tag in tags if self._homeless(tag) is None]
        return [tuple(known[first : first + self._most]) for first in range(0, len(known), self._most)]

    def _homeless(self, tag: Tag) -> Sample | None:
        name = node_name(tag)
        if not name.uri or name.uri in self._namespaces:
            return None
        return Sample(quality=Quality.BAD, reason=f"the server has no namespace {name.uri}")

    def _node(self, tag: Tag) -> ua.NodeId:
        name = node_name(tag)
        if homeless := self._homeless(tag):
            raise TagError(f"{tag.name} at {self._where}: {homeless.reason}")
        return _node_id(name, self._namespaces.index(name.uri) if name.uri else name.index)

    def _kind(self, tag: Tag, node: ua.NodeId) -> ua.VariantType:
        both = self._read([_asked(node), _asked(node, AttributeIds.DataType)])
        if both is None:
            raise TagError(f"{tag.name} at {self._where}: {_UNREAD.reason}")
        return kind_of(tag, both[0], both[1])


def _node_id(name: NodeName, index: int) -> ua.NodeId:
    if isinstance(name.identifier, int):
        return ua.NodeId(ua.Int32(name.identifier), ua.Int16(index))
    return ua.NodeId(name.identifier, ua.Int16(index))  # type: ignore[arg-type]  # its types say less than it takes


def _asked(node: ua.NodeId, attribute: AttributeIds = AttributeIds.Value) -> ua.ReadValueId:
    return ua.ReadValueId(NodeId=node, AttributeId=attribute)


def _plain(value: ua.DataValue | None) -> object:
    return value.Value.Value if value is not None and value.Value is not None else None
