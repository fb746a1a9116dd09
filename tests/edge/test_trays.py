"""The pictures of the accumulation table: repeatable, and showing what they say stands where."""

import numpy as np

from edge.sim.optics import SIZE
from edge.sim.tray import HIGH, MOST, WIDE, TrayStream


def test_the_same_picture_is_drawn_again_byte_for_byte() -> None:
    first, again = TrayStream(3, 0.5).image(14), TrayStream(3, 0.5).image(14)
    assert first.dtype == np.uint8
    assert first.shape == (HIGH, WIDE, 3)
    assert first.tobytes() == again.tobytes()


def test_none_to_six_whole_bottles_stand_on_a_picture_and_none_overlap() -> None:
    stream = TrayStream(5, 0.5)
    trays = [stream.tray(tray_id) for tray_id in range(400)]
    assert {len(tray.whole) for tray in trays} == set(range(MOST + 1))
    for tray in trays:
        bottles = [*tray.whole, *tray.cut]
        for index, one in enumerate(bottles):
            for other in bottles[index + 1 :]:
                assert np.hypot(one.x - other.x, one.y - other.y) > 56.5


def test_a_whole_bottle_has_room_for_its_crop_and_a_cut_one_reaches_over_the_edge() -> None:
    for seed in range(20):
        for tray in map(TrayStream(seed).tray, range(20)):
            for one in tray.whole:
                assert SIZE / 2 <= one.x <= WIDE - SIZE / 2
                assert SIZE / 2 <= one.y <= HIGH - SIZE / 2
            for one in tray.cut:
                left, _, right, _ = one.box
                assert left < 0 or right > WIDE


def test_bottles_stand_where_the_truth_says_and_nowhere_else() -> None:
    stream = TrayStream(0)  # a batch of red caps
    y, x = np.mgrid[:HIGH, :WIDE]
    seen = 0
    for tray_id in range(30):
        tray, picture = stream.tray(tray_id), stream.image(tray_id).astype(int)
        red = picture[..., 0] - picture[..., 1] > 50
        near = np.zeros((HIGH, WIDE), bool)
        for one in (*tray.whole, *tray.cut):
            distance = np.hypot(x - one.x, y - one.y)
            near |= distance < 26
            if one in tray.whole and one.part.label == "ok":
                assert red[distance < 15].mean() > 0.95
                seen += 1
        assert red[~near].mean() < 0.01
    assert seen > 60


def test_a_tray_is_good_when_all_its_whole_bottles_are() -> None:
    stream = TrayStream(2, 0.3)
    trays = [stream.tray(tray_id) for tray_id in range(60)]
    assert {tray.good for tray in trays} == {True, False}
    for tray in trays:
        assert tray.good is not any(one.part.label != "ok" for one in tray.whole)
