"""Exposure and gain by a PLC's tag."""

from edge.grabbing.recipe import RecipeWatch
from edge.settings import CameraRecipe
from schemas.fields import Value
from schemas.messages import Quality, Reading, Sample

SHORT, LONG = {"exposure_us": 200.0}, {"exposure_us": 900.0, "gain": 4.0}


def watch() -> RecipeWatch:
    return RecipeWatch(CameraRecipe(source="plc", tag="Recipe", choices={"7": SHORT, "8": LONG}))


def reading(value: Value, source: str = "plc", quality: Quality = Quality.GOOD) -> Reading:
    tags = {"Recipe": Sample(value=value, quality=quality)}
    return Reading(source=source, group="slow", boot="b", scan_ns=1, scan_ms=1, time_ns=0, tags=tags)


def test_a_value_that_changes_is_told_once() -> None:
    recipe = watch()
    assert [recipe.read(reading(value)) for value in (7, 7.0, 8, 8, 7)] == [True, False, True, False, True]
    assert recipe.values == SHORT


def test_what_is_bad_or_of_another_source_changes_nothing() -> None:
    recipe = watch()
    recipe.read(reading(8))
    assert not recipe.read(reading(7, "other"))
    assert not recipe.read(reading(7, quality=Quality.BAD))
    assert recipe.values == LONG


def test_a_value_without_a_choice_keeps_the_last_and_says_so() -> None:
    recipe = watch()
    recipe.read(reading(8))
    assert not recipe.read(reading(9))
    assert recipe.values == LONG
    assert "Recipe is 9; there are 7, 8" in recipe.problem
    assert recipe.read(reading(7))
    assert recipe.problem == ""
