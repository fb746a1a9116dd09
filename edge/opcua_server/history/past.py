"""Opens a device's history to OPC UA clients: which node reads what of the historian's store."""

from __future__ import annotations

from functools import partial
from typing import Final

from edge.history.query import History
from edge.opcua_server.address_space.nodes import Ids, standard, supertypes
from edge.opcua_server.address_space.picture import Picture
from edge.opcua_server.core import Core
from edge.opcua_server.events.happenings import Source
from edge.opcua_server.history.reads import Chronicle, HistoryReads
from edge.settings import Settings

SERVER: Final = standard(Ids.Server)


def open_history(core: Core, picture: Picture, settings: Settings, history: History) -> None:
    """Let clients read values, the device's events at its object and the Server's, and results at their pipeline's.

    A VisionSystem tells the same results, as its standard has them.
    """
    space, types = picture.space, picture.types
    device = Source(space.device, settings.device.node)
    happened = Chronicle("event", {}, partial(types.stored_event, source=device))
    events = {SERVER: happened, space.device: happened}
    for name in settings.pipelines:
        tell = partial(types.stored_result, source=Source(space.node(f"Pipelines/{name}"), name))
        events[space.node(f"Pipelines/{name}")] = Chronicle("result", {"pipeline": name}, tell)
    for system in picture.vision.systems.values() if picture.vision else ():
        told = system.stored_ready
        events[system.instance.node] = Chronicle("result", {"pipeline": system.pipeline.name}, told)
    values = {space.identifier(path): what for path, what in picture.stored.items()}
    core.history = HistoryReads(history, values, events, core.aspace.get, supertypes(core.aspace))
