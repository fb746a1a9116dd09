"""Every message on a device's bus, as msgspec Structs. `schemas/topics.py` says where each one travels.

Each message carries `schema` (name/version), `epoch` (nanoseconds at its publisher's start) and `seq` (counted per
topic), stamped by `bus.typed.Publisher`; readers count gaps by them. Fields are only ever added, with defaults.

Times: `*_ns` of CLOCK_MONOTONIC are named in their docstring and are valid only within `boot`; `time_ns` is the
wall clock, for records. Latencies are in milliseconds. What travels on the fleet's bus is in `schemas/fleet.py`.
"""

from __future__ import annotations

from enum import StrEnum
from functools import cache
from typing import Annotated

import msgspec
from msgspec import Meta

from schemas.fields import Duration, Integer, Number, Slug, Value, Whole


class Message(msgspec.Struct, frozen=True, kw_only=True):
    """What every message carries: schema, epoch and seq."""

    schema: str = ""
    epoch: Whole = 0
    seq: Whole = 0


@cache  # asked for each message that is read: uncached it took 140 us
def schema_of(kind: type[Message]) -> str:
    """Return `name/version` of a message class, for example `reading/1`."""
    fields = {field.name: field for field in msgspec.structs.fields(kind)}
    return str(fields["schema"].default)


class Quality(StrEnum):
    """How far a value can be trusted, as OPC UA says it."""

    GOOD = "good"
    UNCERTAIN = "uncertain"
    BAD = "bad"


class Verdict(StrEnum):
    """What a pipeline says of a part."""

    OK = "ok"
    NOK = "nok"
    UNKNOWN = "unknown"


class Proof(StrEnum):
    """What a decision rests on: a part, or a self-test that keeps the lease of an idle line."""

    PART = "part"
    SELFTEST = "selftest"


class Outcome(StrEnum):
    """What became of one input of a pipeline."""

    RESULT = "result"
    LATE = "late"
    DROPPED = "dropped"


class Phase(StrEnum):
    """Life of an event."""

    NEW = "new"
    UPDATE = "update"
    END = "end"


class Severity(StrEnum):
    """How much an event matters."""

    INFO = "info"
    WARNING = "warning"
    ALARM = "alarm"


class State(StrEnum):
    """State of a process. `active` means that data flows."""

    STARTING = "starting"
    ACTIVE = "active"
    IDLE = "idle"
    DEGRADED = "degraded"
    STOPPED = "stopped"


# --- site: data -----------------------------------------------------------------------------------------------------


LINK_LOST = "link lost"  # how the reason of a tag begins that is Bad because its source can't be reached


# gc=False: it can't be part of a cycle, and a scan of 5,000 tags makes as many: the garbage collector would look
# through the whole process at every 14th scan.
class Sample(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, gc=False):
    """One tag's value; `reason` says why it is not Good; `age_ms` since it was last read Good."""

    value: Value = None
    quality: Quality = Quality.GOOD
    reason: str = ""
    age_ms: Duration = 0.0


class Reading(Message, frozen=True, kw_only=True):
    """One poll of one poll group of one source, all its tags by their original names.

    `scan_ns`: CLOCK_MONOTONIC when the scan began. `scan_ms`: how long it took.
    """

    schema: str = "reading/1"
    source: Slug
    group: str
    boot: str
    scan_ns: Whole
    scan_ms: Duration
    time_ns: Whole
    tags: dict[str, Sample]


class Frame(Message, frozen=True, kw_only=True):
    """One camera frame or window: `data` is C-ordered `dtype` of `shape`, a view into the received packet.

    `trigger_ns`: CLOCK_MONOTONIC of the trigger; the deadline counts from it. A large frame has no `data`: its `size`
    bytes lie in memory, in a slot of the `ring` of the camera process of that name, while the slot is of `generation`.
    """

    schema: str = "frame/1"
    stream: Slug
    part_id: Integer
    boot: str
    trigger_ns: Whole
    time_ns: Whole
    shape: tuple[Whole, ...]
    dtype: str
    data: memoryview
    quality: Quality = Quality.GOOD
    reason: str = ""
    ring: Annotated[str, Meta(pattern=r"^[a-z0-9_-]{0,64}$")] = ""
    slot: Whole = 0
    generation: Whole = 0
    size: Whole = 0


