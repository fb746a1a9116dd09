"""Board profiles: what PlantEdge starts from on a kind of hardware, taken by `[device] hardware = NAME`.

A profile is a file `deploy/boards/NAME.toml`; in the wheel they lie in `edge/boards/`. Its settings stand under all of
a device's own files. Its cores become affinities (`plantedge up`, `plantedge units`), and `plantedge doctor` compares
the machine with the rest.
"""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

from pydantic import Field, ValidationError, model_validator

from edge.config.section import Section
from edge.config.tree import Tree, subtree
from schemas.errors import SettingsError

if TYPE_CHECKING:
    from collections.abc import Mapping

Cores = tuple[Annotated[int, Field(ge=0, lt=1024)], ...]
OTHERS: Final = "*"
_SECTIONS: Final = frozenset({"runtime", "historian", "mirror"})  # what hardware has a say in


class Board(Section):
    """A profile. `tried`: on what it was tried, said honestly; `cameras`: how many its ports take.

    `affinity`: process, or process@instance, or `broker` -> its cores; `*` is for all others.
    """

    title: str
    sources: Annotated[tuple[str, ...], Field(min_length=1)]
    tried: str
    cores: Annotated[int, Field(ge=1)]
    cameras: Annotated[int, Field(ge=0)]
    governor: Annotated[str, Field(pattern=r"^[a-z]+$")]
    isolated: Cores = ()
    install: tuple[str, ...]
    settings: dict[str, object] = Field(default_factory=dict[str, object])
    affinity: dict[str, Annotated[Cores, Field(min_length=1)]] = Field(default_factory=dict[str, Cores])

    @model_validator(mode="after")
    def _fits(self) -> Board:
        named = {core for cores in self.affinity.values() for core in cores} | set(self.isolated)
        if beyond := sorted(core for core in named if core >= self.cores):
            raise ValueError(f"core {beyond[0]} is named, but there are {self.cores}, from 0 on")
        if foreign := sorted(self.settings.keys() - _SECTIONS):
            raise ValueError(f"settings.{foreign[0]}: a board says nothing of that; {', '.join(sorted(_SECTIONS))}")
        return self

    def cpus(self, process: str, instance: str = "") -> tuple[int, ...]:
        """Return the cores of a process, () for any."""
        for name in (f"{process}@{instance}", process, OTHERS):
            if name in self.affinity:
                return self.affinity[name]
        return ()


def board_names() -> tuple[str, ...]:
    """Return the names of the profiles that there are."""
    return tuple(sorted(path.stem for path in _folder().glob("*.toml")))


def load_board(name: str) -> Board:
    """Return a profile.

    Raises:
        SettingsError: there is none of this name, or it is wrong.
    """
    if name not in board_names():
        raise SettingsError([f"there is no board {name!r}; there are {', '.join(board_names())}"])
    try:
        return Board.model_validate(tomllib.loads((_folder() / f"{name}.toml").read_text(encoding="utf-8")))
    except (OSError, tomllib.TOMLDecodeError, ValidationError) as error:
        raise SettingsError([f"board {name}: {error}"]) from error


def board_of(hardware: str) -> Board | None:
    """Return the profile of `[device] hardware`; None for hardware that has none, which is no problem."""
    return load_board(hardware) if hardware in board_names() else None


def board_settings(tree: Mapping[str, object]) -> Tree:
    """Return what the profile of a device's hardware puts under its settings."""
    hardware = subtree(dict(tree), "device").get("hardware")
    board = board_of(hardware) if isinstance(hardware, str) else None
    return dict(board.settings) if board else {}


def _folder() -> Path:
    """In the wheel the profiles lie beside us, in a checkout where deployment is."""
    edge = Path(__file__).resolve().parent.parent
    packed = edge / "boards"
    return packed if packed.is_dir() else edge.parent / "deploy" / "boards"
