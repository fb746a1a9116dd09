"""The one error tree.

PlantEdgeError
├── SettingsError        a file that a person wrote is wrong: every problem at once, with file and line
├── ContractError        a model folder does not keep its contract (missing, corrupt, wrong digest or shape)
├── CodecError           a message that can't be read
│   ├── SchemaMismatch   the schema's name or version is not ours
│   └── Oversized        a message over its row's max_bytes
├── BusError             the broker
│   ├── BusDisconnected  no connection, now or while waiting
│   ├── BusRefused       the broker refused (credentials, ACL, protocol)
│   └── RequestTimeout   no reply in time
├── ConnectorError       a PLC or camera: the link
│   └── TagError         one tag: its address, type or range
├── WriteRefused         a write that the write path turned down
├── CertificateRefused   a certificate that may not enter; `code` names OPC UA's reason
└── StartError           a process or peer that did not come up

Each message says what happened, on which device, file or tag, and what to do.
"""


class PlantEdgeError(Exception):
    """Root of every error that PlantEdge raises on purpose."""


class SettingsError(PlantEdgeError):
    """Settings that can't be used; `problems` holds each one as `file:line: what, what to do`."""

    def __init__(self, problems: list[str]) -> None:
        """Keep every problem, so that a person mends the file once."""
        self.problems = tuple(problems)
        super().__init__("\n".join(problems))


class ContractError(PlantEdgeError):
    """A model folder that does not keep its contract; `problems` holds each reason."""

    def __init__(self, problems: list[str]) -> None:
        """Keep every problem, so that a person mends the folder once."""
        self.problems = tuple(problems)
        super().__init__("\n".join(problems))


class CodecError(PlantEdgeError):
    """A payload that can't be read as the message of its topic."""


class SchemaMismatch(CodecError):
    """The payload names another schema, or a version outside N-1 to N+1."""


class Oversized(CodecError):
    """A payload over its row's `max_bytes`."""


class BusError(PlantEdgeError):
    """Something between a process and its broker."""


class BusDisconnected(BusError):
    """There is no connection, or it ended while a call waited."""


class BusRefused(BusError):
    """The broker refused the connection or the call."""


class RequestTimeout(BusError):
    """No reply came in time."""


class ConnectorError(PlantEdgeError):
    """The link to a PLC or camera failed; the connector must be connected again."""


class TagError(ConnectorError):
    """One tag can't be read or written; the link itself is fine."""


class CertificateRefused(PlantEdgeError):
    """A certificate that may not enter. `code`: the name of OPC UA's StatusCode for the reason."""

    def __init__(self, code: str, why: str) -> None:
        """Keep the code beside the words."""
        self.code = code
        super().__init__(why)


class WriteRefused(PlantEdgeError):
    """A write request that was not carried out; the message is the reason for the requester, `code` for programs."""

    def __init__(self, reason: str, code: str = "refused") -> None:
        """`code`: one of `schemas.messages.ReplyCode`."""
        super().__init__(reason)
        self.code = code


class StartError(PlantEdgeError):
    """A process, broker or peer that did not come up; the message ends with what to do."""
