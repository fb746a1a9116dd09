"""THE TABLE: every topic, one named row each. ACLs, references, budgets and alarms are generated from it.

Use rows by constant: `READING.name(place, source="line1")`, `READING.filter(place)`, `READING.parse(topic)`.
`plant/v1/...` never leaves the site; `fleet/v1/...` is the fleet bus.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import StrEnum

from schemas import evidence as e
from schemas import fleet as f
from schemas import messages as m
from schemas.fields import SLUG
from schemas.self_test import SelfTest, SelfTestReport

PLANT = "plant/v1/{site}/{line}/{node}/"
FLEET = "fleet/v1/{node}/"
DAY_S = 86_400
UPSTREAM_BUDGET_BYTES = 50_000_000  # per device and day, a hard budget


class Codec(StrEnum):
    """How a payload is written."""

    MSGPACK = "msgpack"
    JSON = "json"


class Reach(StrEnum):
    """How far a message may travel."""

    SITE = "site"
    UP = "up"
    DOWN = "down"


class Drop(StrEnum):
    """What is lost first when a reader is slower than its publisher."""

    OLDEST = "oldest"  # the newest wins
    LATEST_WINS = "latest_wins"  # state: an older value has no worth
    NOTHING = "nothing"  # delivery is acknowledged and deduplicated


class Role(StrEnum):
    """Who publishes or reads: the processes of a device, and those outside."""

    CONNECT = "connect"
    CAMERA = "camera"
    RUNTIME = "runtime"
    OPCUA = "opcua"
    HISTORIAN = "historian"
    MIRROR = "mirror"
    AGENT = "agent"
    MONITOR = "monitor"
    HMI = "hmi"
    UPLINK = "uplink"
    MES = "mes"  # external readers: mes/# and status/#, and writes that the write path checks
    CLI = "cli"  # a person on the device: plantedge up, watch, config
    FLEET = "fleet"  # the fleet service


@dataclass(frozen=True)
class Place:
    """Where a device stands: slugs `[a-z0-9_-]{1,64}`."""

    site: str
    line: str
    node: str

    def __post_init__(self) -> None:
        """Refuse what can't stand in a topic."""
        for field in ("site", "line", "node"):
            if not re.fullmatch(SLUG, getattr(self, field)):
                raise ValueError(f"{field} {getattr(self, field)!r} is not a slug of [a-z0-9_-], 1 to 64 long")

    def fields(self) -> dict[str, str]:
        """Return the fields as a pattern takes them."""
        return {"site": self.site, "line": self.line, "node": self.node}


@dataclass(frozen=True, kw_only=True)
class Topic:
    """One row. `binds` names the field that the broker ties to an identity, `bound` the side it is tied on.

    `max_hz` is per topic name and publisher; `stale_after_s` 0 means that silence is normal; `bulk` rows travel on a
    connection of their own, so that a frame never delays a scalar.
    """

    key: str
    pattern: str
    messages: tuple[type[m.Message], ...]
    codec: Codec
    qos: int
    retain: bool
    publishers: frozenset[Role]
    readers: frozenset[Role]
    reach: Reach = Reach.SITE
    max_bytes: int
    max_hz: float
    stale_after_s: float = 0.0
    drop: Drop
    binds: str = ""
    bound: str = "publisher"
    bulk: bool = False

    def name(self, place: Place, **fields: str) -> str:
        """Return the topic's name; every field is a slug."""
        for key, value in fields.items():
            if not re.fullmatch(SLUG, value):
                raise ValueError(f"{self.key}: {key} {value!r} is not a slug of [a-z0-9_-], 1 to 64 long")
        return self.pattern.format(**place.fields(), **fields)

    def filter(self, place: Place | None = None, **fields: str) -> str:
        """Return a subscription filter; fields that are not given become `+`."""
        known = (place.fields() if place else {}) | fields
        return re.sub(r"\{(\w+)\}", lambda match: known.get(match[1], "+"), self.pattern)

    def parse(self, topic: str) -> dict[str, str] | None:
        """Return the fields of a topic's name, or None if it is not of this row."""
        match = _regex(self.pattern).match(topic)
        return match.groupdict() if match else None

    @property
    def message(self) -> type[m.Message]:
        """The row's one message."""
        return self.messages[0]


