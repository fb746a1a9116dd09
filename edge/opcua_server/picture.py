"""Fills a server with what a device's settings say is there: the address space without any value."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from asyncua.server.server import Server

from edge.opcua_server.happenings import Types
from edge.opcua_server.historized import histories, show_events, show_history
from edge.opcua_server.machine import DI, MACHINERY, add_machine
from edge.opcua_server.nodes import NAMESPACE, Nodes
from edge.opcua_server.offered import Offered, offer
from edge.opcua_server.space import Space
from edge.opcua_server.walks import Historized
from edge.opcua_server.writing import Target
from edge.plc.outputs.table import manual_tags, own_tags
from edge.plc.outputs.write_rules import mode_tag
from edge.plc.tags.lists import Access, Tag, source_tags
from edge.processes import PROCESSES
from edge.settings import Settings


def application_uri(settings: Settings) -> str:
    """Return the server's application URI, the same over restarts."""
    device = settings.device
    return f"urn:plantedge:{device.site}:{device.line}:{device.node}"


def write_targets(settings: Settings, sources: Mapping[str, Mapping[str, Tag]]) -> dict[str, Target]:
    """Return what operators may write, by path: `rw` tags but for those that only decisions write, and output modes."""
    decided: dict[str, set[str]] = {}
    paths: dict[str, Target] = {}
    for pipeline, outputs in settings.outputs.items():
        decided.setdefault(outputs.source, set()).update(own_tags(outputs) - manual_tags(outputs))
        paths[f"Pipelines/{pipeline}/Mode"] = Target(outputs.source, mode_tag(pipeline))
    for source, tags in sources.items():
        for tag in tags.values():
            if tag.access is Access.WRITE and tag.name not in decided.get(source, ()):
                paths[f"Sources/{source}/{tag.name}"] = Target(source, tag)
    return paths


class Picture(NamedTuple):
    """An address space, and what is behind its nodes, by their paths: what may be written, called, and is stored."""

    space: Space
    targets: dict[str, Target]
    stored: dict[str, Historized]
    types: Types
    offered: Offered


async def fill(server: Server, settings: Settings, home: Path) -> Picture:
    """Name an initialised server and build its address space."""
    uri = application_uri(settings)
    server.set_server_name(f"PlantEdge {settings.device.node}")
    await server.set_application_uri(uri)
    space = Space(server, await server.register_namespace(NAMESPACE), settings.place)
    sources = source_tags(settings, home)
    targets = write_targets(settings, sources)
    space.build(
        sources,
        {name: sorted(settings.pipelines[name].models) for name in sorted(settings.pipelines)},
        [row.identity(instance) for row in PROCESSES for instance in settings.instances(row.instances_of)],
        list(settings.outputs),
    )
    await space.allow_writes(targets)
    stored = histories(settings, sources)
    show_history(server.iserver.aspace, space.nodes, [space.node(path) for path in stored])
    pipelines, plcs = (
        [space.folder(f"{above}/{name}") for name in below]
        for above, below in (("Pipelines", settings.pipelines), ("Sources", sources))
    )
    show_events(server.iserver.aspace, space.nodes, space.device, pipelines, plcs)
    if settings.opcua.machine is not None:
        standards = await server.register_namespace(DI), await server.register_namespace(MACHINERY)
        nodes = Nodes(server.iserver.aspace)
        add_machine(
            nodes, space.index, standards, settings.opcua.machine, f"{uri}:{settings.opcua.machine.serial_number}"
        )
    offered = offer(space, settings, sources, targets)
    return Picture(space, targets, stored, Types(space.nodes, space.index, uri), offered)
