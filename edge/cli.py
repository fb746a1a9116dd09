"""`plantedge`: a device's command line. Each command's own module is imported when the command is given."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING, cast

if TYPE_CHECKING:
    from collections.abc import Callable

    Run = Callable[[argparse.Namespace], int]

FAILED = 1
_HOME = "a device folder; without it the demo line"


def _up(given: argparse.Namespace) -> int:
    from edge.line.ground import Options
    from edge.line.up import up

    return up(
        Options(
            home=given.home, for_s=given.for_s, plain=given.plain, report=given.report, parts_per_s=given.parts_per_s,
            fleet=not given.no_fleet, influx=given.influx, influx_local=given.influx_local, watch=given.watch,
        )
    )  # fmt: skip


def _down(given: argparse.Namespace) -> int:
    from edge.commands.running import down

    return down(given.home)


def _clean(given: argparse.Namespace) -> int:
    from edge.commands.running import clean

    return clean(given.home)


def _status(given: argparse.Namespace) -> int:
    from edge.commands.running import status

    return status(given.home, as_json=given.json)


def _logs(given: argparse.Namespace) -> int:
    from edge.commands.logs import logs

    return logs(given.home, given.process, follow=given.follow, lines=given.lines)


def _doctor(given: argparse.Namespace) -> int:
    from edge.commands.doctor import doctor

    return doctor(given.home)


def _broker(given: argparse.Namespace) -> int:
    from edge.commands.printed import acl, broker_configuration

    if given.acl:
        print(acl(_named(given)), end="")
    else:
        print(broker_configuration(), end="")
    return 0


def _units(given: argparse.Namespace) -> int:
    from edge.commands.printed import units, write_units

    found = units(given.home, given.board)
    if given.out:
        write_units(given.out, found)
    else:
        print("\n".join(f"# {path}\n{text}" for path, text in found.items()), end="")
    return 0


def _probe(given: argparse.Namespace) -> int:
    from edge.commands.probe import probe

    return probe(_named(given), given.models_dir)


def _sim(given: argparse.Namespace) -> int:
    from edge.commands.sim import run

    return run(given)


def _config(given: argparse.Namespace) -> int:
    from edge.commands.configure import config_get, config_set

    if given.action == "get":
        return config_get(given.home, given.section or "")
    return config_set(given.home, given.section, given.values)


def _drift(given: argparse.Namespace) -> int:
    from edge.commands.drift import relearn, status

    return status(given.home) if given.action == "status" else relearn(given.home, given.pipeline)


def _model(given: argparse.Namespace) -> int:
    from edge.commands.model import list_models, rollback, use_model
    from edge.commands.model_test import check_model

    if given.action == "list":
        return list_models(given.home)
    if given.action == "test":
        return check_model(given.home, given.name)
    if given.action == "rollback":
        return rollback(given.home, given.name)
    return use_model(given.home, given.name, given.version)


def _watch(given: argparse.Namespace) -> int:
    from edge.commands.watch import watch

    return watch(given.home, given.filter, given.count, given.for_s)


def _write(given: argparse.Namespace) -> int:
    from edge.commands.bus import write

    return write(given.home, given.source, given.tag, given.value)


def _replay(given: argparse.Namespace) -> int:
    from edge.commands.replay import list_kept, run_again

    if given.list:
        return list_kept(given.home, given.pipeline, given.last)
    if not given.result:
        print("plantedge replay: which result? `plantedge replay --list` shows what is kept", file=sys.stderr)
        return 2
    return run_again(given.home, given.result, given.engine, given.save)


def _history(given: argparse.Namespace) -> int:
    from edge.commands import history

    return {"query": history.query, "export": history.export, "plot": history.plot}[given.action](given)


def _hmi(given: argparse.Namespace) -> int:
    from edge.commands.operator_page import operator_page

    return operator_page(_named(given), given.name, panel=given.panel, revoke=given.revoke)


def _accounts(given: argparse.Namespace) -> int:
    from edge.commands.accounts import write_device_accounts

    return write_device_accounts(_named(given))


def _identity(given: argparse.Namespace) -> int:
    from edge.commands.identity import install_answer, request, show

    if given.action == "request":
        return request(_named(given))
    return install_answer(_named(given), given.answer) if given.action == "install" else show(_named(given))


def _opcua(given: argparse.Namespace) -> int:
    home = _named(given)
    if given.action == "user":
        from edge.commands.opcua_users import set_user

        return set_user(home, given.name, remove=given.remove)
    if given.action == "export":
        from edge.commands.opcua_export import export

        return export(home, given.out)
    from edge.commands import opcua_trust

    if given.action == "list":
        return opcua_trust.show(home)
    if given.action == "trust":
        return opcua_trust.trust(home, given.what, users=given.users, issuer=given.issuer)
    return opcua_trust.reject(home, given.what, users=given.users)


def _plc(given: argparse.Namespace) -> int:
    from edge.commands.plc.arguments import LOOKING, look

    if given.action in LOOKING:
        return look(given)
    from edge.commands.tag_lists import check, import_tags

    if given.action == "check":
        return check(given.file, given.driver, given.groups, given.home)
    return import_tags(given.file, given.driver, given.group, given.only, given.db)


def _commission(given: argparse.Namespace) -> int:
    from edge.commands.commission import commission

    return commission(given)


def _named(given: argparse.Namespace) -> Path:
    from edge.commands.device import device_home

    return device_home(given.home)


def _process(given: argparse.Namespace) -> int:
    from edge.process import run

    if given.home is None:
        print("plantedge process: --home DIR says which device", file=sys.stderr)
        return 2
    name, _, instance = cast(str, given.process).partition("@")
    return run(name, instance, cast(Path, given.home))


def make_parser() -> argparse.ArgumentParser:
    """Return the parser of `plantedge`; tests hold the documentation's commands to it."""
    parser = argparse.ArgumentParser(
        prog="plantedge", description="Run and look after an edge device: PLCs, cameras, models, OPC UA, historian.",
        epilog="`plantedge up` starts a simulated line with everything; `plantedge COMMAND --help` tells more.",
    )  # fmt: skip
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")

    def add(name: str, run: Run, text: str) -> argparse.ArgumentParser:
        command = commands.add_parser(name, help=text, description=text[0].upper() + text[1:] + ".")
        command.add_argument("--home", type=Path, help=_HOME)
        command.set_defaults(run=run)
        return command

    _add_up(add("up", _up, "start a device here, or a simulated line with everything"))
    add("down", _down, "stop what `up` started")
    status = add("status", _status, "show what runs, under `up` or under systemd")
    status.add_argument("--json", action="store_true", help="for programs")
    logs = add("logs", _logs, "show the logs of all processes, or of one")
    logs.add_argument("process", nargs="?", help="as `plantedge status` names it")
    logs.add_argument("-f", "--follow", action="store_true", help="go on as lines are written")
    logs.add_argument("-n", "--lines", type=int, default=20, help="the last N of each (default: 20)")
    _add_commission(add("commission", _commission, "measure a device and its PLC, pull each fault, write the report"))
    add("doctor", _doctor, "look for causes of trouble, and say what to do")
    _add_bus_commands(add)
    _add_sim(add("sim", _sim, "run a simulated plant, ask it, disturb it"))
    broker = add("broker", _broker, "print the broker's configuration for production")
    broker.add_argument("--acl", action="store_true", help="print who may do what at the broker instead")
    units = add("units", _units, "print the systemd drop-ins of the process table")
    units.add_argument("--board", default="", metavar="NAME", help="a profile of deploy/boards (the device's own)")
    units.add_argument("--out", type=Path, metavar="DIR", help="write them there, such as /etc/systemd/system")
    _add_replay(add("replay", _replay, "run what lies behind a verdict again and compare every bit"))
    _add_history(add("history", _history, "print, export or draw what the historian has kept"))
    hmi = add("hmi", _hmi, "print a link to the operators' page that logs in once")
    hmi.add_argument(
        "--as", dest="name", default="", metavar="NAME", help="who logs in (you); judgements bear the name"
    )
    hmi.add_argument("--panel", action="store_true", help="print a lasting link for a wall panel, which may only look")
    hmi.add_argument("--revoke", action="store_true", help="end the links of all wall panels")
    probe = add("probe", _probe, 'measure which engine runs the device\'s models best, for [runtime] engine = "auto"')
    probe.add_argument("--models-dir", type=Path, metavar="DIR", help="models to measure with instead of the device's")
    _add_deploying(add)
    process = add("process", _process, "run one process in the foreground")
    process.add_argument("process", help="NAME or NAME@INSTANCE")
    add("clean", _clean, "stop, and remove logs, state and the demo's device")
    return parser


