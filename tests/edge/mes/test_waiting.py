"""What waits for a broker: in order, bounded, and nothing is lost by being on its way."""

from edge.mes.waiting import Told, Waiting


def told(*numbers: int) -> list[Told]:
    return [Told("t", bytes([number]), retain=False) for number in numbers]


def filled(most: int, *numbers: int) -> Waiting:
    waiting = Waiting(most)
    for one in told(*numbers):
        waiting.add(one)
    return waiting


def test_the_oldest_are_taken_first_and_come_back_in_front() -> None:
    waiting = filled(5, 1, 2, 3, 4)
    batch = waiting.take(2)
    assert batch == told(1, 2) and len(waiting) == 2
    waiting.put_back(batch[1:])
    assert waiting.take(9) == told(2, 3, 4) and waiting.take(1) == [] and waiting.dropped == 0


def test_the_oldest_give_way_also_those_that_come_back() -> None:
    waiting = filled(3, 1, 2, 3, 4)
    assert waiting.dropped == 1 and len(waiting) == 3
    batch = waiting.take(2)
    for one in told(5, 6):
        waiting.add(one)
    waiting.put_back(batch)
    assert waiting.take(9) == told(4, 5, 6) and waiting.dropped == 3
