"""Which methods a device offers: recipes of pipelines, self-tests of models; and what carries them out."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from functools import partial
from typing import Final, NamedTuple

from asyncua.ua.status_codes import StatusCodes

from edge.opcua_server.address_space.device import Space
from edge.opcua_server.address_space.fields import SELECT_RECIPE, SELF_TEST, Method
from edge.opcua_server.events.audit import Audit
from edge.opcua_server.methods.calls import Carry, Methods, Outcome
from edge.opcua_server.methods.recipes import RecipeTag, recipe_tags, select_recipe
from edge.opcua_server.methods.self_tests import carry_self_test
from edge.opcua_server.writing import Writes
from edge.plc.tags.tag import Tag
from edge.process import Process
from edge.settings import Settings
from schemas.fields import Value

_LONGEST_TEXT: Final = 1_000


class Offered(NamedTuple):
    """The methods of an address space, and what they are about, by their paths."""

    methods: Methods
    recipes: dict[str, RecipeTag]
    models: dict[str, str]


def offer(
    space: Space, settings: Settings, sources: Mapping[str, Mapping[str, Tag]], writable: Collection[str]
) -> Offered:
    """Add the methods to an address space. A recipe whose tag is not among the `writable` paths can't be selected."""
    methods = Methods(space.nodes, space.index, space.root)
    recipes: dict[str, RecipeTag] = {}
    for name, where in recipe_tags(settings, sources, space).items():
        folder, executable = f"Pipelines/{name}", where.path in writable
        recipes[methods.add(folder, space.folder(folder), _of(where.choices), executable=executable)] = where
    models = sorted({model for pipeline in settings.pipelines.values() for model in pipeline.models})
    folders = {name: f"Models/{name}" for name in models}
    tests = {methods.add(folder, space.folder(folder), SELF_TEST): name for name, folder in folders.items()}
    return Offered(methods, recipes, tests)


def _of(choices: Sequence[str]) -> Method:
    """Return SelectRecipe as a client shows it that asks a person for its input: with the recipes' names."""
    (recipe,) = SELECT_RECIPE.inputs
    told = recipe._replace(text=f"{recipe.text}: {', '.join(choices)}"[:_LONGEST_TEXT])
    return SELECT_RECIPE._replace(inputs=(told,))


def open_methods(process: Process, writes: Writes, offered: Offered, audit: Audit) -> Methods:
    """Let operators call them."""
    carries: dict[str, Carry] = {path: partial(_select, writes, where) for path, where in offered.recipes.items()}
    carries |= {path: partial(carry_self_test, process, model) for path, model in offered.models.items()}
    offered.methods.open_for(carries, audit.method_called)
    return offered.methods


async def _select(writes: Writes, where: RecipeTag, user: str, inputs: Sequence[Value]) -> Outcome:
    code = await select_recipe(writes, where, str(inputs[0]), user)
    if code == StatusCodes.BadOutOfRange:
        return Outcome(StatusCodes.BadInvalidArgument, arguments=(code,))
    return Outcome(code)
