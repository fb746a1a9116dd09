"""Large pictures in memory: a reader has the picture that it was told of, or a reason."""

import stat
import subprocess
import sys

import msgspec
import numpy as np
import pytest

from edge.host.frame_ring import LEAST_SLOTS, FrameRing, RingReader, ring_path
from schemas.messages import Frame
from tests.conftest import ROOT

SIZE = 200_000


@pytest.fixture
def ring(tmp_path):
    made = FrameRing(ring_path(tmp_path, "camera-eye"), SIZE, 4 * SIZE)
    yield made
    made.remove()


def picture(shade, size=SIZE):
    return np.full((size,), shade, np.uint8)


def frame(slot, generation, size=SIZE, name="camera-eye"):
    return Frame(
        stream="eye", part_id=1, boot="b", trigger_ns=0, time_ns=0, shape=(size,), dtype="uint8", data=memoryview(b""),
        ring=name, slot=slot, generation=generation, size=size,
    )  # fmt: skip


def test_a_picture_is_read_as_it_was_written(ring, tmp_path):
    reader, rows = RingReader(tmp_path), np.arange(12, dtype=np.float32).reshape(3, 4)[:, ::2]
    assert reader.pixels(frame(*ring.put(rows), rows.nbytes)) == rows.tobytes()


def test_a_slot_that_was_written_again_is_a_reason_and_never_another_picture(ring, tmp_path):
    reader = RingReader(tmp_path)
    first = frame(*ring.put(picture(1)))
    for shade in range(2, 2 + ring.slots):
        ring.put(picture(shade))
    assert reader.pixels(first) == "its slot in the ring was overwritten before it was read"


def test_while_a_slot_is_written_it_is_nobodys(ring, tmp_path):
    described = frame(*ring.put(picture(1)))
    ring._generations[described.slot] = 0
    assert "overwritten" in RingReader(tmp_path).pixels(described)
    assert "overwritten" in RingReader(tmp_path).pixels(frame(described.slot, 0))


WRITER = """
import sys
from pathlib import Path
import numpy as np
from edge.host.frame_ring import FrameRing
ring = FrameRing(Path(sys.argv[1]), int(sys.argv[2]), 4 * int(sys.argv[2]))
print(ring.slots, flush=True)
for number in range(20_000):
    ring.put(np.full(int(sys.argv[2]), number % 251, np.uint8))
"""


def test_pictures_are_never_torn_while_another_process_writes(tmp_path):
    path, reader = ring_path(tmp_path, "camera-eye"), RingReader(tmp_path)
    path.parent.mkdir(parents=True, exist_ok=True)
    with subprocess.Popen([sys.executable, "-c", WRITER, path, str(SIZE)], stdout=subprocess.PIPE, cwd=ROOT) as child:
        try:
            slots = int(child.stdout.readline())
            reader.pixels(frame(0, 0))  # maps it
            generations = reader._views["camera-eye"].generations
            whole = gone = 0
            for turn in range(100_000):
                found = reader.pixels(frame(turn % slots, int(generations[turn % slots])))
                if isinstance(found, bytes) and found.strip(b"\0"):
                    assert found.count(found[:1]) == SIZE
                    whole += 1
                gone += isinstance(found, str)
                if (whole >= 500 and gone) or child.poll() is not None:
                    break
        finally:
            child.kill()
            path.unlink(missing_ok=True)
    assert whole >= 500
    assert gone >= 1  # the two did meet


def test_the_ring_of_a_camera_that_was_killed_is_replaced_and_its_frames_are_not_taken_for_new_ones(ring, tmp_path):
    reader = RingReader(tmp_path)
    old = frame(*ring.put(picture(1)))
    assert isinstance(reader.pixels(old), bytes)
    again = FrameRing(ring.path, SIZE, 4 * SIZE)
    try:
        new = frame(*again.put(picture(2)))
        assert reader.pixels(new) == picture(2).tobytes()
        assert isinstance(reader.pixels(old), str)
        ring.remove()  # of the one before: it must not take away its successor
        assert ring.path.exists()
    finally:
        again.remove()


def test_nobody_else_may_read_it_and_it_is_gone_afterwards(ring):
    assert stat.S_IMODE(ring.path.stat().st_mode) == 0o600
    ring.remove()
    assert not ring.path.exists()


def test_its_size_is_bounded_and_too_little_is_said(tmp_path):
    made = FrameRing(ring_path(tmp_path, "camera-eye"), SIZE, 1_000_000)
    assert made.path.stat().st_size < 1_010_000
    made.remove()
    with pytest.raises(ValueError, match=r"ring_mb is too small .*: write 18 or more"):
        FrameRing(ring_path(tmp_path, "camera-eye"), 1920 * 1080 * 3, LEAST_SLOTS * 1920 * 1080 * 3 - 1_000_000)


@pytest.mark.parametrize("hostile", [{"slot": -1}, {"slot": 99}, {"size": -5}, {"size": 10**9}, {"generation": 0}])
def test_a_descriptor_that_lies_is_refused(ring, tmp_path, hostile):
    described = msgspec.structs.replace(frame(*ring.put(picture(1))), **hostile)
    assert isinstance(RingReader(tmp_path).pixels(described), str)


@pytest.mark.parametrize("content", [b"", b"x" * 5000, b"PEFRAMES" + b"\xff" * 5000])
def test_a_file_that_is_no_ring_is_refused(tmp_path, content):
    path = ring_path(tmp_path, "camera-eye")
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    try:
        assert "can't be read" in RingReader(tmp_path).pixels(frame(0, 1))
    finally:
        path.unlink()
    assert "can't be read" in RingReader(tmp_path).pixels(frame(0, 1, name="camera-other"))
