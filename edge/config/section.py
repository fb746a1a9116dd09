"""What every table of the settings is: frozen, and strict about keys that are not known."""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

from schemas.messages import SLUG

Slug = Annotated[str, Field(pattern=SLUG)]
Port = Annotated[int, Field(ge=1, le=65535)]
Milliseconds = Annotated[float, Field(gt=0, le=3_600_000)]
Options = dict[str, str | int | float | bool | list[float] | list[list[float]]]


class Section(BaseModel):
    """A table of settings: frozen, and a key that is not known is a problem."""

    model_config = ConfigDict(extra="forbid", frozen=True)
