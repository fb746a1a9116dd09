"""Markers planted in inputs and predictions, and every form in which they could leave."""

import base64
import json
import struct
from collections.abc import Iterator

TEXT = "MARKER-7c1e9d42"  # in tag names, string values, labels, event texts, status reasons
PIXELS = bytes.fromhex("c0ffee11deadbeef42a55a99")  # in frames
NUMBER = 7331.84765625  # a tag's value, exact in float32
INTEGER = 0x5EED7A11  # a tag's value
SCORE = 0.8627451  # 220/255: what the model says of a frame of brightness 220
BRIGHTNESS = 220


def _base64_forms(raw: bytes) -> Iterator[bytes]:
    """The parts of base64 that do not depend on what stands before and behind, for each of the three alignments."""
    for shift in range(3):
        encoded = base64.b64encode(b"\0" * shift + raw)
        start = (8 * shift + 5) // 6
        end = (8 * (shift + len(raw))) // 6
        yield encoded[start:end]
        yield encoded[start:end].replace(b"+", b"-").replace(b"/", b"_")


def _bytes_forms(raw: bytes) -> Iterator[bytes]:
    yield raw
    yield raw.hex().encode()
    yield raw.hex().upper().encode()
    yield raw.hex(" ").encode()
    yield from _base64_forms(raw)


def forms() -> dict[str, set[bytes]]:
    """Marker -> every byte string that would give it away."""
    numbers = set[bytes]()
    for value in (NUMBER, SCORE):
        for code in ("f", "d"):
            for order in (">", "<"):
                raw = struct.pack(order + code, value)
                if code == "d" or value == NUMBER:
                    numbers |= set(_bytes_forms(raw))
    numbers |= {repr(NUMBER).encode(), f"{SCORE:.4f}".encode(), json.dumps(NUMBER).encode()}
    integers = {raw for order in (">I", "<I") for raw in _bytes_forms(struct.pack(order, INTEGER))}
    return {
        "text": set(_bytes_forms(TEXT.encode())) | set(_bytes_forms(TEXT.encode("utf-16-le"))),
        "pixels": set(_bytes_forms(PIXELS)),
        "numbers": numbers,
        "integers": integers | {str(INTEGER).encode()},
    }


def found_in(data: bytes | bytearray) -> dict[str, int]:
    """How many forms of each marker occur in `data`; a marker that does not is left out."""
    counts = {name: sum(form in data for form in shapes) for name, shapes in forms().items()}
    return {name: count for name, count in counts.items() if count}
