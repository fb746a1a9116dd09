"""The simulated camera's pictures: repeatable, different from each other, with defects that can be seen."""

from collections import Counter
from itertools import islice

import numpy as np
import pytest

from edge.sim.bottle import Defect, Kind
from edge.sim.optics import Optics
from edge.sim.parts import LABELS, PartStream, render


def test_the_same_part_is_drawn_again_byte_for_byte() -> None:
    defect = Defect("scratch", 0.4, 0.6)
    first, again = render(3, 14, defect), render(3, 14, defect)
    assert first.dtype == np.uint8
    assert first.shape == (64, 64, 3)
    assert first.tobytes() == again.tobytes()


def test_a_part_does_not_depend_on_what_was_drawn_before_it() -> None:
    alone = render(8, 5)
    for part_id in range(4):
        render(9, part_id, Defect("blob"))
    assert np.array_equal(alone, render(8, 5))


def test_parts_and_batches_differ() -> None:
    pictures = {render(seed, part_id).tobytes() for seed in range(5) for part_id in range(5)}
    assert len(pictures) == 25


def test_pictures_are_well_exposed() -> None:
    pictures = np.stack([render(seed, 0) for seed in range(40)])
    assert 50 < pictures.mean() < 180
    assert (pictures == 255).mean() < 0.02
    assert pictures.std(axis=(1, 2, 3)).min() > 15


@pytest.mark.parametrize("kind", ["scratch", "blob"])
@pytest.mark.parametrize("seed", range(6))
def test_a_plain_defect_changes_the_cap_and_nothing_else(kind: Kind, seed: int) -> None:
    # A defect's random draws shift the later ones (exposure, noise): compare how pixels vary over many parts.
    fine, marked = _spread(seed, None), _spread(seed, Defect(kind, 1.0, 1.0))
    y, x = np.mgrid[:64, :64]
    face = np.hypot(x - 31.5, y - 31.5) < 12
    border = np.hypot(x - 31.5, y - 31.5) > 30
    assert marked[face].mean() > 1.15 * fine[face].mean()
    assert abs(marked[border].mean() / fine[border].mean() - 1) < 0.15


def _spread(seed: int, defect: Defect | None) -> np.ndarray:
    """How much each pixel varies among 40 parts of a batch."""
    grey = np.stack([render(seed, part_id, defect).mean(axis=2) for part_id in range(40)])
    return grey.std(axis=0)


def test_a_missing_cap_shows_the_dark_bore() -> None:
    white = next(seed for seed in range(100) if render(seed, 0)[24:40, 24:40].mean() > 190)
    assert render(white, 0, Defect("missing_cap"))[27:37, 27:37].mean() < 130


def test_the_stream_decides_each_part_by_seed_and_number_alone() -> None:
    stream = PartStream(5, defect_rate=0.5)
    in_order = list(islice(stream.parts(100), 50))
    assert [part.part_id for part in in_order] == list(range(100, 150))
    assert [PartStream(5, 0.5).part(part.part_id) for part in reversed(in_order)] == in_order[::-1]
    assert np.array_equal(stream.image(120), render(5, 120, stream.part(120).defect))


def test_the_stream_keeps_its_defect_rate() -> None:
    labels = Counter(part.label for part in islice(PartStream(1, 0.3).parts(), 4000))
    assert set(labels) == set(LABELS)
    assert abs(labels["ok"] / 4000 - 0.7) < 0.03
    assert Counter(part.label for part in islice(PartStream(1, 0.0).parts(), 500)) == {"ok": 500}


def test_a_defect_rate_outside_0_to_1_is_refused() -> None:
    with pytest.raises(ValueError, match="defect_rate"):
        PartStream(1, 2.0)


def test_drifting_optics_show_in_the_picture() -> None:
    clean = render(2, 7)
    assert render(2, 7, optics=Optics(lamp=0.6)).mean() < 0.9 * clean.mean()
    sharp, soft = (np.abs(np.diff(p.astype(int), axis=1)).mean() for p in (clean, render(2, 7, optics=Optics(1.0, 4))))
    assert soft < sharp
    dirty = render(2, 7, optics=Optics(dirt=0.8))
    assert dirty.std() < 0.7 * clean.std()
