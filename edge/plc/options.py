"""A driver's options out of a source's settings."""

from __future__ import annotations

from typing import TypeVar

from pydantic import ValidationError

from edge.config.section import Section
from edge.settings import Source
from schemas.errors import SettingsError

OptionsT = TypeVar("OptionsT", bound=Section)


def parse_options(kind: type[OptionsT], source: Source) -> OptionsT:
    """Return a source's options.

    Raises:
        SettingsError: each that is not known or out of range.
    """
    try:
        return kind.model_validate(source.options)
    except ValidationError as error:
        raise SettingsError(
            [f"{source.driver} option {'.'.join(map(str, found['loc']))}: {found['msg']}" for found in error.errors()]
        ) from error
