"""The write path's rules: which requests to write a tag are carried out. Pure but for the clock of its rate limits.

A tag must exist, be `rw`, not belong to a pipeline's outputs unless these are manual (their thread knows), and the
value must lie in its range. A request is carried out once per (origin, request id); its repeat gets the same answer,
and after a restart of this process a refusal, where it says when it was asked. The origin is the topic's, which the
broker binds.
"""

from __future__ import annotations

import difflib
from collections import OrderedDict
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from time import monotonic_ns, time_ns

from bus.typed import RateLimit
from edge.plc.tags.coercion import coerce, same_moment
from edge.plc.tags.forms import Kind
from edge.plc.tags.tag import Access, Limit, Native, Tag
from schemas.errors import TagError, WriteRefused
from schemas.fields import Value
from schemas.messages import Reply, ReplyCode, Write
from schemas.topics import REPLY, Place

REMEMBERED = 1024  # requests whose answer is kept for repeats
TAG_HZ, TAG_BURST = 5.0, 5.0
SOURCE_HZ = 40.0  # under the rate of one audit event's topic: each write that is carried out is audited
Key = tuple[str, str]


@dataclass(frozen=True)
class Admitted:
    """A request to carry out: `value` is of the tag's type; `note` is for the requester: it was clamped."""

    tag: Tag
    value: Native
    note: str = ""


@dataclass
class _Known:
    write: Write
    reply: Reply | None = None


class WriteGate:
    """Admits or refuses the write requests to one source."""

    def __init__(
        self, tags: Mapping[str, Tag], reserved: Collection[str], clock: Callable[[], int] = monotonic_ns
    ) -> None:
        """`reserved` tags are written by decisions alone."""
        self._begun_ns = time_ns()
        self._tags = tags
        self._reserved = frozenset(reserved)
        self._clock = clock
        self._all = RateLimit(SOURCE_HZ, clock=clock)
        self._each: dict[str, RateLimit] = {}
        self._known: OrderedDict[Key, _Known] = OrderedDict()

    def admit(self, origin: str, write: Write) -> Admitted | Reply | None:
        """Return what to carry out; or the answer to a repeat, None where its first is still under way.

        Raises:
            WriteRefused: with the reason for the requester; it is also the answer to a repeat.
        """
        key = (origin, write.request_id)
        known = self._known.get(key)
        if known is not None:
            if (known.write.tag, known.write.value) != (write.tag, write.value):
                raise WriteRefused(f"request id {write.request_id!r} stands for another write; use a new one")
            return known.reply
        if 0 < write.asked_ns < self._begun_ns:
            raise WriteRefused(
                "asked before this connect started, so it may have been carried out; read the tag and ask anew"
            )
        self._remember(key, _Known(write))
        try:
            return self._checked(write)
        except WriteRefused as refused:
            self.settle(key, refusal(write.request_id, str(refused), refused.code))
            raise

    def settle(self, key: Key, reply: Reply) -> None:
        """Keep the answer to a request for its repeats."""
        known = self._known.get(key)
        if known is not None:
            known.reply = reply

    def _remember(self, key: Key, known: _Known) -> None:
        self._known[key] = known
        if len(self._known) > REMEMBERED:
            self._known.popitem(last=False)

    def _checked(self, write: Write) -> Admitted:
        tag = self._tags.get(write.tag)
        if tag is None:
            near = difflib.get_close_matches(write.tag, self._tags, n=1)
            raise WriteRefused(
                f"no tag {write.tag[:128]!r}" + (f"; did you mean {near[0]!r}?" if near else ""), ReplyCode.UNKNOWN_TAG
            )
        if tag.name in self._reserved:
            raise WriteRefused(f"{tag.name} is written by a pipeline's decisions alone", ReplyCode.NOT_WRITABLE)
        if tag.access is not Access.WRITE:
            raise WriteRefused(f"{tag.name} is read only", ReplyCode.NOT_WRITABLE)
        try:
            value = coerce(tag, write.value)
        except TagError as error:
            raise WriteRefused(str(error), ReplyCode.OUT_OF_RANGE) from error
        limit = self._each.setdefault(tag.name, RateLimit(TAG_HZ, TAG_BURST, self._clock))
        if not limit.take():
            raise WriteRefused(f"{tag.name} takes at most {TAG_HZ:g} writes a second", ReplyCode.RATE)
        if not self._all.take():
            raise WriteRefused(f"this source takes at most {SOURCE_HZ:g} writes a second", ReplyCode.RATE)
        return Admitted(tag, value, _clamped(tag, write.value, value))


def mode_tag(pipeline: str) -> Tag:
    """Return what is written to switch a pipeline's outputs: no tag of the PLC (its name can't be one), a text."""
    return Tag(name=f"outputs/{pipeline}/mode", address="", type="string:6", access=Access.WRITE)


def refusal(request_id: str, reason: str, code: str = ReplyCode.REFUSED) -> Reply:
    """Return the answer to a request that was not carried out."""
    return Reply(request_id=request_id, ok=False, reason=reason, code=ReplyCode(code))


def answer(
    request_id: str, tag: Tag, wanted: Value, held: Value, problem: str, note: str = "",
    code: ReplyCode = ReplyCode.REFUSED,
) -> Reply:  # fmt: skip
    """Return the answer to a request that was carried out: what was read back, and whether it is what was wanted.

    `note` stands as the reason of a write that was done, but not as asked for; `code` is the problem's.
    """
    if problem:
        return Reply(request_id=request_id, ok=False, value=held, reason=problem, code=code)
    if not same_value(tag, wanted, held):
        reason = f"wrote {wanted!r}, the PLC holds {held!r}"
        return Reply(request_id=request_id, ok=False, value=held, reason=reason, code=ReplyCode.MISMATCH)
    done = ReplyCode.CLAMPED if note else ReplyCode.DONE
    return Reply(request_id=request_id, ok=True, value=held, reason=note, code=done)


def same_value(tag: Tag, wanted: Value, held: Value) -> bool:
    """Whether a value read back is the one written, as far as the tag's type can hold it."""
    if isinstance(wanted, list) and isinstance(held, list):
        return len(wanted) == len(held) and all(same_value(tag, *pair) for pair in zip(wanted, held, strict=True))
    if isinstance(wanted, str) and isinstance(held, str) and tag.form.kind is Kind.MOMENT:
        return same_moment(wanted, held)
    if isinstance(wanted, bool | str) or isinstance(held, bool | str):
        return wanted == held
    if not isinstance(wanted, int | float) or not isinstance(held, int | float):
        return False
    if tag.form.kind is Kind.WHOLE:
        return abs(wanted - held) <= abs(tag.scale) / 2 * 1.000001 if tag.scaled else wanted == held
    return abs(wanted - held) <= 1e-6 * max(1e-30, abs(wanted), abs(tag.offset))


def _clamped(tag: Tag, wanted: Value, taken: Native) -> str:
    """Say that a value was moved to the end of the tag's range."""
    if tag.limit is Limit.REFUSE or not tag.form.numeric or wanted == taken:
        return ""
    return f"clamped to {taken}"


def reply_is_allowed(response_topic: str, place: Place, origin: str) -> bool:
    """Whether a response topic is the REPLY row's for this origin: nobody makes us publish anywhere else."""
    return response_topic == REPLY.name(place, origin=origin)
