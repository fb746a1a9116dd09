"""Spoils bytes, requests and messages at random; the same again from the same seed.

How long a fuzz runs, and with which seed, can be said: PLANTEDGE_FUZZ_S (seconds, for the soak tests), PLANTEDGE_SEED.
"""

import os
import random
import struct
from collections.abc import Callable, Iterator, Sequence
from typing import Any

SOAK_S = float(os.environ.get("PLANTEDGE_FUZZ_S", "600"))
# What breaks readers of lengths and numbers: none, all bits, signs, one more and one less, what is no number.
NUMBERS = [
    0,
    1,
    2,
    127,
    128,
    255,
    256,
    65535,
    65536,
    2**31 - 1,
    2**31,
    2**32 - 4,
    2**32 - 2,
    2**32 - 1,
    2**63,
    2**64 - 1,
]
DOUBLES = [struct.pack("<d", one) for one in (float("nan"), float("inf"), -float("inf"), -1.0, 1e308, 5e-324)]
ODD: list[Any] = [
    None, True, False, 0, -1, 2**31, -(2**63), 2**64 - 1, 0.0, -0.0, float("nan"), float("inf"), -float("inf"), 1e308,
    "", "x", "\0", "ü" * 300, "a" * 1900, "a" * 5000, "../../etc/passwd", "+/#", "1970-01-01", [], [[]], [None],
    [1] * 500, {}, {"": None}, {"x": {"x": {"x": []}}}, b"", b"\xff" * 64,
]  # fmt: skip


def seed_of_run() -> int:
    """The seed of this run; it is printed, so that pytest shows it where a test fails."""
    seed = int(os.environ.get("PLANTEDGE_SEED", "0")) or random.SystemRandom().getrandbits(32)
    print(f"PLANTEDGE_SEED={seed}")
    return seed


def every(value: Any) -> Iterator[Any]:
    """Spoil each part of a decoded message in each odd way, one after the other."""
    if isinstance(value, dict):
        for key, held in value.items():
            yield {name: other for name, other in value.items() if name != key}
            yield from (value | {key: spoilt} for spoilt in every(held))
    elif isinstance(value, list) and value:
        yield from ([spoilt, *value[1:]] for spoilt in every(value[0]))
    yield from ODD


class Mutator:
    """A source of spoilt things."""

    def __init__(self, seed: int) -> None:
        """Begin at a seed."""
        self.random = random.Random(seed)
        self._ways: list[Callable[[bytearray], None]] = [
            self._flip, self._flip, self._number, self._number, self._double, self._cut, self._insert, self._drop,
            self._again,
        ]  # fmt: skip

    def bytes(self, data: bytes, most: int = 4) -> bytes:
        """Spoil bytes in one to `most` ways."""
        held = bytearray(data)
        for _ in range(self.random.randint(1, most)):
            if held:
                self.random.choice(self._ways)(held)
        return bytes(held)

    def order(self, frames: Sequence[bytes]) -> list[bytes]:
        """Put frames out of order: some twice, some not at all."""
        held = list(frames)
        for _ in range(self.random.randint(0, 3)):
            one, other = self.random.randrange(len(held)), self.random.randrange(len(held))
            held[one], held[other] = held[other], held[one]
        if self.random.random() < 0.3:
            held.insert(self.random.randrange(len(held)), self.random.choice(held))
        if self.random.random() < 0.3 and len(held) > 1:
            del held[self.random.randrange(len(held))]
        return held

    def plain(self, value: Any) -> Any:
        """Spoil one part of what a decoded message consists of: dicts, lists, texts and numbers."""
        if isinstance(value, dict) and value and self.random.random() < 0.9:
            key = self.random.choice(list(value))
            how = self.random.random()
            if how < 0.1:
                return {name: held for name, held in value.items() if name != key}
            if how < 0.2:
                return value | {str(self._odd_text()): value[key]}
            return value | {key: self.plain(value[key])}
        if isinstance(value, list) and value and self.random.random() < 0.7:
            at = self.random.randrange(len(value))
            return [*value[:at], self.plain(value[at]), *value[at + 1 :]]
        return self.random.choice(ODD)

    def _odd_text(self) -> str:
        return self.random.choice([one for one in ODD if isinstance(one, str)])

    def _at(self, data: bytearray) -> int:
        return self.random.randrange(len(data))

    def _flip(self, data: bytearray) -> None:
        data[self._at(data)] ^= 1 << self.random.randrange(8)

    def _number(self, data: bytearray) -> None:
        at, size = self._at(data), self.random.choice((1, 2, 4, 4, 4, 8))
        number = self.random.choice(NUMBERS) % 256**size
        data[at : at + size] = number.to_bytes(size, self.random.choice(("little", "big")))

    def _double(self, data: bytearray) -> None:
        at = self._at(data)
        data[at : at + 8] = self.random.choice(DOUBLES)

    def _cut(self, data: bytearray) -> None:
        del data[self._at(data) :]

    def _insert(self, data: bytearray) -> None:
        at = self._at(data)
        data[at:at] = self.random.randbytes(self.random.choice((1, 2, 4, 8, 64, 1000)))

    def _drop(self, data: bytearray) -> None:
        at = self._at(data)
        del data[at : at + self.random.choice((1, 2, 4, 8))]

    def _again(self, data: bytearray) -> None:
        at = self._at(data)
        data[at:at] = data[at : at + self.random.choice((4, 16, 200))] * self.random.choice((1, 2, 50))