def _regex(pattern: str) -> re.Pattern[str]:
    return re.compile("^" + re.sub(r"\{(\w+)\}", r"(?P<\1>[^/+#]+)", pattern) + "$")


def slug(name: str) -> str:
    """Return `name` as a topic may carry it: `FIC_101.PV` -> `fic_101_pv`."""
    return re.sub(r"[^a-z0-9_-]+", "_", name.lower()).strip("_")[:64] or "x"


def _roles(*roles: Role) -> frozenset[Role]:
    return frozenset(roles)


_DEVICE = _roles(
    Role.CONNECT, Role.CAMERA, Role.RUNTIME, Role.OPCUA, Role.HISTORIAN, Role.MIRROR, Role.MONITOR, Role.HMI,
    Role.AGENT, Role.UPLINK,
)  # fmt: skip
_EVENT_SOURCES = _roles(Role.AGENT, Role.CONNECT, Role.RUNTIME, Role.CAMERA, Role.HISTORIAN, Role.OPCUA, Role.HMI)

READING = Topic(
    key="READING", pattern=PLANT + "raw/{source}", messages=(m.Reading,), codec=Codec.MSGPACK, qos=0, retain=False,
    publishers=_roles(Role.CONNECT),
    readers=_roles(Role.RUNTIME, Role.CAMERA, Role.OPCUA, Role.HISTORIAN, Role.MIRROR, Role.CLI),
    max_bytes=262_144, max_hz=200, stale_after_s=5, drop=Drop.OLDEST,
)  # fmt: skip
FRAME = Topic(
    key="FRAME", pattern=PLANT + "frame/{stream}", messages=(m.Frame,), codec=Codec.MSGPACK, qos=0, retain=False,
    publishers=_roles(Role.CAMERA), readers=_roles(Role.RUNTIME, Role.HMI),
    max_bytes=196_608, max_hz=5_000, drop=Drop.OLDEST, bulk=True,
)  # fmt: skip
DECISION = Topic(
    key="DECISION", pattern=PLANT + "decision/{pipeline}", messages=(m.Decision,), codec=Codec.MSGPACK, qos=1,
    retain=False, publishers=_roles(Role.RUNTIME), readers=_roles(Role.CONNECT),
    max_bytes=4_096, max_hz=5_000, stale_after_s=1, drop=Drop.NOTHING,
)  # fmt: skip
OUTPUT = Topic(
    key="OUTPUT", pattern=PLANT + "output/{pipeline}", messages=(m.Output,), codec=Codec.MSGPACK, qos=1, retain=False,
    publishers=_roles(Role.CONNECT), readers=_roles(Role.HISTORIAN, Role.OPCUA, Role.HMI, Role.CLI),
    max_bytes=4_096, max_hz=5_000, drop=Drop.NOTHING,
)  # fmt: skip
RESULT = Topic(
    key="RESULT", pattern=PLANT + "inference/{pipeline}", messages=(m.Result,), codec=Codec.MSGPACK, qos=1,
    retain=False, publishers=_roles(Role.RUNTIME),
    readers=_roles(Role.OPCUA, Role.HISTORIAN, Role.MIRROR, Role.HMI, Role.CLI),
    max_bytes=16_384, max_hz=5_000, drop=Drop.NOTHING,
)  # fmt: skip
EVIDENCE = Topic(
    key="EVIDENCE", pattern=PLANT + "evidence/{pipeline}", messages=(e.Evidence,), codec=Codec.MSGPACK, qos=0,
    retain=False, publishers=_roles(Role.RUNTIME), readers=_roles(Role.HISTORIAN),
    max_bytes=524_288, max_hz=200, drop=Drop.OLDEST, bulk=True,
)  # fmt: skip
INSIGHT = Topic(
    key="INSIGHT", pattern=PLANT + "insight/{pipeline}", messages=(m.Insight,), codec=Codec.MSGPACK, qos=1,
    retain=True, publishers=_roles(Role.RUNTIME),
    readers=_roles(Role.OPCUA, Role.HISTORIAN, Role.UPLINK, Role.HMI, Role.CLI),
    max_bytes=8_192, max_hz=1, stale_after_s=30, drop=Drop.LATEST_WINS,
)  # fmt: skip
EVENT = Topic(
    key="EVENT", pattern=PLANT + "event/{origin}/{kind}", messages=(m.Event,), codec=Codec.MSGPACK, qos=1, retain=False,
    publishers=_EVENT_SOURCES,
    readers=_roles(Role.OPCUA, Role.HISTORIAN, Role.MIRROR, Role.UPLINK, Role.HMI, Role.CLI),
    max_bytes=8_192, max_hz=50, drop=Drop.NOTHING, binds="origin",
)  # fmt: skip
WRITE = Topic(
    key="WRITE", pattern=PLANT + "write/{source}/{origin}", messages=(m.Write,), codec=Codec.JSON, qos=1, retain=False,
    publishers=_roles(Role.OPCUA, Role.MES, Role.CLI), readers=_roles(Role.CONNECT),
    max_bytes=4_096, max_hz=50, drop=Drop.NOTHING, binds="origin",
)  # fmt: skip
REPLY = Topic(
    key="REPLY", pattern=PLANT + "reply/{origin}", messages=(m.Reply,), codec=Codec.JSON, qos=1, retain=False,
    publishers=_roles(Role.CONNECT, Role.AGENT, Role.RUNTIME),
    readers=_roles(Role.OPCUA, Role.MES, Role.CLI),
    max_bytes=4_096, max_hz=200, drop=Drop.NOTHING, binds="origin", bound="reader",
)  # fmt: skip
SLOT_DESIRED = Topic(
    key="SLOT_DESIRED", pattern=PLANT + "slot/{model}/desired", messages=(m.Slot,), codec=Codec.MSGPACK, qos=1,
    retain=True, publishers=_roles(Role.AGENT), readers=_roles(Role.RUNTIME, Role.CLI),
    max_bytes=4_096, max_hz=10, drop=Drop.LATEST_WINS,
)  # fmt: skip
SLOT_STATE = Topic(
    key="SLOT_STATE", pattern=PLANT + "slot/{model}/state/{process}", messages=(m.Slot,), codec=Codec.MSGPACK, qos=1,
    retain=True, publishers=_roles(Role.RUNTIME),
    readers=_roles(Role.AGENT, Role.UPLINK, Role.OPCUA, Role.MONITOR, Role.CLI),
    max_bytes=4_096, max_hz=10, drop=Drop.LATEST_WINS, binds="process",
)  # fmt: skip
CONFIG_SET = Topic(
    key="CONFIG_SET", pattern=PLANT + "config/{section}/set/{origin}", messages=(m.ConfigSet,), codec=Codec.JSON, qos=1,
    retain=False, publishers=_roles(Role.CLI), readers=_roles(Role.AGENT),
    max_bytes=65_536, max_hz=1, drop=Drop.NOTHING, binds="origin",
)  # fmt: skip
CONFIG_STATE = Topic(
    key="CONFIG_STATE", pattern=PLANT + "config/{section}/state", messages=(m.ConfigState,), codec=Codec.JSON, qos=1,
    retain=True, publishers=_roles(Role.AGENT), readers=_DEVICE - {Role.AGENT} | {Role.CLI},
    max_bytes=65_536, max_hz=10, drop=Drop.LATEST_WINS,
)  # fmt: skip
RELEARN = Topic(
    key="RELEARN", pattern=PLANT + "relearn/{pipeline}/{origin}", messages=(m.Relearn,), codec=Codec.JSON, qos=1,
    retain=False, publishers=_roles(Role.CLI), readers=_roles(Role.RUNTIME),
    max_bytes=1_024, max_hz=1, drop=Drop.NOTHING, binds="origin",
)  # fmt: skip
SELF_TEST = Topic(
    key="SELF_TEST", pattern=PLANT + "selftest/{process}/{origin}", messages=(SelfTest,), codec=Codec.JSON, qos=1,
    retain=False, publishers=_roles(Role.OPCUA, Role.CLI), readers=_roles(Role.RUNTIME),
    max_bytes=1_024, max_hz=1, drop=Drop.NOTHING, binds="origin",
)  # fmt: skip
SELF_TEST_REPORT = Topic(
    key="SELF_TEST_REPORT", pattern=PLANT + "selftest_report/{origin}", messages=(SelfTestReport,),
    codec=Codec.JSON, qos=1, retain=False, publishers=_roles(Role.RUNTIME), readers=_roles(Role.OPCUA, Role.CLI),
    max_bytes=4_096, max_hz=10, drop=Drop.NOTHING, binds="origin", bound="reader",
)  # fmt: skip
DESIRED = Topic(
    key="DESIRED", pattern=PLANT + "desired/{kind}", messages=(m.Desired,), codec=Codec.MSGPACK, qos=1, retain=True,
    publishers=_roles(Role.UPLINK), readers=_roles(Role.AGENT),
    max_bytes=65_536, max_hz=1, drop=Drop.LATEST_WINS,
)  # fmt: skip
STATUS = Topic(
    key="STATUS", pattern=PLANT + "status/{process}", messages=(m.Status,), codec=Codec.JSON, qos=1, retain=True,
    publishers=_DEVICE, readers=_roles(Role.UPLINK, Role.AGENT, Role.OPCUA, Role.MONITOR, Role.HMI, Role.MES, Role.CLI),
    max_bytes=8_192, max_hz=5, stale_after_s=15, drop=Drop.LATEST_WINS, binds="process",
)  # fmt: skip
MES_RESULT = Topic(
    key="MES_RESULT", pattern=PLANT + "mes/result/{pipeline}", messages=(m.MesResult,), codec=Codec.JSON, qos=1,
    retain=True, publishers=_roles(Role.MIRROR), readers=_roles(Role.MES, Role.CLI),
    max_bytes=4_096, max_hz=5_000, drop=Drop.LATEST_WINS,
)  # fmt: skip
MES_TAG = Topic(
    key="MES_TAG", pattern=PLANT + "mes/tag/{source}/{tag}", messages=(m.MesTag,), codec=Codec.JSON, qos=1, retain=True,
    publishers=_roles(Role.MIRROR), readers=_roles(Role.MES, Role.CLI),
    max_bytes=4_096, max_hz=10, drop=Drop.LATEST_WINS,
)  # fmt: skip
MES_EVENT = Topic(
    key="MES_EVENT", pattern=PLANT + "mes/event/{kind}", messages=(m.MesEvent,), codec=Codec.JSON, qos=1, retain=False,
    publishers=_roles(Role.MIRROR), readers=_roles(Role.MES, Role.CLI),
    max_bytes=8_192, max_hz=50, drop=Drop.NOTHING,
)  # fmt: skip

