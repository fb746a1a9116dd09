"""The page of settings is what the classes say."""

import pytest

from edge.config.reference import FILE, reference
from edge.inference.steps import op_names
from tests.conftest import ROOT


def test_the_page_is_the_generated_one():
    assert (ROOT / FILE).read_text() == reference(), "run: python -m edge.config.reference"


@pytest.mark.parametrize("name", [*op_names(), "steps[]", "join", "recipe", "dynamic_batching", "outputs.NAME"])
def test_it_tells_every_table_and_op(name):
    assert f"## `{name}`" in reference()
