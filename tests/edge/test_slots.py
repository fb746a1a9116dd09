"""What slots know before anything runs: versions in their order, and how a model in memory answers for itself."""

from dataclasses import replace

import pytest

from edge.engines import load_engine
from edge.models.contract import newest_version
from edge.models.loaded import load_model
from schemas.errors import ContractError
from tests.edge.small_models import write_classifier


@pytest.mark.parametrize(
    ("versions", "newest"),
    [(["9", "10"], "10"), (["1-9", "1-10"], "1-10"), (["2025-11-01", "2025-02-30"], "2025-11-01")],
)
def test_versions_are_compared_number_by_number(tmp_path, versions, newest):
    for version in versions:
        (tmp_path / version).mkdir()
        (tmp_path / version / "model.toml").touch()
    (tmp_path / "99").mkdir()  # without a contract it is no version
    assert newest_version(tmp_path) == newest


def test_a_model_without_a_version_says_what_to_put_there(tmp_path):
    with pytest.raises(ContractError, match=r"put one there as <version>/model\.toml"):
        newest_version(tmp_path / "nothing")


def test_a_batch_is_never_larger_than_what_waits(tmp_path):
    model = load_model(write_classifier(tmp_path), load_engine("cpu"))
    assert model.batches == (1, 2, 4)
    assert [model.batch(waiting) for waiting in range(6)] == [0, 1, 2, 2, 4, 4]


def test_a_model_proves_itself_by_one_golden_vector(tmp_path):
    model = load_model(write_classifier(tmp_path), load_engine("cpu"))
    assert [len(value) for value in model.golden.inputs.values()] == [1]
    assert model.prove() == ""
    other = load_model(write_classifier(tmp_path, version="2", inverted=True), load_engine("cpu"))
    assert "away from its golden vector" in replace(model, session=other.session).prove()
    model.session.close()
    assert "closed" in model.prove()
