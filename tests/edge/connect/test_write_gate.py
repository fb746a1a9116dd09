"""Which requests to write are carried out, and what each is answered."""

import time

import pytest

from edge.plc.outputs.write_rules import Admitted, WriteGate, answer, mode_tag, reply_is_allowed, same_value
from edge.plc.tags.lists import Access, Tag
from schemas.errors import WriteRefused
from schemas.fields import Value
from schemas.messages import Reply, ReplyCode, Write
from schemas.topics import Place

TAGS = {
    tag.name: tag
    for tag in (
        Tag(name="Speed", address="hr:0", type="float32", access=Access.WRITE, min=60, max=900, unit="1/min"),
        Tag(name="Level", address="hr:2", type="int16", access=Access.WRITE, scale=0.1),
        Tag(name="Count", address="hr:4", type="uint16"),
        Tag(name="Reject", address="coil:0", type="bool", access=Access.WRITE),
        *(Tag(name=f"T{n}", address=f"hr:{n}", type="int16", access=Access.WRITE) for n in range(100)),
    )
}


class Clock:
    now = 0

    def __call__(self) -> int:
        return self.now


def gate(clock: Clock | None = None) -> WriteGate:
    return WriteGate(TAGS, {"Reject"}, clock or Clock())


def write(tag: str = "Speed", value: Value = 100.0, request_id: str = "r1") -> Write:
    return Write(request_id=request_id, tag=tag, value=value)


def test_a_write_within_its_range_is_admitted_as_the_tags_type() -> None:
    admitted = gate().admit("mes1", write(value=100))
    assert isinstance(admitted, Admitted) and admitted.value == 100.0 and isinstance(admitted.value, float)


@pytest.mark.parametrize(("tag", "value", "reason"), [
    ("Speed", 901, "Speed takes 60 to 900 1/min, not 901"), ("Speed", "fast", "takes a number"),
    ("Sped", 100, "no tag 'Sped'; did you mean 'Speed'"), ("Count", 1, "read only"),
    ("Reject", False, "decisions alone"), ("Speed", float("nan"), "takes a number"),
])  # fmt: skip
def test_other_writes_are_refused_with_the_reason(tag: str, value: Value, reason: str) -> None:
    with pytest.raises(WriteRefused, match=reason):
        gate().admit("mes1", write(tag, value))


@pytest.mark.parametrize(("tag", "value", "code"), [
    ("Speed", 901, ReplyCode.OUT_OF_RANGE), ("Sped", 100, ReplyCode.UNKNOWN_TAG), ("Count", 1, ReplyCode.NOT_WRITABLE),
    ("Reject", False, ReplyCode.NOT_WRITABLE),
])  # fmt: skip
def test_a_refusal_has_a_code_for_programs_and_so_has_its_repeat(tag: str, value: Value, code: ReplyCode) -> None:
    one = gate()
    with pytest.raises(WriteRefused) as refused:
        one.admit("mes1", write(tag, value))
    assert refused.value.code == code
    repeat = one.admit("mes1", write(tag, value))
    assert isinstance(repeat, Reply) and repeat.code is code


def test_what_was_asked_before_this_process_started_is_refused_since_it_may_have_been_carried_out() -> None:
    asked_ns = time.time_ns()
    one = gate()
    with pytest.raises(WriteRefused, match="before this connect started"):
        one.admit("mes1", Write(request_id="r1", tag="Speed", value=100.0, asked_ns=asked_ns - 1))
    later = Write(request_id="r2", tag="Speed", value=100.0, asked_ns=time.time_ns())
    assert isinstance(one.admit("mes1", later), Admitted)


def test_a_pipelines_mode_is_written_like_a_tag() -> None:
    mode = mode_tag("caps")
    one = WriteGate(TAGS | {mode.name: mode}, {"Reject"}, Clock())
    admitted = one.admit("mes1", write("outputs/caps/mode", "manual"))
    assert isinstance(admitted, Admitted) and admitted.value == "manual"


def test_a_repeat_gets_the_same_answer_and_is_not_carried_out_again() -> None:
    one = gate()
    assert isinstance(one.admit("mes1", write()), Admitted)
    assert one.admit("mes1", write()) is None, "its first is still under way"
    done = Reply(request_id="r1", ok=True, value=100.0)
    one.settle(("mes1", "r1"), done)
    assert one.admit("mes1", write()) is done
    assert isinstance(one.admit("mes2", write()), Admitted), "another origin's r1 is another request"


def test_a_refused_request_is_refused_again_by_its_repeat() -> None:
    one = gate()
    with pytest.raises(WriteRefused):
        one.admit("mes1", write(value=1e6))
    repeat = one.admit("mes1", write(value=1e6))
    assert isinstance(repeat, Reply) and not repeat.ok and "60 to 900" in repeat.reason


def test_a_request_id_can_not_be_used_for_another_write() -> None:
    one = gate()
    one.admit("mes1", write(value=100))
    with pytest.raises(WriteRefused, match="use a new one"):
        one.admit("mes1", write(value=200))


def test_one_tag_takes_five_writes_a_second() -> None:
    clock = Clock()
    one = gate(clock)
    for turn in range(5):
        one.admit("mes1", write(request_id=f"r{turn}"))
    with pytest.raises(WriteRefused, match="at most 5 writes a second"):
        one.admit("mes1", write(request_id="r5"))
    one.admit("mes1", write("Level", 1.0, "other"))
    clock.now += 10**9
    one.admit("mes1", write(request_id="r6"))


def test_one_source_takes_forty_writes_a_second_whatever_the_tags() -> None:
    one = gate()
    with pytest.raises(WriteRefused, match="this source takes at most 40"):
        for turn in range(100):
            one.admit("mes1", write(f"T{turn}", 1, f"r{turn}"))
    assert turn == 40


def test_the_memory_of_requests_is_bounded() -> None:
    clock = Clock()
    one = gate(clock)
    for turn in range(5000):
        clock.now += 10**9
        one.admit("mes1", write(request_id=f"r{turn}"))
    assert len(one._known) == 1024


@pytest.mark.parametrize(("tag", "wanted", "held", "same"), [
    ("Speed", 555.5, 555.5, True), ("Speed", 0.1, 0.10000000149011612, True), ("Speed", 100.0, 100.1, False),
    ("Level", 5.54, 5.5, True), ("Level", 5.54, 5.6, False), ("Reject", True, True, True),
    ("Reject", True, False, False),
    ("T1", 5, 6, False), ("T1", 5, None, False),
])  # fmt: skip
def test_a_value_read_back_is_compared_as_its_type_holds_it(tag: str, wanted: Value, held: Value, same: bool) -> None:
    assert same_value(TAGS[tag], wanted, held) is same
    reply = answer("r1", TAGS[tag], wanted, held, "")
    assert reply.ok is same and reply.value == held
    assert same or "the PLC holds" in reply.reason


def test_only_the_requesters_own_reply_topic_is_answered() -> None:
    place = Place("s", "l", "n")
    assert reply_is_allowed("plant/v1/s/l/n/reply/mes1", place, "mes1")
    for topic in ("plant/v1/s/l/n/reply/mes2", "plant/v1/s/l/x/reply/mes1", "plant/v1/s/l/n/decision/caps", "x", ""):
        assert not reply_is_allowed(topic, place, "mes1")