def _take_home(*actions: argparse.ArgumentParser) -> None:
    """Let --home stand behind a command's action, too."""
    for action in actions:
        action.add_argument("--home", type=Path, default=argparse.SUPPRESS, help=_HOME)


def _add_up(up: argparse.ArgumentParser) -> None:
    up.add_argument("--for", dest="for_s", type=float, metavar="S", help="end S seconds after it was ready")
    up.add_argument("--plain", action="store_true", help="lines instead of a live table")
    up.add_argument("--report", type=Path, metavar="FILE", help="write the run's figures there as JSON")
    up.add_argument("--parts-per-s", type=float, default=20.0, metavar="N", help="speed of the simulated line (20)")
    up.add_argument("--no-fleet", action="store_true", help="without the fleet service")
    up.add_argument("--watch", action="store_true", help="follow changes of the models folder, for development")
    up.add_argument("--influx", default="", metavar="URL", help="copy the history to this InfluxDB")
    up.add_argument("--influx-local", action="store_true", help="start a private InfluxDB for that (needs influxd)")


def _add_commission(commission: argparse.ArgumentParser) -> None:
    commission.add_argument("--simulated", action="store_true", help="of the demo line, in a folder that goes again")
    commission.add_argument(
        "--for", dest="for_s", type=float, default=60.0, metavar="S", help="measure for S seconds (60)"
    )
    commission.add_argument("--steps", default="", metavar="NAME,...", help="do these alone; a wrong one lists all")
    commission.add_argument("--report", type=Path, metavar="DIR", help="write the report there (acceptance-TIME)")
    commission.add_argument("--by", default="", metavar="TEXT", help="who runs it, for the report")
    limit = "in place of each time within which the PLC has to be at its fail-safe (--simulated)"
    commission.add_argument("--limit-ms", type=float, metavar="N", help=limit)
    speed = "speed of the simulated line (20)"
    commission.add_argument("--parts-per-s", type=float, default=20.0, metavar="N", help=speed)
    wait = "wait S seconds for each thing that a person has to do (300)"
    commission.add_argument("--step-timeout", dest="step_s", type=float, default=300.0, metavar="S", help=wait)


