"""Writing a tag over MQTT: answered on the response topic, read back, once per request id, audited by its origin."""

import asyncio
from typing import Any

import msgspec
import pytest

from bus import Address
from bus.hot import HotBus
from schemas.messages import Phase, Reply, Verdict, Write
from schemas.topics import REPLY, WRITE, Place

pytestmark = pytest.mark.alone

PLACE = Place("demo", "line1", "edge1")
LINE = ("--parts-per-s", "5")


def payload(tag: str, value: object, request_id: str) -> bytes:
    return msgspec.json.encode(Write(request_id=request_id, tag=tag, value=value))  # type: ignore[arg-type]


async def ask(bus: HotBus, tag: str, value: object, request_id: str, origin: str = "mes1") -> Reply:
    answer = await bus.request(
        WRITE.name(PLACE, source="plant", origin=origin), payload(tag, value, request_id),
        reply_to=REPLY.name(PLACE, origin=origin), timeout_s=5,
    )  # fmt: skip
    return msgspec.json.decode(answer.payload, type=Reply)


async def test_a_write_is_carried_out_read_back_answered_and_audited(
    start_plant: Any, station: Any, wait_until: Any
) -> None:
    plant = start_plant(*LINE)
    made = await station(plant.modbus_port)

    done = await ask(made.mes, "Line.SpeedSetpoint", 450, "r1")
    assert (done.ok, done.value, done.request_id) == (True, 450.0, "r1")
    audit = (await wait_until(lambda: made.seen.events_of("write_done"), "audit"))[0]
    assert (audit.args["origin"], audit.args["tag"], audit.args["value"]) == ("mes1", "Line.SpeedSetpoint", "450.0")
    await wait_until(lambda: setpoint(made) == 450.0, "the new value in the readings")

    refused = await ask(made.mes, "Line.SpeedSetpoint", 5000, "r2")
    assert not refused.ok and "60 to 900 1/min" in refused.reason
    assert not (await ask(made.mes, "Line.Speed", 1, "r3")).ok
    assert "decisions alone" in (await ask(made.mes, "Eject.Reject", False, "r4")).reason
    assert "did you mean" in (await ask(made.mes, "Line.SpeedSetpiont", 1, "r5")).reason
    await wait_until(lambda: len(made.seen.events_of("write_refused")) == 4, "each refusal is audited")
    assert plant.state()["reject"] is True

    await ask(made.mes, "Line.SpeedSetpoint", 500, "r6")
    again = await ask(made.mes, "Line.SpeedSetpoint", 450, "r1")
    assert (again.ok, again.value) == (True, 450.0), "the answer of the first time"
    assert len(made.seen.events_of("write_done")) == 2, "and not carried out again"
    polls = len(made.readings_of("process"))
    await wait_until(lambda: len(made.readings_of("process")) >= polls + 3, "three more polls")
    assert setpoint(made) == 500.0

    await refuse_foreign_replies_and_names(made, wait_until)
    await answer_at_once_without_a_link(made, plant, wait_until)


@pytest.mark.slow
async def test_an_operators_outputs_are_written_by_request_and_nobody_else(
    start_plant: Any, station: Any, leased: Any, wait_until: Any
) -> None:
    plant = start_plant(*LINE)
    made = await station(plant.modbus_port)
    async with leased(made):
        await wait_until(lambda: plant.state()["armed"], "armed")
        assert (await ask(made.mes, "outputs/caps/mode", "manual", "m1")).value == "manual"
        assert not plant.state()["armed"], "the verdicts are no longer the pipeline's"
        assert (await ask(made.mes, "Eject.Reject", False, "m2")).ok and plant.state()["reject"] is False
        assert "decisions alone" in (await ask(made.mes, "Edge.Armed", True, "m3")).reason
        made.decide(Verdict.NOK, 10**6)
        told = (await wait_until(lambda: made.seen.outputs, "the decision is told"))[-1]
        assert (told.manual, told.reason) == (True, "manual") and plant.state()["reject"] is False
    await wait_until(lambda: made.seen.status and made.seen.status[-1].counters.get("caps_manual") == 1.0, "status")
    beats = plant.state()["heartbeat"]
    await wait_until(lambda: plant.state()["watchdog_tripped"], "the lease has ended: the PLC's watchdog acts")
    assert plant.state()["reject"] is False and plant.state()["heartbeat"] - beats < 12, "the operator's value stays"
    assert (await ask(made.mes, "outputs/caps/mode", "auto", "m4")).value == "auto"
    assert plant.state()["reject"] is True
    kinds = [(event.phase, event.args["pipeline"]) for event in made.seen.events_of("outputs_manual")]
    assert kinds == [(Phase.NEW, "caps"), (Phase.END, "caps")]


def setpoint(made: Any) -> object:
    readings = made.readings_of("process")
    return readings[-1].tags["Line.SpeedSetpoint"].value if readings else None


async def refuse_foreign_replies_and_names(made: Any, wait_until: Any) -> None:
    """A response topic of somebody else is refused; a topic of somebody else's name never arrives."""
    name = WRITE.name(PLACE, source="plant", origin="mes1")
    before = len(made.seen.events_of("write_refused"))
    made.mes.publish(
        name, payload("Line.SpeedSetpoint", 300, "r7"), qos=1, response_topic=REPLY.name(PLACE, origin="mes2")
    )
    audit = (await wait_until(lambda: made.seen.events_of("write_refused")[before:], "audit"))[0]
    assert "response topic" in audit.args["reason"] and audit.args["request_id"] == "r7"
    made.mes.publish(WRITE.name(PLACE, source="plant", origin="mes2"), payload("Line.SpeedSetpoint", 300, "r8"), qos=1)
    answer = await made.mes.request(name, b"not json", reply_to=REPLY.name(PLACE, origin="mes1"), timeout_s=5)
    assert "can't be read" in msgspec.json.decode(answer.payload, type=Reply).reason
    made.mes.publish(name, b"not json", qos=1, response_topic=REPLY.name(PLACE, origin="mes2"))
    assert (await ask(made.mes, "Line.SpeedSetpoint", 510, "r9")).ok, "it lives on after rubbish"
    assert not [e for e in made.seen.events if e.args.get("request_id") == "r8"]


async def answer_at_once_without_a_link(made: Any, plant: Any, wait_until: Any) -> None:
    plant.fault("cut", 60)
    await wait_until(lambda: made.seen.events_of("plc_lost"), "plc_lost")
    answer = await ask(made.mes, "Line.SpeedSetpoint", 520, "r10")
    assert not answer.ok and answer.reason
    plant.clear()


async def test_writes_beyond_the_rate_are_refused(start_plant: Any, station: Any, line_broker: Address) -> None:
    made = await station(start_plant(*LINE).modbus_port)
    asked = (ask(made.mes, "Line.SpeedSetpoint", 400 + turn, f"q{turn}") for turn in range(8))
    replies = await asyncio.gather(*asked)  # at once: one after the other takes over a second where much else runs
    assert sum(reply.ok for reply in replies) == 5
    assert all("at most 5 writes a second" in reply.reason for reply in replies if not reply.ok)
