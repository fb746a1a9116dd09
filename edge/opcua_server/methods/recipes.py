"""Selects a pipeline's recipe: writes the tag that chooses it, by the write path, and says what became of that."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from asyncua import ua
from asyncua.ua.attribute_ids import AttributeIds
from asyncua.ua.status_codes import StatusCodes

from edge.inference.recipe_key import key_of
from edge.opcua_server.address_space.device import Space, variant_of
from edge.opcua_server.writing import Wanted, Writes
from edge.plc.tags.coercion import coerce
from edge.plc.tags.forms import Kind
from edge.plc.tags.tag import Tag
from edge.settings import Settings
from schemas.errors import TagError
from schemas.fields import Value


@dataclass(frozen=True)
class RecipeTag:
    """The tag that chooses a pipeline's recipe: its path, its node, and which recipes there are."""

    path: str
    node: ua.NodeId
    tag: Tag
    choices: tuple[str, ...]


def recipe_tags(settings: Settings, sources: Mapping[str, Mapping[str, Tag]], space: Space) -> dict[str, RecipeTag]:
    """Return the recipe tags by pipeline; those without recipes have none."""
    found: dict[str, RecipeTag] = {}
    for name, pipeline in settings.pipelines.items():
        recipe = pipeline.recipe
        tag = sources.get(recipe.source, {}).get(recipe.tag) if recipe else None
        if recipe and tag:
            path = f"Sources/{recipe.source}/{tag.name}"
            found[name] = RecipeTag(path, space.node(path), tag, tuple(recipe.choices))
    return found


async def select_recipe(writes: Writes, where: RecipeTag, recipe: str, user: str) -> int:
    """Return the status code of selecting a recipe, as the settings name it; Good once the PLC holds it.

    `user` is "" for one who may not write.
    """
    value = tag_value(where.tag, recipe)
    if recipe not in where.choices or value is None:
        return StatusCodes.BadOutOfRange
    wanted = Wanted(where.node, AttributeIds.Value, variant_of(where.tag), value, whole=True)
    return int((await writes.carry_out(user, wanted)).value)


def tag_value(tag: Tag, recipe: str) -> Value:
    """Return the value of a tag that chooses a recipe, None where no value of the tag's type and range does. Pure."""
    value = _parsed(tag, recipe)
    try:
        held = coerce(tag, value)
    except TagError:
        return None
    return value if key_of(held) == recipe else None  # a clamped one would choose another recipe


def _parsed(tag: Tag, recipe: str) -> Value:
    if tag.form.kind is Kind.BOOL:
        return {"true": True, "false": False}.get(recipe, recipe)
    if not tag.form.numeric:
        return recipe
    try:
        return int(recipe) if tag.form.kind is Kind.WHOLE and not tag.scaled else float(recipe)
    except ValueError:
        return recipe
