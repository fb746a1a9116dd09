"""A scan of many tags does not set the garbage collector off, which would take longer than the scan."""

import gc

from edge.plc.modbus.registers import Held, plan, point_of
from edge.plc.tags.batches import Decoding
from edge.plc.tags.lists import Tag
from schemas.messages import Quality, Sample

TAGS = 5000


def test_the_samples_of_a_scan_are_nothing_to_the_garbage_collector() -> None:
    tags = [Tag(name=f"R{at}", address=f"hr:{at}", type="uint16") for at in range(TAGS)]
    decodings: list[tuple[Decoding[Held], Held]] = [
        (request.decoding, Held([1] * request.count)) for request in plan(map(point_of, tags), gap=0)
    ]
    gc.collect()
    before = gc.get_count()[0]
    samples: dict[str, Sample] = {}
    for decoding, held in decodings:
        samples |= decoding.samples(lambda held=held: held.straight, held)  # type: ignore[misc]  # bound at once
    came = gc.get_count()[0] - before
    assert len(samples) == TAGS and all(sample.quality is Quality.GOOD for sample in samples.values())
    assert came < TAGS / 10, "no object for each tag"
    assert not gc.is_tracked(samples)