def _add_bus_commands(add: Callable[[str, Run, str], argparse.ArgumentParser]) -> None:
    watch = add("watch", _watch, "print messages of the bus as they come")
    watch.add_argument("filter", nargs="?", default="#", help="below the device's topics, such as 'inference/#'")
    watch.add_argument("--count", type=int, default=0, metavar="N", help="end after N messages")
    watch.add_argument("--for", dest="for_s", type=float, default=0.0, metavar="S", help="end after S seconds")
    config = add("config", _config, "read or change settings of a running device")
    config.add_argument("action", choices=["get", "set"])
    config.add_argument("section", nargs="?", help="a table of the settings, such as pipelines")
    config.add_argument("values", nargs="*", metavar="KEY=VALUE", help="KEY may be dotted: cap.decision.threshold=0.6")
    drift = add("drift", _drift, "say whether inputs and answers are as they were learned, or learn them anew")
    actions = drift.add_subparsers(dest="action", required=True, metavar="ACTION")
    actions.add_parser("status", help="print each pipeline's level and the signals nearest to their limits")
    anew = actions.add_parser("relearn", help="take what comes in from now on as normal")
    anew.add_argument("pipeline")
    _take_home(*actions.choices.values())
    _add_model(add("model", _model, "show which versions of models there are, run another one"))
    _add_plc(
        add("plc", _plc, "look into a PLC: browse, read, watch, write; check a tag list, or make one of an export")
    )
    write = add("write", _write, "write one tag of a source")
    write.add_argument("source")
    write.add_argument("tag")
    write.add_argument("value", help="a number, true, false or text")


