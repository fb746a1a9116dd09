"""The documentation: its links lead somewhere, its commands exist, its settings can be read."""

import argparse
import re
import shlex
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

import cloud.cli
import edge.cli
from edge.config.pipeline import Pipeline
from edge.settings import Settings
from edge.sim.plant_options import add_arguments

ROOT = Path(__file__).resolve().parent.parent
PAGES = sorted([ROOT / "README.md", ROOT / "CONTRIBUTING.md", *(ROOT / "docs").rglob("*.md")])
PROGRAMS = {"plantedge": edge.cli.make_parser, "plantedge-fleet": cloud.cli.make_parser}
NOT_PASSED_ON = {"clean"}  # ./run has a larger one
SEPARATORS = {"&&", "||", "|", ";", "(", ")", ">", "<", "&"}

each_page = pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))


def fences(page: Path, language: str) -> list[str]:
    """Return the fenced blocks of one language."""
    return re.findall(rf"^```{language}\n(.*?)^```$", page.read_text(), re.MULTILINE | re.DOTALL)


def prose(page: Path) -> str:
    """Return a page without its fenced blocks."""
    return re.sub(r"^```.*?^```$", "", page.read_text(), flags=re.MULTILINE | re.DOTALL)


def anchors(page: Path) -> set[str]:
    """Return the anchors that headings make, as GitHub and GitLab name them."""
    headings = re.findall(r"^#+ (.+)$", prose(page), re.MULTILINE)
    return {re.sub(r"[^\w -]", "", heading.lower()).strip().replace(" ", "-") for heading in headings}


@each_page
def test_every_relative_link_leads_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\(([^)\s]+)\)", prose(page)):
        if re.match(r"[a-z]+:", target):
            continue
        path, _, anchor = target.partition("#")
        file = (page.parent / path).resolve() if path else page
        assert file.exists(), f"{target}: there is no {file}"
        assert not anchor or anchor in anchors(file), f"{target}: {file.name} has no such heading"


def test_every_page_is_reached_from_the_index() -> None:
    index = (ROOT / "docs" / "index.md").read_text()
    for page in PAGES:
        path = page.relative_to(ROOT / "docs") if page.is_relative_to(ROOT / "docs") else None
        if path is None or path.name == "index.md" or path.parts[0] == "decisions":
            continue
        assert f"({path})" in index, f"docs/index.md does not name {path}"


@each_page
def test_every_test_that_a_page_names_exists(page: Path) -> None:
    named = set(re.findall(r"`(test_\w+)`", page.read_text()))
    sources = "".join(file.read_text() for file in (ROOT / "tests").rglob("test_*.py")) if named else ""
    assert {name for name in named if f"def {name}(" not in sources} == set()


def commands(script: str) -> Iterator[list[str]]:
    """Return the words of each simple command of a shell script; here-documents are left out."""
    script = re.sub(r"<<'(\w+)'\n.*?^\1$", "", script.replace("\\\n", " "), flags=re.MULTILINE | re.DOTALL)
    script = re.sub(r"(^|\s)#.*$", "", script, flags=re.MULTILINE)  # shlex would take the line's end with the comment
    lexer = shlex.shlex(script, posix=True, punctuation_chars="();<>|&\n")
    lexer.whitespace = " \t"
    lexer.whitespace_split = True
    words: list[str] = []
    for word in [*lexer, ";"]:
        if word not in SEPARATORS and word.strip("\n"):
            words.append(word)
            continue
        if words:
            yield words
        words = []


def subcommands(parser: argparse.ArgumentParser) -> set[str]:
    """Return the commands of a program."""
    (commands,) = [action for action in parser._actions if isinstance(action, argparse._SubParsersAction)]
    return set(commands.choices)


def test_run_passes_every_command_of_plantedge_on() -> None:
    line = re.search(r"^    (up \|.*)\)$", (ROOT / "run").read_text(), re.MULTILINE)
    assert line and set(line[1].split(" | ")) == subcommands(PROGRAMS["plantedge"]()) - NOT_PASSED_ON


def check(words: list[str]) -> None:
    """Parse a command as the program itself would."""
    name, arguments = words[0].rpartition("/")[2], words[1:]
    if name == "run":
        script = (ROOT / "run").read_text()
        arguments = arguments or ["up"]
        command = arguments[0]
        assert command.startswith("-") or re.search(rf"^    (\w+ \| )*{command}( \| [\w-]+)*\)", script, re.MULTILINE)
        if command not in subcommands(PROGRAMS["plantedge"]()) - NOT_PASSED_ON:
            return
        name = "plantedge"
    try:
        given = PROGRAMS[name]().parse_args(arguments)
        if getattr(given, "action", "") == "plant":
            plant = argparse.ArgumentParser()
            add_arguments(plant)
            plant.parse_args(given.rest)
    except SystemExit as end:
        raise AssertionError(f"{shlex.join(words)}: the program refuses it") from end


@each_page
def test_every_command_of_a_script_is_one_that_its_program_takes(page: Path) -> None:
    for script in fences(page, "sh"):
        for words in commands(script):
            if words[0] == "./run" or words[0].rpartition("/")[2] in PROGRAMS:
                check(words)


@each_page
def test_every_command_named_in_a_sentence_exists(page: Path) -> None:
    for program, command in re.findall(r"`(\./run|plantedge|plantedge-fleet) ([a-z][a-z-]*)", prose(page)):
        if program == "./run":
            check([program, command])
            continue
        known = PROGRAMS[program]().format_help()
        assert re.search(rf"^ +{command}\b", known, re.MULTILINE) or re.search(rf"[{{,]{command}[,}}]", known), command


@each_page
def test_settings_in_a_page_are_toml_with_keys_that_exist(page: Path) -> None:
    for block in fences(page, "toml"):
        tables = tomllib.loads(block)
        unknown = set(tables) - set(Settings.model_fields) - set(Pipeline.model_fields)
        assert not unknown, f"no section of the settings: {unknown}"
        Settings.model_validate({"device": {"site": "s", "line": "l", "node": "n"}} | pipeline_aside(tables))


def pipeline_aside(tables: dict[str, object]) -> dict[str, object]:
    """Return a block's tables; what is of a pipeline's file stands in one here."""
    pieces = {key: tables.pop(key) for key in list(tables) if key in Pipeline.model_fields}
    if not pieces:
        return tables
    shown = {"input": {"frames": "f"}, "deadline_ms": 1000.0} | ({} if "steps" in pieces else {"model": "m"}) | pieces
    return tables | {"pipelines": {"shown": shown}}


def test_a_wrong_command_and_a_wrong_option_are_found() -> None:
    for wrong in ("plantedge upp", "plantedge sim plant --modbus-prt 1", "./run upp", "./run up --hone x"):
        with pytest.raises(AssertionError):
            check(shlex.split(wrong))
    assert list(commands("a b \\\n c # d\ne | f && g")) == [["a", "b", "c"], ["e"], ["f"], ["g"]]
