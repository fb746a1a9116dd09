"""TypeScript types of msgspec structs, so that a page and the service that it asks can't drift apart."""

from __future__ import annotations

from collections.abc import Iterable
from enum import Enum

import msgspec
from msgspec import inspect

_PLAIN: dict[type, str] = {
    inspect.StrType: "string",
    inspect.IntType: "number",
    inspect.FloatType: "number",
    inspect.BoolType: "boolean",
    inspect.NoneType: "null",
    inspect.AnyType: "unknown",
    inspect.CustomType: "unknown",  # object: values of configuration
}


class _Writer:
    """Collects the declarations of every type that the roots reach."""

    def __init__(self) -> None:
        self.declared: dict[str, str] = {}

    def write(self, kind: inspect.Type) -> str:
        """Return how TypeScript names `kind`."""
        match kind:
            case inspect.StructType(cls=cls, fields=fields):
                if cls.__name__ not in self.declared:
                    self.declared[cls.__name__] = ""  # taken, in case a field comes back to it
                    lines = [f"  readonly {field.encode_name}: {self.write(field.type)};" for field in fields]
                    self.declared[cls.__name__] = "\n".join([f"export interface {cls.__name__} {{", *lines, "}"])
                return cls.__name__
            case inspect.EnumType(cls=cls):
                self.declared[cls.__name__] = _enum(cls)
                return cls.__name__
            case inspect.ListType(item_type=item):
                return f"readonly {self.write(item)}[]"
            case inspect.DictType(value_type=value):
                return f"Readonly<Record<string, {self.write(value)}>>"
            case inspect.UnionType(types=types):
                return " | ".join(self.write(one) for one in types)
            case inspect.Metadata(type=inner):
                return self.write(inner)
            case _:
                return _PLAIN[type(kind)]


def _enum(cls: type[Enum]) -> str:
    return f"export type {cls.__name__} = " + " | ".join(f'"{member.value}"' for member in cls) + ";"


def declarations(head: str, roots: Iterable[type]) -> str:
    """Return a file of TypeScript: `head`, then the type of each root and of all that it reaches."""
    writer = _Writer()
    for root in roots:
        writer.write(msgspec.inspect.type_info(root))
    return "\n\n".join([head, *writer.declared.values()]) + "\n"
