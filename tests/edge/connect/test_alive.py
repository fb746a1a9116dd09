"""A PLC that answers though its program stands still, or is another program: on each face of the plant."""

from typing import Any

import pytest

from edge.plc.alive import Alive, alive_problems
from edge.plc.tags.lists import Tag
from edge.settings import Source
from schemas.messages import Phase, Quality, Sample

pytestmark = pytest.mark.alone

MS = 1_000_000
BEAT = Tag(name="Plc.Heartbeat", address="ir:6", type="uint16", group="process")


def beat(value: int | None) -> dict[str, Sample]:
    return {BEAT.name: Sample(value=value) if value is not None else Sample(quality=Quality.BAD, reason="refused")}


def test_a_tag_that_moves_is_alive_and_one_that_does_not_is_told_in_time() -> None:
    alive = Alive(BEAT, 500)
    alive.restart(0)
    assert not any(alive.see(beat(n), n * 100 * MS) for n in range(20))
    assert not alive.see(beat(19), 2399 * MS)
    assert alive.see(beat(19), 2401 * MS) and "Plc.Heartbeat has not moved for 500 ms" in alive.reason
    assert not alive.see(beat(20), 2500 * MS)


def test_a_tag_that_is_bad_or_not_read_does_not_move() -> None:
    alive = Alive(BEAT, 500)
    alive.restart(0)
    assert not alive.see(beat(1), 0)
    assert alive.see(beat(None), 501 * MS)
    assert alive.see({}, 600 * MS)


def test_a_stood_still_tag_stays_so_over_a_new_link() -> None:
    alive = Alive(BEAT, 500)
    alive.restart(0)
    alive.see(beat(7), 0)
    assert alive.see(beat(7), 600 * MS)
    alive.restart(700 * MS)
    assert alive.see(beat(7), 701 * MS) and not alive.see(beat(8), 702 * MS)


@pytest.mark.parametrize(("alive", "alive_ms", "says"), [
    ("Plc.Heartbeet", 1000, "not in the source's tag list"), ("Plc.Heartbeat", 150, "under two periods"),
    ("Plc.Heartbeat", 1000, ""), ("", 1, ""),
])  # fmt: skip
def test_a_heartbeat_is_a_tag_that_is_read_often_enough(alive: str, alive_ms: float, says: str) -> None:
    source = Source(driver="modbus", tags="-", groups={"process": 100}, alive=alive, alive_ms=alive_ms)
    found = alive_problems(source, {BEAT.name: BEAT})
    assert len(found) == bool(says) and all(says in one for one in found)


@pytest.mark.slow
@pytest.mark.timeout(120)
async def test_a_frozen_plc_counts_as_lost_and_comes_back_with_the_fail_safe(
    start_plant: Any, station: Any, leased: Any, wait_until: Any, face: Any
) -> None:
    plant = start_plant("--parts-per-s", "20", "--travel-ms", "100", face=face)
    made = await station(plant, face=face, settings='alive = "Plc.Heartbeat"\nalive_ms = 500')
    async with leased(made):
        await wait_until(lambda: plant.state()["armed"], "armed")
        plant.fault("freeze", 60, face.name)
        await wait_until(lambda: made.seen.events_of("plc_lost", Phase.NEW), "plc_lost", 5)
        assert "heartbeat stands still" in made.seen.events_of("plc_lost", Phase.NEW)[0].args["reason"]
        bad = made.seen.readings[-1].tags
        assert all(sample.quality is Quality.BAD and "stands still" in sample.reason for sample in bad.values())
        await wait_until(lambda: made.seen.events_of("failsafe", Phase.NEW), "the fail-safe is latched")
        await wait_until(lambda: plant.state()["watchdog_tripped"], "the PLC's own watchdog", 3)
        before = len(made.seen.readings)
        await wait_until(lambda: len(made.seen.readings) > before + 6, "readings while it stands still")
        assert all(s.quality is Quality.BAD for r in made.seen.readings[before:] for s in r.tags.values())
        plant.clear()
        await wait_until(lambda: made.seen.events_of("plc_lost", Phase.END), "recovery", 15)
        await wait_until(lambda: plant.state()["armed"], "armed again", 15)


@pytest.mark.slow
@pytest.mark.timeout(120)
async def test_another_program_makes_the_tags_that_it_lacks_bad_and_nothing_wrong(
    start_plant: Any, station: Any, wait_until: Any, face: Any
) -> None:
    plant = start_plant("--parts-per-s", "5", face=face)
    made = await station(plant, face=face)

    def newest() -> Sample:
        return made.readings_of("process")[-1].tags["Line.Speed"]

    await wait_until(lambda: made.readings_of("process") and newest().quality is Quality.GOOD, "a value")
    plant.fault("wrong-type", 60, face.name)
    await wait_until(lambda: newest().quality is Quality.BAD and newest().reason, "Bad with its reason", 5)
    assert made.child.poll() is None
    plant.clear()
    await wait_until(lambda: newest().quality is Quality.GOOD, "Good again", 15)


@pytest.mark.slow
@pytest.mark.timeout(120)
@pytest.mark.parametrize("kind", ["cut", "garbage"])
async def test_a_broken_cable_to_any_face_is_told_and_mended(
    start_plant: Any, station: Any, wait_until: Any, face: Any, kind: str
) -> None:
    plant = start_plant("--parts-per-s", "5", face=face)
    made = await station(plant, face=face)
    plant.fault(kind, 60, face.name)
    await wait_until(lambda: made.seen.events_of("plc_lost", Phase.NEW), "plc_lost", 10)
    assert plant.state()["faults"] == {face.name: kind}
    plant.clear()
    await wait_until(lambda: made.seen.events_of("plc_lost", Phase.END), "recovery", 15)
    assert made.child.poll() is None
