"""`plantedge model test`: the runtimes of a running device check a model that serves, beside the line's work."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Final

from edge.commands.bus import on_bus
from edge.commands.device import device_home
from edge.config.problems import nearest
from edge.line.plan import CLI
from edge.line.tally import open_bus
from edge.models.self_test_client import ask_self_tests, runtimes_of
from edge.settings import load_settings
from schemas.errors import StartError
from schemas.self_test import SelfTestCode, SelfTestReport

ANSWER_S: Final = 60.0  # a load, below the line's own work


def check_model(home: Path | None, model: str) -> int:
    """Print what each runtime of a model found; return 1 where one did not pass or did not test it."""
    folder = device_home(home)
    settings = load_settings(folder)
    if not runtimes_of(settings, model):
        known = sorted({name for pipeline in settings.pipelines.values() for name in pipeline.models})
        near = nearest(model, known)
        raise StartError(
            f"no pipeline names a model {model}; " + (f"did you mean {near}?" if near else ", ".join(known))
        )

    async def work() -> int:
        async with open_bus(settings, folder) as bus:
            reports = await ask_self_tests(bus, settings, model, origin=CLI, timeout_s=ANSWER_S)
        for report in reports:
            print(described(report), file=sys.stdout if report.passed else sys.stderr)
        return 0 if all(report.passed for report in reports) else 1

    return on_bus(work())


def described(report: SelfTestReport) -> str:
    """Return a report's line."""
    if report.code is not SelfTestCode.DONE:
        return f"{report.process}: refused: {report.reason}"
    found = f"{report.process}: {report.model} {report.version} {'passed' if report.passed else 'failed'}"
    if report.deviation is not None:
        far = f"largest deviation {report.deviation:.3g}, {report.tolerance:.3g} is allowed"
        found += f": {report.vectors} golden vector{'s' * (report.vectors != 1)}, {far}"
    found += f"; {report.took_ms:.0f} ms, SHA-256 {report.digest[:12]}"
    return f"{found}\n  {report.reason}" if report.reason else found