def _add_plc(plc: argparse.ArgumentParser) -> None:
    from edge.commands.plc.arguments import Mixed, add_looking

    actions = plc.add_subparsers(dest="action", required=True, metavar="ACTION", parser_class=Mixed)
    add_looking(actions.add_parser)
    check = actions.add_parser("check", help="print every problem of a tag list, and what a scan of it takes")
    check.add_argument("file", type=Path, metavar="FILE", help="a tag list, CSV or TOML")
    check.add_argument("--driver", default="", metavar="D", help="check addresses by it (with --home the source's own)")
    check.add_argument("--groups", default="", metavar="NAME=MS,...", help="poll groups, such as fast=20,slow=1000")
    taken = actions.add_parser("import", help="print a tag list made of an engineering tool's export")
    taken.add_argument("file", type=Path, metavar="FILE", help="of TIA Portal or Studio 5000")
    taken.add_argument("--driver", required=True, metavar="D", help="who will read the PLC: s7 or ethernetip")
    taken.add_argument("--group", default="", metavar="G", help="the poll group of all tags")
    taken.add_argument(
        "--only", action="append", default=[], metavar="PATTERN", help="names like Pump*; may be repeated"
    )
    taken.add_argument(
        "--db", action="append", default=[], metavar="NAME=N", help="the number of a data block by its name"
    )
    _take_home(check, taken)


def _add_replay(replay: argparse.ArgumentParser) -> None:
    replay.add_argument("result", nargs="?", metavar="RESULT_ID", help="as a result, an output or MES names it")
    replay.add_argument("--engine", default="", metavar="NAME", help="run it on another engine than it ran on")
    replay.add_argument("--save", type=Path, metavar="DIR", help="write the picture and the tensors there")
    replay.add_argument("--list", action="store_true", help="show what is kept, the newest first")
    replay.add_argument("--pipeline", default="", metavar="P", help="list that of one pipeline")
    replay.add_argument("--last", type=int, default=20, metavar="N", help="list so many (20)")


def _add_history(history: argparse.ArgumentParser) -> None:
    actions = history.add_subparsers(dest="action", required=True, metavar="ACTION")
    query = actions.add_parser("query", help="print the newest rows; without a subject say what there is")
    export = actions.add_parser("export", help="write rows to a file, oldest first")
    plot = actions.add_parser("plot", help="draw the pages that the Grafana dashboards show")
    for action in (query, export, plot):
        action.add_argument("--last", default="", metavar="T", help="the last 90s, 15m, 8h, 7d (1h)")
        action.add_argument("--from", dest="since", default="", metavar="TIME", help="ISO 8601; local without a zone")
        action.add_argument("--to", dest="until", default="", metavar="TIME", help="the same; without it now")
        action.add_argument(
            "--tag", default="", metavar="SOURCE/TAG", help="a tag of a source, such as plant/Line.Speed"
        )
    for action in (query, export):
        action.add_argument("--pipeline", default="", metavar="P", help="the results of a pipeline")
        action.add_argument("--field", default="", metavar="F", help="one field of them, such as score or total_ms")
        action.add_argument("--events", action="store_true", help="what happened")
        action.add_argument("--code", default="", metavar="C", help="events of one code, such as plc_lost")
        action.add_argument("--every", choices=["second", "minute"], help="aggregates of a tag or a field")
    query.add_argument("--limit", type=int, default=20, metavar="N", help="so many rows (20)")
    query.add_argument("--json", action="store_true", help="lines of JSON, for programs")
    export.add_argument("--out", type=Path, required=True, metavar="FILE", help="ends in .csv or .parquet")
    plot.add_argument("view", nargs="?", default="all", choices=["all", "line", "inference", "models", "plc", "device"])
    plot.add_argument("--out", type=Path, default=Path(), metavar="DIR", help="where to (here)")
    _take_home(*actions.choices.values())


def _add_model(model: argparse.ArgumentParser) -> None:
    actions = model.add_subparsers(dest="action", required=True, metavar="ACTION")
    actions.add_parser("list", help="print the versions in the models folder and what the runtimes say of them")
    use = actions.add_parser("use", help="run a version, and pin it when every runtime serves it")
    use.add_argument("name", help="of the model, as its folder is named")
    use.add_argument("version", nargs="?", help="as its folder is named; without it the newest, and nothing is pinned")
    back = actions.add_parser("rollback", help="return to the version that served before")
    back.add_argument("name", help="of the model")
    test = actions.add_parser("test", help="let each runtime check the version that serves by its golden vectors")
    test.add_argument("name", help="of the model")
    _take_home(*actions.choices.values())


