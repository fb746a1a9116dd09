"""`plantedge up`: a whole device on this machine, with its plant and its fleet, and proof that it works.

"Ready" is printed once a result of the camera was seen on the bus, in OPC UA, in the historian, in the PLC and in the
fleet service. Whatever fails is told with the end of its log and what to do, and nothing is left running.
"""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import sys
from pathlib import Path

import msgspec

from bus.broker_program import BrokerProgram
from edge.config.files import OVERRIDES_FILE
from edge.config.held import discard
from edge.host.metric_file import forget
from edge.host.ports import PortChoice
from edge.host.race import first_of
from edge.line.device_broker import CREDENTIALS, write_accounts
from edge.line.ground import Ground, Options, again, lay, lift
from edge.line.live import View
from edge.line.local_fleet import FLEET
from edge.line.parts_count import PartsCount
from edge.line.picture import Picture
from edge.line.plan import BROKER, accounts
from edge.line.readiness import Proof, proofs, prove
from edge.line.report import Report, make_report, notes_of, urls_of, write_report
from edge.line.tally import Tally, open_bus
from edge.line.timeline import Timeline
from edge.process import EXIT_SETTINGS
from edge.supervision import spawn
from edge.supervision.child import Child, Command, ended
from edge.supervision.run_state import command_name, of_home, work_folder
from edge.supervision.supervisor import Supervisor
from schemas.errors import PlantEdgeError, SettingsError, StartError

log = logging.getLogger(__name__)
READY_S = 60.0
IDLE_READY_S = 15.0  # a device of its own may stand still: no part, no result
TRIES = 3
FOLLOW_S = 1.0
UPLINK = "uplink"


