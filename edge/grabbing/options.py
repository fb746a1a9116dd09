"""A camera driver's options: each is known, of its type and within its bounds, or an error says so."""

from __future__ import annotations

from typing import TYPE_CHECKING

from schemas.errors import ConnectorError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    Given = Mapping[str, str | int | float | bool]


class Options:
    """What stands under `options` of a camera."""

    def __init__(self, given: Given, known: Iterable[str]) -> None:
        """Refuse what is not known.

        Raises:
            ConnectorError: here and in each method: the option, and what may stand there.
        """
        self._given, self._known = given, sorted(known)
        if unknown := sorted(given.keys() - set(self._known)):
            raise ConnectorError(f"camera option {unknown[0]}: not known; there are {', '.join(self._known)}")

    def number(self, name: str, low: float, high: float) -> float | None:
        """Return a number from `low` to `high`; None where it is not given."""
        value = self._given.get(name)
        if value is None:
            return None
        if isinstance(value, str | bool) or not low <= value <= high:
            raise ConnectorError(f"camera option {name} = {value!r}: write a number from {low:g} to {high:g}")
        return float(value)

    def whole(self, name: str, low: int, high: int) -> int | None:
        """Return a whole number from `low` to `high`; None where it is not given."""
        value = self.number(name, low, high)
        if value is None:
            return None
        if not value.is_integer():
            raise ConnectorError(f"camera option {name} = {value:g}: write a whole number from {low} to {high}")
        return int(value)

    def pair(self, first: str, second: str, high: int) -> tuple[int, int] | None:
        """Return two sizes that only make sense together; None where neither is given."""
        one, two = self.whole(first, 1, high), self.whole(second, 1, high)
        if (one is None) is not (two is None):
            raise ConnectorError(f"camera options {first} and {second}: write both or none")
        return None if one is None or two is None else (one, two)

    def word(self, name: str, default: str, choices: Iterable[str] = ()) -> str:
        """Return a text; one of `choices` where there are any."""
        value, allowed = self._given.get(name, default), list(choices)
        if not isinstance(value, str) or (allowed and value not in allowed):
            what = f"one of {', '.join(allowed)}" if allowed else "text in quotes"
            raise ConnectorError(f"camera option {name} = {value!r}: write {what}")
        return value