def _add_deploying(add: Callable[[str, Run, str], argparse.ArgumentParser]) -> None:
    add("accounts", _accounts, "write passwords and rights for the device's own broker")
    identity = add("identity", _identity, "make the device's key and request, install the fleet's answer, or show it")
    actions = identity.add_subparsers(dest="action", required=True, metavar="ACTION")
    actions.add_parser("request", help="make the key, which stays here, and a certificate request")
    install = actions.add_parser("install", help="check the fleet's answer and put it in its place")
    install.add_argument("answer", type=Path, metavar="DIR", help="holds device.pem and ca.pem")
    actions.add_parser("show", help="print whose certificate is installed, and until when it is good")
    _take_home(*actions.choices.values())
    _add_opcua(add("opcua", _opcua, "say who may use the OPC UA server, or export its address space"))


def _add_opcua(opcua: argparse.ArgumentParser) -> None:
    actions = opcua.add_subparsers(dest="action", required=True, metavar="ACTION")
    user = actions.add_parser("user", help="add a user or change a password, which is asked for")
    user.add_argument("name")
    user.add_argument("--remove", action="store_true", help="remove the user instead")
    actions.add_parser("list", help="show the certificates that are trusted and those that were refused")
    trust = actions.add_parser("trust", help="trust a certificate; a running server takes it up within seconds")
    trust.add_argument(
        "what", help="a thumbprint's beginning, of those refused, or a file: certificate or revocation list"
    )
    trust.add_argument("--issuer", action="store_true", help="an authority that only completes a chain")
    reject = actions.add_parser("reject", help="trust a certificate no longer; its connections end")
    reject.add_argument("what", help="a thumbprint's beginning")
    for action in (trust, reject):
        action.add_argument(
            "--users", action="store_true", help="in the list of users' certificates, not of applications'"
        )
    export = actions.add_parser("export", help="write the address space as NodeSet2 XML")
    export.add_argument("--out", type=Path, help="the file; without it, on the terminal")
    _take_home(*actions.choices.values())


def _add_sim(sim: argparse.ArgumentParser) -> None:
    actions = sim.add_subparsers(dest="action", required=True, metavar="ACTION")
    # a parser without options of its own hands all of them on, --help too
    plant = actions.add_parser(
        "plant", help="run a plant of your own; plant --help lists its options", add_help=False, prefix_chars="+"
    )
    plant.add_argument("rest", nargs=argparse.REMAINDER, metavar="...")
    actions.add_parser("state", help="print what the running demo's plant counts")
    fault = actions.add_parser("fault", help="break a cable, or let a face of the PLC answer wrongly, for some seconds")
    fault.add_argument("kind", choices=["cut", "slow", "garbage", "wrong-type", "freeze"])
    fault.add_argument("source", nargs="?", default="modbus", help="modbus (the default), camera, s7 or rtu")
    fault.add_argument("--for", dest="for_s", type=float, default=5.0, metavar="S")
    disturb = actions.add_parser(
        "disturb", help="begin a fault of the line itself or of its gearbox, which wears within 30 s"
    )
    disturb.add_argument("kind", choices=["overheat", "jam", "fill_drift", "imbalance", "bearing", "looseness"])
    disturb.add_argument("--severity", type=float, default=1.0)
    actions.add_parser("clear", help="mend all cables and faces, end the process fault")
    actions.add_parser("rearm", help="press the operator's reset")


def _know_device(given: argparse.Namespace) -> None:
    """Refuse a misspelt --home before anything is made or asked there; `process` and `doctor` say it in their words."""
    if given.home is not None and given.command not in ("process", "doctor"):
        from edge.commands.device import need_device

        need_device(given.home)


def main() -> int:
    """Entry point of `plantedge`."""
    given = make_parser().parse_args()
    from edge.commands.installation import installation_problems

    if problems := installation_problems():
        print(f"plantedge: {'; '.join(problems)}", file=sys.stderr)
        return FAILED
    from schemas.errors import PlantEdgeError

    try:
        _know_device(given)
        return cast("Run", given.run)(given)
    except PlantEdgeError as error:
        print(f"plantedge {given.command}: {error}", file=sys.stderr)
        return FAILED
    except BrokenPipeError:  # `plantedge watch | head`
        sys.stderr.close()
        return 0
    except KeyboardInterrupt:
        return 130


if __name__ == "__main__":
    sys.exit(main())