class Run:
    """One `plantedge up`, from the first file to the last process."""

    def __init__(self, options: Options, work: Path) -> None:
        """Start nothing yet."""
        self.options = options
        self.work = work
        self.view = View(plain=options.plain)
        self.timeline = Timeline(self.view.say)
        self.supervisor = Supervisor(work, options.home)
        self.ground: Ground
        self.tally: Tally
        self.parts: PartsCount
        self._ports = PortChoice()
        self._program: BrokerProgram | None = None
        self._outside: list[Command] = []
        self._enrolled = True
        self._ground_laid = False
        self._ready_s: float | None = None
        self._stop = asyncio.Event()

    async def run(self) -> None:
        """Run until somebody stops it, or until its time is over.

        Raises:
            PlantEdgeError: it did not come up.
        """
        self._heed_signals()
        try:
            with self.view.listening(self._stop.set):
                async with self.supervisor:
                    try:
                        await first_of(self._life(), self._stopped())
                    finally:
                        self.timeline.write(self.work)
                    self.view.say("stopping")
        finally:
            self._ports.release()
            if self._ground_laid:
                lift(self.ground.home)
                forget(self.ground.home)
                discard(self.ground.home)

    async def _life(self) -> None:
        self.ground = lay(self.options, self.work, self._ports, self.view.say)
        self._ground_laid = True
        self.timeline.mark("settings", f"settings of {self.ground.home} read")
        await self._start()
        self.tally, self.parts = Tally(self.ground.settings), PartsCount(self.ground)
        await first_of(self._watch(), self._enrol(), self._follow_settings(), self._no_culprit())

    # -- start --------------------------------------------------------------------------------------------------------

    async def _start(self) -> None:
        self._program = await asyncio.to_thread(
            self.ground.find_broker, lambda text: self.view.say(f"          {text}")
        )
        ground = self.ground = self.ground.on(self._program, self.view.say)
        self._outside = ground.outside()
        self.supervisor.apply(self._outside)
        await asyncio.sleep(0)  # they start now, while we go on
        if ground.fleet:
            identity = ground.home / ground.settings.uplink.identity
            self._enrolled = ground.fleet.enrolled(identity, ground.settings.device.node)
        self._apply()

    def _apply(self) -> None:
        """Make what runs what the settings ask for; the uplink has to wait for its certificate."""
        device = self.ground.inside(self._program)
        self.supervisor.apply([*self._outside, *(one for one in device if one.name != UPLINK or self._enrolled)])

    async def _enrol(self) -> None:
        fleet = self.ground.fleet
        if fleet and not self._enrolled:
            await self._until_ready(FLEET)
            settings = self.ground.settings
            await fleet.enrol(self.ground.home / settings.uplink.identity, settings.device.node)
            self.timeline.mark("enrolled", f"{settings.device.node} has a certificate of the fleet")
            self._enrolled = True
            self._apply()
        await asyncio.Event().wait()

    async def _until_ready(self, *names: str) -> None:
        while not await self.supervisor.until(lambda: self.supervisor.ready(*names), 60.0):
            pass

    async def _follow_settings(self) -> None:
        """Sources, cameras and lanes come and go with the agent's configuration."""
        overrides, seen = self.ground.home / OVERRIDES_FILE, self._stamp()
        while True:
            await asyncio.sleep(FOLLOW_S)
            if seen == (seen := self._stamp()):
                continue
            try:
                self.ground = again(self.ground)
            except SettingsError as error:
                log.warning("%s: new settings can't be used, the old ones stay: %s", overrides, error)
                continue
            place, wanted = self.ground.settings.place, accounts(self.ground.settings)
            if self._program and write_accounts(self.ground.home / CREDENTIALS, place, wanted):
                spawn.signal_process(self.supervisor.children[BROKER].pid, signal.SIGHUP)
            self._apply()

    def _stamp(self) -> int:
        try:
            return (self.ground.home / OVERRIDES_FILE).stat().st_mtime_ns
        except OSError:
            return 0

    # -- watch --------------------------------------------------------------------------------------------------------

    async def _watch(self) -> None:
        """Connect as a person would, wait for the proofs, then show the line until the time is over."""
        if self._program:
            await self._until_ready(BROKER)
            self.timeline.mark(BROKER, "the broker answers")
        async with open_bus(self.ground.settings, self.ground.home) as bus:
            await self.tally.attach(bus)
            wanted = proofs(self.ground, self.tally)
            missing = await prove(wanted, self.timeline, READY_S if self.ground.demo else IDLE_READY_S)
            up = await self.supervisor.until(lambda: self._enrolled and self.supervisor.ready(), READY_S)
            if not up or (missing and self.ground.demo):
                raise StartError(self._why_not(missing))
            self.timeline.mark("processes", f"all {len(self.supervisor.children)} processes are up")
            await self._become_ready(missing)
            try:
                picture = Picture(self.ground, self.supervisor, self.tally, self.parts)
                await self.view.show(picture, self.options.for_s)
            finally:
                self._report()

    async def _become_ready(self, missing: list[Proof]) -> None:
        for proof in missing:
            self.view.say(f"          not seen yet: {proof.text} (a line that stands still has none)")
        for text in self.tally.unwell():
            self.view.say(f"          not well: {text}")
        self.timeline.mark("ready", "ready")
        self._ready_s = self.timeline.stages["ready"]
        self.timeline.write(self.work)
        self.tally.begin_anew()
        await asyncio.to_thread(self.parts.begin_anew)
        urls = urls_of(self.ground)
        self.supervisor.about = msgspec.structs.replace(self.supervisor.about, ready_s=self._ready_s, urls=urls)
        notes = notes_of(self.ground)
        for name, url in urls.items() if self.view.plain else ():  # the table shows them
            self.view.say(f"          {name:<10} {url}" + (f"  ({notes[name]})" if name in notes else ""))

    def _report(self) -> None:
        report = make_report(self.ground, self.supervisor, self.tally, self.parts, self.timeline)
        write_report(self.work / "run" / "report.json", report)
        if self.options.report:
            write_report(self.options.report, report)
        self._say_summary(report)

    def _say_summary(self, report: Report) -> None:
        p99 = "-" if report.p99_ms is None else f"{report.p99_ms:.1f} ms"
        self.view.say(f"{report.results} results, {report.late} late, {report.lost} lost, p99 {p99}")
        if parts := self.parts.now():
            self.view.say(str(parts))

    # -- what goes wrong ----------------------------------------------------------------------------------------------

    async def _no_culprit(self) -> None:
        """Raise for a process that does not come up; once all is ready, starting it again is enough."""
        while not await self.supervisor.until(lambda: self._culprit() is not None, 3600.0):
            pass
        culprit = self._culprit()
        if culprit is not None:
            raise StartError(told_with_log(culprit))

    def _culprit(self) -> Child | None:
        if self._ready_s is not None:
            return None
        for child in self.supervisor.children.values():
            refused = child.reason == ended(EXIT_SETTINGS)  # the same settings would be refused again
            if refused or child.failures >= TRIES or child.restarts > TRIES:
                return child
        return None

    def _why_not(self, missing: list[Proof]) -> str:
        reasons = [proof.missing for proof in missing] or ["not every process came up"]
        lines = [f"not ready after {self.timeline.now():.0f} s: {'; '.join(reasons)}"]
        waiting = [child.command.name for child in self.supervisor.children.values() if not child.ready]
        if waiting:
            lines.append(f"not up: {', '.join(waiting)}")
        lines += [f"unwell: {text}" for text in self.tally.unwell()]
        name, about = command_name(), of_home(self.work)
        lines.append(f"See `{name} logs{about}` or {self.work / 'log'}; `{name} doctor{about}` looks for causes.")
        return "\n  ".join(lines)

    # -- end ----------------------------------------------------------------------------------------------------------

    async def _stopped(self) -> None:
        await self._stop.wait()

    def _heed_signals(self) -> None:
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            asyncio.get_running_loop().add_signal_handler(number, self._asked_to_stop)

    def _asked_to_stop(self) -> None:
        if self._stop.is_set():  # asked twice: somebody is in a hurry
            self.supervisor.kill()
            os._exit(130)
        self._stop.set()


def told_with_log(child: Child) -> str:
    """Return what a process ended with, the end of its log, and what to do."""
    lines = [f"{child.command.name} does not come up: {child.reason} ({child.restarts} times)"]
    lines += [f"the end of {child.log}:", *(f"  | {line}" for line in spawn.last_lines(child.log))]
    lines.append(f"Mend what it says and start again; `{command_name()} doctor` looks for causes.")
    return "\n  ".join(lines)


def up(options: Options) -> int:
    """Run `plantedge up`; return the exit status."""
    work = work_folder(options.home)
    try:
        (work / "log").mkdir(parents=True, exist_ok=True)
        logging.basicConfig(
            filename=work / "log" / "up.log",
            level=logging.INFO,
            format="%(asctime)s %(levelname)s %(name)s: %(message)s",
        )
        asyncio.run(Run(options, work).run())
    except SettingsError as error:
        problems = "\n  ".join(error.problems)
        print(f"plantedge up: these settings can't be used:\n  {problems}", file=sys.stderr)
        return EXIT_SETTINGS
    except (PlantEdgeError, OSError) as error:
        log.info("ends: %s", error, exc_info=isinstance(error, OSError))
        print(f"plantedge up: {error}", file=sys.stderr)
        return 1
    return 0