class Decision(Message, frozen=True, kw_only=True):
    """What the line shall do with a part. `deadline_ns`, `trigger_ns`: CLOCK_MONOTONIC.

    A decision whose proof is `selftest` names no part: it only renews the lease on the outputs.
    """

    schema: str = "decision/1"
    pipeline: Slug
    result_id: str
    part_id: Integer | None
    verdict: Verdict
    proof: Proof
    boot: str
    trigger_ns: Whole
    deadline_ns: Whole
    reason: str = ""


class Output(Message, frozen=True, kw_only=True):
    """What connect wrote to the PLC for one decision, acknowledged by the PLC. Latencies from the trigger.

    `failsafe` is true where the fail-safe value was written in place of the verdict; `reason` then says why. `manual`:
    the outputs were the operator's, so nothing was written.
    """

    schema: str = "output/1"
    pipeline: Slug
    result_id: str
    part_id: Integer | None
    verdict: Verdict
    failsafe: bool
    actuate_ms: Duration
    total_ms: Duration
    late: bool
    time_ns: Whole
    reason: str = ""
    manual: bool = False


class Latency(msgspec.Struct, frozen=True, kw_only=True):
    """Where a result's time went, in milliseconds.

    `ingest`: trigger (or scan) to received; `queue`: received to taken; `preprocess`, `infer`; `total`: trigger to
    published.
    """

    ingest: Duration
    queue: Duration
    preprocess: Duration
    infer: Duration
    total: Duration


class Result(Message, frozen=True, kw_only=True):
    """One input's fate in one pipeline, with the identity of everything that made it.

    `result_id` is `{pipeline}-{source_epoch:x}-{source_seq}`: a repeat has the same id. A dropped input has the verdict
    unknown and its reason. `input` is the stream or source. `model`: the one that judged; `models`: name -> version and
    digest of each, where the pipeline has several. `recipe`: the variant that ran, "" without one.
    """

    schema: str = "result/1"
    result_id: str
    pipeline: Slug
    input: Slug
    source_epoch: Whole
    source_seq: Whole
    part_id: Integer | None
    outcome: Outcome
    verdict: Verdict
    label: str
    score: Number
    scores: dict[str, Number]
    quality: Quality
    reason: str
    latency: Latency
    deadline_ms: Duration
    model: Slug
    version: str
    digest: str
    time_ns: Whole
    recipe: str = ""
    models: dict[str, str] = {}


