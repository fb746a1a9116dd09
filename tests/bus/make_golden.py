"""Writes golden/*.bin: the bytes of one message of every class. Run `python -m tests.bus.make_golden`.

A file that exists is never changed: those bytes are in queues, stores and devices. A message that has got new fields
gets a further file (`reading-1.2.bin`), and must still read all the earlier ones.
"""

from pathlib import Path

from bus.codec import encode
from schemas.messages import Message, schema_of
from tests.bus.examples import EXAMPLES, row_for, stamped

GOLDEN = Path(__file__).parent / "golden"


def files_of(kind: type[Message]) -> list[Path]:
    """The golden files of a class's version, oldest first."""
    stem = schema_of(kind).replace("/", "-")
    return [p for p in [GOLDEN / f"{stem}.bin", *(GOLDEN / f"{stem}.{n}.bin" for n in range(2, 100))] if p.exists()]


def main() -> None:
    GOLDEN.mkdir(exist_ok=True)
    for example in EXAMPLES:
        payload = encode(row_for(type(example)), stamped(example))
        before = files_of(type(example))
        if before and before[-1].read_bytes() == payload:
            continue
        suffix = f".{len(before) + 1}" if before else ""
        (GOLDEN / f"{schema_of(type(example)).replace('/', '-')}{suffix}.bin").write_bytes(payload)


if __name__ == "__main__":
    main()
