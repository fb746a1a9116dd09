"""Requests: every tag once, none over the limit, never more of them than tags, and few for lists as they are."""

import contextlib
import itertools
import socketserver
import struct
import threading
from collections.abc import Iterator
from dataclasses import dataclass

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge.connectors.modbus import open_connector, planned
from edge.plc.planning import Reach, Room, packets, runs
from edge.plc.tags.lists import Tag
from edge.settings import Source
from schemas.messages import Quality


@dataclass(frozen=True)
class Spot:
    number: int
    area: str
    address: int
    size: int

    @property
    def end(self) -> int:
        return self.address + self.size


spots = st.lists(
    st.builds(Spot, st.integers(), st.sampled_from(["DB1", "DB2", "M"]), st.integers(0, 400), st.integers(1, 12)),
    max_size=60,
)  # fmt: skip


@given(spots, st.integers(0, 40), st.integers(12, 120))
def test_every_spot_is_in_one_range_that_is_within_its_reach(made: list[Spot], gap: int, size: int) -> None:
    found = runs(made, lambda _: Reach(gap, size))
    assert sorted(map(id, (spot for run in found for spot in run))) == sorted(map(id, made))
    assert len(found) <= len(made)
    for run in found:
        assert len({spot.area for spot in run}) == 1
        assert max(spot.end for spot in run) - min(spot.address for spot in run) <= size
        ends = [max(spot.end for spot in run[:at]) for at in range(1, len(run))]
        assert all(spot.address - end <= gap for spot, end in zip(run[1:], ends, strict=True))


@given(spots, st.integers(0, 40), st.integers(12, 120))
def test_ranges_that_follow_each_other_could_not_be_one(made: list[Spot], gap: int, size: int) -> None:
    found = runs(made, lambda _: Reach(gap, size))
    for before, after in itertools.pairwise(found):
        if before[0].area == after[0].area:
            end = max(spot.end for spot in before)
            assert after[0].address - end > gap or after[0].end - before[0].address > size


def test_a_spot_over_the_limit_stands_alone() -> None:
    made = [Spot(1, "M", 0, 4), Spot(2, "M", 4, 300), Spot(3, "M", 304, 4)]
    assert [len(run) for run in runs(made, lambda _: Reach(10, 100))] == [1, 1, 1]


costs = st.lists(st.tuples(st.integers(1, 60), st.integers(1, 60)), max_size=80)


@given(costs, st.integers(60, 300), st.integers(60, 300), st.integers(1, 20))
def test_every_item_is_in_one_packet_that_has_room_for_it(
    made: list[tuple[int, int]], asked: int, answered: int, most: int
) -> None:
    found = packets(range(len(made)), lambda number: made[number], Room(asked, answered, most))
    assert sorted(number for packet in found for number in packet) == list(range(len(made)))
    for packet in found:
        assert 1 <= len(packet) <= most
        assert sum(made[number][0] for number in packet) <= asked
        assert sum(made[number][1] for number in packet) <= answered


@given(costs, st.integers(60, 300))
def test_packets_are_well_filled(made: list[tuple[int, int]], room: int) -> None:
    found = packets(range(len(made)), lambda number: made[number], Room(room, room, 1000))
    least = max(sum(asked for asked, _ in made), sum(answered for _, answered in made)) / room
    assert len(found) <= 3 * least + 1


# -- on the wire ------------------------------------------------------------------------------------------------------


class Counting(socketserver.ThreadingTCPServer):
    """Answers any read with registers that hold their addresses, bits that are true where it is even; counts them."""

    daemon_threads = True
    sizes: list[int]


class Answer(socketserver.StreamRequestHandler):
    server: Counting

    def handle(self) -> None:
        with contextlib.suppress(ConnectionResetError):  # how our connector closes
            self._answer_all()

    def _answer_all(self) -> None:
        while len(head := self.rfile.read(12)) == 12:
            transaction, _, _, unit, function, address, count = struct.unpack(">HHHBBHH", head)
            self.server.sizes.append(count)
            at = range(address, address + count)
            if function in (1, 2):
                bits = [n % 2 == 0 for n in at]
                data = bytes(sum(bit << i for i, bit in enumerate(bits[k : k + 8])) for k in range(0, count, 8))
            else:
                data = struct.pack(f">{count}H", *at)
            self.wfile.write(struct.pack(">HHHBBB", transaction, 0, 3 + len(data), unit, function, len(data)) + data)


@pytest.fixture
def plc() -> Iterator[Counting]:
    with Counting(("127.0.0.1", 0), Answer) as server:
        server.sizes = []
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield server
        server.shutdown()
        thread.join(5)


def registers(addresses: range | list[int]) -> list[Tag]:
    return [Tag(name=f"T{address}", address=f"hr:{address}", type="uint16") for address in addresses]


FLOATS = [Tag(name=f"F{n}", address=f"hr:{n * 2}", type="float32") for n in range(500)]
BITS = [Tag(name=f"B{n}", address=f"coil:{n}", type="bool") for n in range(0, 8000, 4)]


@pytest.mark.parametrize(("tags", "options", "requests"), [
    (registers(range(100)), {}, 1), (registers(range(1000)), {}, 8), (registers(range(5000)), {}, 40),
    (registers(range(0, 1000, 10)), {}, 8),  # gaps of 9 are read along
    (registers(range(0, 1000, 10)), {"gap": 0}, 100), (registers(range(0, 60_000, 600)), {}, 100),  # scattered
    (registers([*range(100), *range(5000, 5100)]), {}, 2), (registers(range(1000)), {"max_registers": 50}, 20),
    (FLOATS, {}, 9),  # 62 of them in a request: none lies across two
    (BITS, {}, 4),
])  # fmt: skip
def test_so_many_requests_are_on_the_wire(
    plc: Counting, tags: list[Tag], options: dict[str, str | int | float | bool], requests: int
) -> None:
    source = Source(driver="modbus", port=plc.server_address[1], tags="-", groups={}, options=options)
    with contextlib.closing(open_connector(source)) as connector:
        connector.connect()
        samples = {name: sample for part in connector.read(tags) for name, sample in part.items()}
        assert len(plc.sizes) == requests == len(planned(source, tags))
        list(connector.read(tags))
    assert len(plc.sizes) == 2 * requests, "the second scan is as the first"
    assert len(samples) == len(tags) and all(sample.quality is Quality.GOOD for sample in samples.values())
    for tag in (tags[0], tags[len(tags) // 2], tags[-1]):
        at = int(tag.address.split(":")[1])
        wanted = {
            "uint16": at,
            "bool": at % 2 == 0,
            "float32": struct.unpack(">f", struct.pack(">HH", at, at + 1 & 0xFFFF))[0],
        }
        assert samples[tag.name].value == wanted[tag.type]


def test_a_tag_that_is_larger_than_a_request_may_be_is_bad_and_never_asked_for(plc: Counting) -> None:
    source = Source(driver="modbus", port=plc.server_address[1], tags="-", groups={}, options={"max_registers": 2})
    large, small = (Tag(name=kind, address="hr:0", type=kind) for kind in ("float64", "uint16"))
    with contextlib.closing(open_connector(source)) as connector:
        connector.connect()
        samples = {name: sample for part in connector.read([large, small]) for name, sample in part.items()}
    assert samples["uint16"].value == 0 and samples["float64"].quality is Quality.BAD
    assert "max_registers" in samples["float64"].reason and plc.sizes == [1]