class DriftSignal(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One statistic of a window and the limits learned for it; a `score` of 1 lies on the nearer limit."""

    value: Number
    score: Number
    low: Number | None = None
    high: Number | None = None


class Drift(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """How inputs and predictions compare with the clean windows that were learned from.

    `level`: off, learning, ok, inputs_changed, model_degraded. `windows` of `of` have been learned; `unclean` says why
    the last one was not. `entropy` (0..1): how unsure a classifier was. `signals`: the highest scores, of `recipe`.
    """

    level: Annotated[str, Meta(pattern="^(off|learning|ok|inputs_changed|model_degraded)$")] = "off"
    learned: bool = False
    windows: Whole = 0
    of: Whole = 0
    unclean: str = ""
    recipe: str = ""
    entropy: Number | None = None
    signals: dict[str, DriftSignal] = {}


class Insight(Message, frozen=True, kw_only=True):
    """One window (10 s) of one pipeline. `dropped` by reason; `gaps`: inputs that never arrived."""

    schema: str = "insight/1"
    pipeline: Slug
    model: Slug
    version: str
    window_s: Duration
    inputs: Whole
    results: Whole
    late: Whole
    dropped: dict[str, Whole]
    gaps: Whole
    verdicts: dict[str, Whole]
    p50_ms: Duration
    p99_ms: Duration
    max_ms: Duration
    score_mean: Number
    time_ns: Whole
    drift: Drift = Drift()


class Event(Message, frozen=True, kw_only=True):
    """Something that happened. `key` joins new, update and end of one event; `args` explain `code`."""

    schema: str = "event/1"
    key: str
    origin: Slug
    code: Slug
    phase: Phase
    severity: Severity
    text: str
    args: dict[str, str | int | float | bool]
    time_ns: Whole


# --- site: control --------------------------------------------------------------------------------------------------


class Write(Message, frozen=True, kw_only=True):
    """A request to write one tag. The same `request_id` from the same origin is carried out once.

    `asked_ns`: the wall clock when it was asked, 0 if not said: what was asked before `connect` started is refused, so
    that a repeat is not carried out twice over its restart. `on_behalf`: the person whom the origin acts for.
    """

    schema: str = "write/1"
    request_id: str
    tag: str
    value: Value
    asked_ns: Whole = 0
    on_behalf: str = ""


class ReplyCode(StrEnum):
    """What became of a write, for programs."""

    NONE = ""
    DONE = "done"
    CLAMPED = "clamped"  # done, with the nearer end of the tag's range
    UNKNOWN_TAG = "unknown_tag"
    NOT_WRITABLE = "not_writable"
    OUT_OF_RANGE = "out_of_range"  # or not of the tag's type
    RATE = "rate"
    NO_LINK = "no_link"  # not carried out
    UNSURE = "unsure"  # the link was lost meanwhile: it may have been carried out
    MISMATCH = "mismatch"  # the PLC holds another value
    REFUSED = "refused"  # by the PLC, or for another reason


class Reply(Message, frozen=True, kw_only=True):
    """The answer to a `Write` or a `ConfigSet`: `value` as read back, or the reason why not; `code` of a write."""

    schema: str = "reply/1"
    request_id: str
    ok: bool
    value: Value = None
    reason: str = ""
    code: ReplyCode = ReplyCode.NONE


class Relearn(Message, frozen=True, kw_only=True):
    """A request that a pipeline's drift watch learns anew what is normal: what comes in from now on is."""

    schema: str = "relearn/1"
    request_id: str


class Slot(Message, frozen=True, kw_only=True):
    """A model slot: what the agent wants loaded (`desired`), or what became of that in one runtime (`state`).

    `process` is that runtime; `serving` is the version that answers there now, "" for none, whatever was rejected.
    """

    schema: str = "slot/1"
    model: Slug
    version: Annotated[str, Meta(max_length=255)]
    digest: Annotated[str, Meta(max_length=128)]
    folder: str = ""
    phase: Annotated[str, Meta(pattern="^(desired|loading|active|rejected)$")] = "desired"
    reason: str = ""
    process: str = ""
    serving: str = ""


class ConfigSet(Message, frozen=True, kw_only=True):
    """A request for new values of one section. `base_version`: the version that the writer has seen."""

    schema: str = "config_set/1"
    request_id: str
    base_version: Integer
    values: dict[str, object]


class ConfigState(Message, frozen=True, kw_only=True):
    """What a section's values are, and what became of the last request."""

    schema: str = "config_state/1"
    section: Slug
    version: Integer
    phase: Annotated[str, Meta(pattern="^(applied|applying|rejected|reverted)$")]
    values: dict[str, object]
    origin: str = ""
    request_id: str = ""
    problems: list[str] = []


class Desired(Message, frozen=True, kw_only=True):
    """What the fleet wants of this device, as the uplink received it: sections of configuration, model versions."""

    schema: str = "desired/1"
    generation: Whole
    config: dict[str, dict[str, object]] = {}
    models: dict[str, str] = {}


class Status(Message, frozen=True, kw_only=True):
    """A process about itself. `config`: section -> version that it runs with. `counters` are since its start."""

    schema: str = "status/1"
    process: Slug
    state: State
    reason: str = ""
    pid: Whole = 0
    boot: str = ""
    uptime_s: Duration = 0.0
    rss_mb: Number = 0.0
    clock_synced: bool | None = None
    clock_offset_ms: Duration | None = None
    config: dict[str, Whole] = {}
    counters: dict[str, Number] = {}
    time_ns: Whole = 0


# --- site: JSON for MES and SCADA -----------------------------------------------------------------------------------


class MesResult(Message, frozen=True, kw_only=True):
    """A result for MES and SCADA. `time` is ISO 8601 in UTC; ids and integers over 2^53 are strings."""

    schema: str = "mes_result/1"
    time: str
    result_id: str
    pipeline: str
    part_id: Integer | str | None
    verdict: Verdict
    label: str
    score: Number
    quality: Quality
    late: bool
    latency_ms: Duration
    model: str
    version: str


class MesTag(Message, frozen=True, kw_only=True):
    """One tag for MES and SCADA, by its original name."""

    schema: str = "mes_tag/1"
    time: str
    source: str
    tag: str
    value: Value
    unit: str
    quality: Quality
    reason: str = ""


class MesEvent(Message, frozen=True, kw_only=True):
    """An event for MES and SCADA."""

    schema: str = "mes_event/1"
    time: str
    key: str
    origin: str
    code: str
    phase: Phase
    severity: Severity
    text: str
