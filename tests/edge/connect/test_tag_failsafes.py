"""Fail-safe values of tags that no pipeline writes: written at the start, at the end, and when their owner is gone."""

import contextlib
import time
from collections.abc import Iterator, Sequence
from typing import Any

import msgspec
import pytest

from edge.connectors.modbus import open_connector
from edge.plc.outputs.table import output_problems
from edge.plc.outputs.tag_failsafes import TagFailsafes
from edge.plc.tags.lists import Access, Native, Tag, load_tags
from edge.plc.told import TagsFailsafe, Told
from edge.settings import Outputs, load_settings
from schemas.errors import ConnectorError, TagError
from schemas.messages import Sample, Write
from schemas.topics import WRITE, Place

pytestmark = pytest.mark.alone

PLACE = Place("demo", "line1", "edge1")
LOST_S = 1.0


def tag(name: str, failsafe: Native | None, kind: str = "float32") -> Tag:
    return Tag(name=name, address=name, type=kind, access=Access.WRITE, failsafe=failsafe)


TAGS = [tag("Speed", 60.0), tag("Curve", [1.0, 2.0], "float32[2]"), tag("Free", None)]


class Plc:
    """A PLC that refuses one tag, and may be away."""

    def __init__(self, refused: str = "", away: bool = False) -> None:
        self.refused = refused
        self.away = away
        self.held: dict[str, Native] = {}
        self.told: list[TagsFailsafe] = []

    def connect(self) -> None:
        """Be there at once."""

    def read(self, tags: Sequence[Tag]) -> Iterator[dict[str, Sample]]:
        yield {}

    def write(self, tag: Tag, value: Native) -> None:
        if self.away:
            raise ConnectorError("gone")
        if tag.name == self.refused:
            raise TagError("read only")
        self.held[tag.name] = value

    def close(self) -> None:
        """Have nothing to close."""

    def tell(self, told: Told) -> None:
        assert isinstance(told, TagsFailsafe)
        self.told.append(told)


def later_ns(seconds: float) -> int:
    return time.monotonic_ns() + int(seconds * 1e9)


def test_all_are_written_at_once_and_told_with_the_reason() -> None:
    plc = Plc()
    TagFailsafes(TAGS, plc.tell).put_all(plc, "started")
    assert plc.held == {"Speed": 60.0, "Curve": [1.0, 2.0]}
    assert plc.told == [TagsFailsafe(("Speed", "Curve"), {}, "started")]


def test_a_refused_one_keeps_none_of_the_others() -> None:
    plc = Plc(refused="Speed")
    TagFailsafes(TAGS, plc.tell).put_all(plc, "started")
    assert plc.held == {"Curve": [1.0, 2.0]}
    assert plc.told == [TagsFailsafe(("Curve",), {"Speed": "read only"}, "started")]


def test_without_a_word_from_the_loop_what_was_written_falls_back() -> None:
    plc = Plc()
    made = TagFailsafes(TAGS, plc.tell, LOST_S)
    made.tick(plc, later_ns(9 * LOST_S))
    assert not plc.held, "nobody has written anything"
    made.written(TAGS[0])
    made.written(TAGS[2])
    made.tick(plc, later_ns(LOST_S / 2))
    assert not plc.held
    assert made.due_ns <= later_ns(LOST_S)
    made.tick(plc, later_ns(LOST_S))
    assert plc.held == {"Speed": 60.0} and plc.told[-1].reason == "no broker for 1 s"
    plc.held.clear()
    made.tick(plc, later_ns(2 * LOST_S))
    assert not plc.held, "once"


def test_a_word_from_the_loop_keeps_what_was_written() -> None:
    plc = Plc()
    made = TagFailsafes(TAGS, plc.tell, LOST_S)
    made.written(TAGS[0])
    before = made.due_ns
    made.vouch()
    assert made.due_ns > before
    made.tick(plc, before)
    assert not plc.held


def test_what_could_not_be_written_is_written_with_the_next_link() -> None:
    plc = Plc(away=True)
    made = TagFailsafes(TAGS, plc.tell, LOST_S)
    made.written(TAGS[0])
    with pytest.raises(ConnectorError):
        made.tick(plc, later_ns(LOST_S))
    plc.away = False
    made.put_all(plc, "the link to the PLC came back")
    assert plc.held["Speed"] == 60.0


@pytest.mark.parametrize(("failsafes", "said"), [
    ({"reject": True, "armed": False}, []), ({"reject": False}, ["write true"]), ({"armed": True}, ["write false"]),
    ({"part": 0, "beat": 0}, ["leave it out", "leave it out"]),
])  # fmt: skip
def test_a_failsafe_that_the_outputs_would_never_write_is_a_problem(
    failsafes: dict[str, Native], said: list[str]
) -> None:
    kinds = {"reject": "bool", "armed": "bool", "part": "uint32", "beat": "uint16"}
    tags = {name: tag(name, failsafes.get(name), kind) for name, kind in kinds.items()}
    outputs = Outputs(source="plc", verdict="reject", part="part", armed="armed", heartbeat="beat")
    problems = output_problems({"caps": outputs}, tags)
    assert len(problems) == len(said) and all(word in problem for word, problem in zip(said, problems, strict=True))


@pytest.mark.slow
async def test_a_setpoint_falls_back_at_the_start_without_the_broker_and_at_the_end(
    start_plant: Any, station: Any, wait_until: Any, own_broker: Any
) -> None:
    broker, address = own_broker
    made = await station(start_plant("--parts-per-s", "5").modbus_port, broker=address, start=False)
    tags = made.folder / "plant.csv"
    tags.write_text(tags.read_text().replace("60,900,,Wanted", "60,900,120,Wanted"))
    setpoint = load_tags(tags, ("fast", "process"))["Line.SpeedSetpoint"]
    source = load_settings(made.folder).sources["plant"]
    with contextlib.closing(open_connector(source)) as plc:
        plc.connect()

        def held() -> object:
            return next(plc.read([setpoint]))[setpoint.name].value

        plc.write(setpoint, 700.0)
        made.start()
        await wait_until(lambda: held() == 120.0, "the fail-safe value at the start", 30)
        await wait_until(lambda: made.seen.events_of("tag_failsafe"), "its event")
        assert "started" in made.seen.events_of("tag_failsafe")[0].text
        payload = msgspec.json.encode(Write(request_id="r1", tag=setpoint.name, value=300.0))
        made.mes.publish(WRITE.name(PLACE, source="plant", origin="mes1"), payload, qos=1)
        await wait_until(lambda: held() == 300.0, "the setpoint")
        broker.stop()
        await wait_until(lambda: held() == 120.0, "the fail-safe value without a broker", 10)
        plc.write(setpoint, 700.0)
        made.stop()
        assert held() == 120.0, "at the end"
