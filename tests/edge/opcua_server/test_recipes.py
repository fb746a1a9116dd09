"""Which value of a tag chooses a recipe, and what is never written."""

import pytest

from edge.inference.recipe_key import key_of
from edge.opcua_server.recipes import tag_value
from edge.plc.tags.tag import Access, Limit, Tag


def tag(kind: str, **fields: object) -> Tag:
    return Tag(name="Recipe", address="hr:0", type=kind, access=Access.WRITE, **fields)  # type: ignore[arg-type]  # a test's own words


@pytest.mark.parametrize(("of", "recipe", "value"), [
    (tag("uint16"), "7", 7), (tag("float32"), "7", 7.0), (tag("int16", scale=0.5), "7", 7.0),
    (tag("bool"), "true", True), (tag("bool"), "false", False), (tag("string:8"), "caps", "caps"),
    (tag("string:8"), "7", "7"),
])  # fmt: skip
def test_the_value_is_of_the_tags_type_and_is_named_as_the_recipe(of: Tag, recipe: str, value: object) -> None:
    found = tag_value(of, recipe)
    assert found == value and type(found) is type(value)
    assert key_of(found) == recipe


@pytest.mark.parametrize(("of", "recipe"), [
    (tag("uint16"), "caps"), (tag("uint16"), "70000"), (tag("uint16"), "7.5"), (tag("uint16"), "07"),
    (tag("bool"), "1"), (tag("string:3"), "caps"), (tag("uint16[2]"), "7"), (tag("float32"), "nan"),
    (tag("uint16", min=1, max=5), "7"), (tag("uint16", min=1, max=5, limit=Limit.CLAMP), "7"),
])  # fmt: skip
def test_what_no_value_of_the_tag_stands_for_is_not_written(of: Tag, recipe: str) -> None:
    assert tag_value(of, recipe) is None
