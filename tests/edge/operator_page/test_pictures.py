"""Thumbnails: of the right frame, small, bounded, and none where there can be none."""

import io
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from edge.operator_page.pictures import KEPT, SIDE, WAITING, WAITING_BYTES, Album, FramePool, encoded, kind_of_image
from schemas.messages import Frame
from tests.edge.operator_page.messages import result


def frame(seq: int, shape: tuple[int, ...] = (64, 64, 3), value: int = 0, dtype: str = "uint8") -> Frame:
    data = np.full(shape, value, np.uint8).tobytes()
    return Frame(
        stream="cam1", part_id=seq, boot="b", trigger_ns=0, time_ns=0, shape=shape, dtype=dtype, data=memoryview(data),
        epoch=1, seq=seq,
    )  # fmt: skip


def opened(data: bytes | None) -> Image.Image:
    assert data is not None
    return Image.open(io.BytesIO(data))


def test_a_result_finds_its_own_frame(tmp_path: Path) -> None:
    pool = FramePool(tmp_path)
    for seq in range(1, 6):
        pool.take(frame(seq, value=seq * 10))
    assert opened(pool.thumbnail(result(3))).getpixel((5, 5)) == (30, 30, 30)
    assert pool.thumbnail(result(9)) is None
    assert pool.thumbnail(result(3, source_epoch=2)) is None


def test_what_waits_is_bounded_by_number_and_by_bytes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pool = FramePool(tmp_path)
    monkeypatch.setattr(pool._limit, "take", lambda: True)
    for seq in range(1, WAITING + 11):
        pool.take(frame(seq))
    assert pool.thumbnail(result(10)) is None
    assert pool.thumbnail(result(11)) is not None
    big = (1000, 1000, 3)
    for seq in range(100, 110):
        pool.take(frame(seq, big))
    held = [seq for seq in range(100, 110) if pool.thumbnail(result(seq))]
    assert held == list(range(110 - WAITING_BYTES // 3_000_000, 110))


def test_frames_faster_than_the_page_needs_them_are_passed_over(tmp_path: Path) -> None:
    pool = FramePool(tmp_path)
    began = time.monotonic()
    for seq in range(1, 1001):
        pool.take(frame(seq, (8, 8)))
    assert pool.passed_over >= 1000 - 200 * (time.monotonic() - began + 1) - 1


@pytest.mark.parametrize(("shape", "kind"), [((64, 64, 3), "png"), ((64, 64, 1), "png"), ((700, 900), "jpeg")])
def test_a_thumbnail_is_small_and_of_its_shape(shape: tuple[int, ...], kind: str) -> None:
    data = encoded(np.zeros(shape, np.uint8).tobytes(), shape)
    image = opened(data)
    assert image.format == kind.upper()
    assert data is not None and kind_of_image(data) == f"image/{kind}"
    assert max(image.size) <= SIDE
    assert image.size[0] / image.size[1] == pytest.approx(shape[1] / shape[0], rel=0.02)


def test_what_is_no_picture_has_none(tmp_path: Path) -> None:
    pool = FramePool(tmp_path)
    pool.take(frame(1, (64, 6), dtype="float32"))
    pool.take(frame(2, (64, 64, 7)))
    assert pool.thumbnail(result(1)) is None
    assert pool.thumbnail(result(2)) is None
    assert encoded(b"short", (64, 64, 3)) is None


def test_the_album_forgets_the_oldest() -> None:
    album = Album()
    for number in range(KEPT + 5):
        album.put(str(number), b"x")
    assert "4" not in album
    assert album.get(str(KEPT + 4)) == b"x"
