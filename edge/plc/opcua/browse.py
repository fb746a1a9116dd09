"""The address space of an OPC UA server as a tree: objects, and variables with the type that a tag list gives them.

Source: OPC 10000-4, 5.8 (Browse); OPC 10000-3, 5.6 (attributes of variables). The server's own objects (of namespace 0:
itself, aliases, locations) are left out.
"""

from __future__ import annotations

import base64
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from operator import attrgetter
from typing import Final

from asyncua import ua
from asyncua.ua.attribute_ids import AttributeIds
from asyncua.ua.object_ids import ObjectIds

from edge.plc.browsing import Bounds, Offered
from edge.plc.opcua.values import type_of
from edge.plc.tags.forms import MAX_COUNT

_WRITABLE: Final = 0x02  # of UserAccessLevel: CurrentWrite
_ASKED: Final = (AttributeIds.Value, AttributeIds.DataType, AttributeIds.UserAccessLevel)
_TEXT: Final = 254  # characters; a server does not say how long a text may be


@dataclass(frozen=True)
class _Node:
    """One node of the tree."""

    id: ua.NodeId
    path: tuple[str, ...]
    variable: bool


@dataclass
class Tree:
    """Walks an address space. `below` and `read` are the session's, which takes `most` nodes at once."""

    below: Callable[[ua.NodeId], list[ua.ReferenceDescription] | None]
    read: Callable[[Sequence[ua.ReadValueId]], list[ua.DataValue] | None]
    most: int
    bounds: Bounds
    _seen: set[str] = field(default_factory=set[str])

    def browse(self) -> Iterator[Offered]:
        """Yield all nodes below Objects, parents before children; a node that hangs at several places once."""
        return self._walk(_Node(ua.NodeId(ua.Int32(ObjectIds.ObjectsFolder)), (), variable=False))

    def _walk(self, parent: _Node) -> Iterator[Offered]:
        self.bounds.ask("/".join(parent.path) or "Objects")
        references = self.below(parent.id)
        if references is None:
            yield Offered(path=parent.path or ("Objects",), note="the server does not say what is below")
            return
        nodes = [node for one in references if (node := self._node(parent, one)) is not None]
        offered = self._offered([node for node in nodes if node.variable])
        for node in nodes:
            yield offered.get(node.path) or Offered(path=node.path, address=address_of(node.id), kind="object")
            if len(node.path) < self.bounds.depth:
                yield from self._walk(node)

    def _node(self, parent: _Node, reference: ua.ReferenceDescription) -> _Node | None:
        """Return a child, None for what was seen already and for the properties of variables."""
        told: tuple[ua.NodeId, ua.NodeId, int, str | None] = attrgetter(
            "NodeId", "ReferenceTypeId", "NodeClass", "BrowseName.Name"
        )(reference)  # asyncua's generated classes have types that no checker sees
        found, by, node_class, name = told
        kept = ua.NodeId(found.Identifier, found.NamespaceIndex, found.NodeIdType)  # it may be of another server
        own = address_of(kept)
        is_property = by == ua.NodeId(ua.Int32(ObjectIds.HasProperty))
        its_own = not parent.path and not kept.NamespaceIndex
        if own in self._seen or is_property or its_own:
            return None
        self._seen.add(own)
        return _Node(kept, (*parent.path, name or own), node_class == ua.NodeClass.Variable)

    def _offered(self, nodes: Sequence[_Node]) -> dict[tuple[str, ...], Offered]:
        """Ask for value, type and access of variables."""
        found: dict[tuple[str, ...], Offered] = {}
        size = max(1, self.most // len(_ASKED))
        for first in range(0, len(nodes), size):
            some = nodes[first : first + size]
            self.bounds.ask("/".join(some[0].path[:-1]) or "Objects")
            asked = [ua.ReadValueId(NodeId=node.id, AttributeId=one) for node in some for one in _ASKED]
            values = self.read(asked)
            for at, node in enumerate(some):
                held = values[at * len(_ASKED) : (at + 1) * len(_ASKED)] if values else None
                found[node.path] = _variable(node, held)
        return found


def _variable(node: _Node, held: Sequence[ua.DataValue] | None) -> Offered:
    own = address_of(node.id)
    if held is None:
        return Offered(path=node.path, address=own, note="its value is too large, or can't be understood")
    value, data_type, access = held
    level = access.Value.Value if access.Value is not None else 0
    writable = isinstance(level, int) and bool(level & _WRITABLE)
    kind, element, count = type_of(value, data_type)
    if not element or count > MAX_COUNT or count == 0:
        return Offered(path=node.path, address=own, kind=kind, writable=writable, note="no tag can hold it")
    text = f"wstring:{_TEXT}" if element == "wstring" else element
    if element == "wstring" and count > 0:
        return Offered(path=node.path, address=own, kind=kind, writable=writable, note="no tag can hold several texts")
    return Offered(
        path=node.path, address=own, type=text if count < 0 else f"{element}[{count}]", kind=kind, writable=writable
    )


def address_of(node: ua.NodeId) -> str:
    """Return a NodeId as a tag list writes it."""
    identifier, index = node.Identifier, int(node.NamespaceIndex)
    space = f"ns={index};" if index else ""
    if isinstance(identifier, bytes):
        return f"{space}b={base64.b64encode(identifier).decode()}"
    if isinstance(identifier, int):
        return f"{space}i={identifier}"
    return f"{space}{'s' if isinstance(identifier, str) else 'g'}={identifier}"