# Upstream: max_hz x (max_bytes + what the wire adds) x a day, summed, stays under the budget
# (tests/schemas/test_topics.py).
UP_HEALTH = Topic(
    key="UP_HEALTH", pattern=FLEET + "up/health", messages=(f.Health,), codec=Codec.MSGPACK, qos=1, retain=True,
    publishers=_roles(Role.UPLINK), readers=_roles(Role.FLEET), reach=Reach.UP,
    max_bytes=4_096, max_hz=0.1, stale_after_s=30, drop=Drop.LATEST_WINS,
)  # fmt: skip
UP_MODELS = Topic(
    key="UP_MODELS", pattern=FLEET + "up/models", messages=(f.Models,), codec=Codec.MSGPACK, qos=1, retain=True,
    publishers=_roles(Role.UPLINK), readers=_roles(Role.FLEET), reach=Reach.UP,
    max_bytes=8_192, max_hz=0.005, drop=Drop.LATEST_WINS,
)  # fmt: skip
UP_ALERT = Topic(
    key="UP_ALERT", pattern=FLEET + "up/alert", messages=(f.Alert,), codec=Codec.MSGPACK, qos=1, retain=False,
    publishers=_roles(Role.UPLINK), readers=_roles(Role.FLEET), reach=Reach.UP,
    max_bytes=512, max_hz=0.05, drop=Drop.OLDEST,
)  # fmt: skip
UP_REPORT = Topic(
    key="UP_REPORT", pattern=FLEET + "up/report", messages=(f.Report,), codec=Codec.MSGPACK, qos=1, retain=False,
    publishers=_roles(Role.UPLINK), readers=_roles(Role.FLEET), reach=Reach.UP,
    max_bytes=512, max_hz=0.02, drop=Drop.NOTHING,
)  # fmt: skip
UP_LEDGER = Topic(
    key="UP_LEDGER", pattern=FLEET + "up/ledger", messages=(f.Ledger,), codec=Codec.MSGPACK, qos=1, retain=False,
    publishers=_roles(Role.UPLINK), readers=_roles(Role.FLEET), reach=Reach.UP,
    max_bytes=4_096, max_hz=0.001, drop=Drop.NOTHING,
)  # fmt: skip
DOWN_DESIRED = Topic(
    key="DOWN_DESIRED", pattern=FLEET + "down/desired", messages=(f.FleetDesired,), codec=Codec.MSGPACK, qos=1,
    retain=True, publishers=_roles(Role.FLEET), readers=_roles(Role.UPLINK), reach=Reach.DOWN,
    max_bytes=65_536, max_hz=1, drop=Drop.LATEST_WINS,
)  # fmt: skip
DOWN_CONFIG = Topic(
    key="DOWN_CONFIG", pattern=FLEET + "down/config", messages=(f.FleetConfig,), codec=Codec.MSGPACK, qos=1,
    retain=True, publishers=_roles(Role.FLEET), readers=_roles(Role.UPLINK), reach=Reach.DOWN,
    max_bytes=65_536, max_hz=1, drop=Drop.LATEST_WINS,
)  # fmt: skip
DOWN_REQUEST = Topic(
    key="DOWN_REQUEST", pattern=FLEET + "down/request", messages=(f.FleetRequest,), codec=Codec.MSGPACK, qos=1,
    retain=False, publishers=_roles(Role.FLEET), readers=_roles(Role.UPLINK), reach=Reach.DOWN,
    max_bytes=4_096, max_hz=10, drop=Drop.NOTHING,
)  # fmt: skip

TOPICS: tuple[Topic, ...] = (
    READING, FRAME, DECISION, OUTPUT, RESULT, EVIDENCE, INSIGHT, EVENT, WRITE, REPLY, SLOT_DESIRED, SLOT_STATE,
    CONFIG_SET, CONFIG_STATE, RELEARN, SELF_TEST, SELF_TEST_REPORT, DESIRED, STATUS, MES_RESULT, MES_TAG, MES_EVENT,
    UP_HEALTH, UP_MODELS, UP_ALERT, UP_REPORT, UP_LEDGER, DOWN_DESIRED, DOWN_CONFIG, DOWN_REQUEST,
)  # fmt: skip


def row_of(topic: str) -> Topic | None:
    """Return the row that a topic's name belongs to."""
    return next((row for row in TOPICS if row.parse(topic) is not None), None)


def upstream_bytes_per_day() -> float:
    """Return the most that all upstream rows together can send in a day, payloads only."""
    return sum(row.max_bytes * row.max_hz * DAY_S for row in TOPICS if row.reach is Reach.UP)
