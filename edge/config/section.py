"""What every table of the settings is: frozen, and strict about keys that are not known.

In a process that does not check settings (`edge.config.held`) the same classes are plain data, without pydantic.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Annotated

from edge.config.held import HELD, Plain, field, validator
from schemas.fields import SLUG

if TYPE_CHECKING or os.environ.get(HELD) != "held":
    from pydantic import BaseModel, ConfigDict, Field, model_validator

    class Section(BaseModel):
        """A table of settings: frozen, and a key that is not known is a problem."""

        model_config = ConfigDict(extra="forbid", frozen=True)

else:
    Section, Field, model_validator = Plain, field, validator

__all__ = ["Field", "Milliseconds", "Options", "Port", "Section", "Slug", "model_validator"]

Slug = Annotated[str, Field(pattern=SLUG)]
Port = Annotated[int, Field(ge=1, le=65535)]
Milliseconds = Annotated[float, Field(gt=0, le=3_600_000)]
Options = dict[str, str | int | float | bool | list[float] | list[list[float]]]
