"""`launcher rank-table`: generate, lint, merge, convert and show rank tables."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from launcher.findings import Finding
    from launcher.ranktable import NodeAddress, RankTable
    from launcher.ranktable.sources import Choice

HELP = "make, check and draw HCCL rank tables"

_CHIPS = ("ascend910", "ascend910b", "atlas-a3", "ascend950", "cpu")  # a test compares it with CHIPS
_EPILOG = """exit codes: 0 fine, 2 wrong usage or lint errors, 5 a machine of the allocation did not answer

examples:
  launcher rank-table generate -o hccl_8p.json                      this machine, all its devices
  launcher rank-table generate --device_num "[0,4)" --server_ip 10.0.0.5
  launcher rank-table generate --addresses machines.yaml -o hccl.json
  launcher rank-table merge node0.json node1.json -o hccl_2s_16p.json
  launcher rank-table convert "$RANK_TABLE_FILE" --wait 600 -o hccl.json
  launcher rank-table lint hccl.json --chip ascend910 --ranks 16
  launcher rank-table lint --explain RT007
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the subcommands on the parser of `launcher rank-table`."""
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.epilog = _EPILOG
    commands = parser.add_subparsers(dest="rank_table_command", required=True, metavar="COMMAND")
    _add_generate(commands.add_parser("generate", help="make a table"))
    _add_lint(commands.add_parser("lint", help="check tables, or explain a rule"))
    _add_merge(commands.add_parser("merge", help="join tables in the order given, ranks renumbered"))
    _add_convert(commands.add_parser("convert", help="rewrite any known form, group_list too"))
    _add_show(commands.add_parser("show", help="draw servers, devices and ranks"))


def run(args: argparse.Namespace) -> int:
    """Carry out the subcommand. Raises LauncherError; otherwise returns the exit code."""
    commands: dict[str, Callable[[argparse.Namespace], int]] = {
        "generate": _generate,
        "lint": _lint,
        "merge": _merge,
        "convert": _convert,
        "show": _show,
    }
    return commands[args.rank_table_command](args)


def _add_generate(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--chip", choices=_CHIPS, default="ascend910", help="default: %(default)s")
    source = parser.add_mutually_exclusive_group()
    source.add_argument("--addresses", metavar="FILE", help="machines and addresses from YAML or JSON")
    source.add_argument(
        "--allocation",
        metavar="BACKEND",
        help="ask every machine that this shell holds on a back end's platform",
    )
    source.add_argument("--plan", metavar="FILE", help="placeholder table of a plan.json")
    devices = parser.add_mutually_exclusive_group()
    devices.add_argument("--devices", metavar="IDS", help="physical ids, as 0-3 or 0,2 (default: all)")
    devices.add_argument(
        "--device_num", "--device-num", metavar="[A,B)", help="logical ids, as in hccl_tools"
    )
    parser.add_argument(
        "--visible_devices", "--visible-devices", metavar="IDS", help="physical ids of logical 0, 1, ..."
    )
    parser.add_argument(
        "--server_ip", "--server-ip", default="", help="this machine's address for the others"
    )
    parser.add_argument("--hccn_conf", "--hccn-conf", metavar="FILE", help="instead of the machine's own")
    parser.add_argument(
        "--super_pod", "--super-pod", default="", metavar="ID", help="Atlas A3: name of the pod"
    )
    _add_output(parser)


def _add_lint(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("files", nargs="*", metavar="FILE", help="a table, or the folder that holds it")
    parser.add_argument("--chip", choices=_CHIPS, help="default: what the version suggests")
    parser.add_argument("--ranks", type=int, metavar="N", help="ranks that the run needs")
    parser.add_argument("--nodes", type=int, metavar="N", help="machines that the run needs")
    parser.add_argument("--here", action="store_true", help="compare with this machine's devices too")
    parser.add_argument(
        "--server_ip", "--server-ip", default="", help="this machine's server_id, with --here"
    )
    parser.add_argument("--explain", metavar="RULE", help="explain a rule, RT007, or `all`")
    parser.add_argument("--json", action="store_true", help="findings as JSON")


def _add_merge(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("files", nargs="+", metavar="FILE")
    parser.add_argument("--chip", choices=_CHIPS, help="default: what the version suggests")
    _add_output(parser)


def _add_convert(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("file", metavar="FILE", help="a table, or the folder that holds it")
    parser.add_argument("--to", choices=("1.0", "1.2", "2.0"), help="version (default: as it is)")
    parser.add_argument("--wait", type=float, metavar="SECONDS", help="wait until it is completed")
    parser.add_argument("--chip", choices=_CHIPS, help="default: what the version suggests")
    _add_output(parser)


def _add_show(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("file", metavar="FILE", help="a table, or the folder that holds it")
    parser.add_argument(
        "--servers", type=int, default=32, metavar="N", help="draw at most N (default: %(default)s)"
    )
    parser.add_argument("--json", action="store_true", help="the table as JSON, in its own version")


def _add_output(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "-o",
        "--output",
        "--save_path",
        metavar="PATH",
        help="file, or folder to name it in (default: stdout)",
    )
    parser.add_argument("--force", action="store_true", help="write it even when lint finds errors")
    parser.add_argument("--json", action="store_true", help="table, findings and path in one JSON object")


def _generate(args: argparse.Namespace) -> int:
    from pathlib import Path

    from launcher.devices.inventory import Probe
    from launcher.ranktable import generate, sources

    if args.plan:
        chip, table = sources.from_plan(sources.read_text(Path(args.plan)), where=args.plan)
        return _finish(args, table, chip, planned=True)
    if args.addresses:
        nodes = sources.from_map(sources.read_text(Path(args.addresses)), where=args.addresses)
        return _finish(args, generate(args.chip, nodes), args.chip)
    choice = _choice(args)
    if args.allocation:
        return _finish(args, generate(args.chip, _allocated(args, choice)), args.chip)
    probe = Probe(hccn_conf=Path(args.hccn_conf), hccn_tool="") if args.hccn_conf else Probe()
    node = sources.this_machine(
        args.chip, choice, server_ip=args.server_ip, super_pod=args.super_pod, probe=probe
    )
    return _finish(args, generate(args.chip, [node]), args.chip)


def _allocated(args: argparse.Namespace, choice: Choice) -> Sequence[NodeAddress]:
    """Raises LauncherError."""
    from launcher.backends import get_backend
    from launcher.backends.base import Allocates
    from launcher.errors import UsageError

    backend = get_backend(args.allocation)
    if not isinstance(backend, Allocates):
        raise UsageError(
            f"the back end '{args.allocation}' has no allocations",
            where="--allocation",
            hint="give the machines' addresses with --addresses",
        )
    return backend.allocated(args.chip, choice, args.super_pod)


def _choice(args: argparse.Namespace) -> Choice:
    from launcher.errors import UsageError
    from launcher.ranktable.sources import Choice, parse_ids, parse_interval

    if args.devices and args.visible_devices:
        raise UsageError("--devices and --visible_devices both name physical ids", hint="Give one of them.")
    visible = args.devices or args.visible_devices
    return Choice(
        logical=parse_interval(args.device_num) if args.device_num else None,
        visible=parse_ids(visible) if visible else None,
    )


def _lint(args: argparse.Namespace) -> int:
    from pathlib import Path

    from launcher.errors import UsageError
    from launcher.findings import errors
    from launcher.ranktable import lint, load
    from launcher.ranktable.rules import RULES, explain

    if args.explain:
        names = list(RULES) if args.explain == "all" else [args.explain]
        _print("\n\n".join(explain(name) for name in names))
        return 0
    if not args.files:
        raise UsageError("nothing to lint", hint="Give a file, or --explain RT007.")
    results: list[tuple[str, str, list[Finding]]] = []
    for name in args.files:
        table = load(Path(name))
        chip = args.chip or _guessed_chip(table)
        found = lint(table, chip=chip, ranks=args.ranks, nodes=args.nodes)
        if args.here:
            found += _here(table, chip, args.server_ip)
        results.append((name, chip, found))
    if args.json:
        _print_json(
            [{"file": n, "chip": c, "findings": [f.to_dict() for f in found]} for n, c, found in results]
        )
    else:
        for name, chip, found in results:
            note = "" if args.chip else " (--chip names another)"
            _say(f"{name}: checked as {chip}{note}: {_summary(found)}")
            for finding in found:
                _print(str(finding))
    return 2 if any(errors(found) for _, _, found in results) else 0


def _here(table: RankTable, chip: str, server_ip: str) -> Sequence[Finding]:
    from launcher.devices.inventory import list_devices
    from launcher.ranktable.lint import lint_here
    from launcher.ranktable.sources import own_address

    addresses = {device.device_id: device.device_ip for device in list_devices(chip)}
    return lint_here(table, server_ip or own_address(), addresses)


def _merge(args: argparse.Namespace) -> int:
    from pathlib import Path

    from launcher.ranktable import load, merge

    table = merge([load(Path(name)) for name in args.files])
    return _finish(args, table, args.chip or _guessed_chip(table))


def _convert(args: argparse.Namespace) -> int:
    from pathlib import Path

    from launcher.ranktable import convert, load, wait

    path = Path(args.file)
    table = load(path) if args.wait is None else wait(path, args.wait, _say)
    table = convert(table, args.to or table.version)
    return _finish(args, table, args.chip or _guessed_chip(table))


def _show(args: argparse.Namespace) -> int:
    import shutil
    from pathlib import Path

    from launcher.ranktable import load, show

    table = load(Path(args.file))
    width = shutil.get_terminal_size((100, 24)).columns
    _print((table.to_json() if args.json else show(table, width=width, servers=args.servers)).rstrip("\n"))
    return 0


def _finish(args: argparse.Namespace, table: RankTable, chip: str, *, planned: bool = False) -> int:
    """Lint, then write or print: a table with errors is written only with --force."""
    from pathlib import Path

    from launcher.findings import errors
    from launcher.ranktable import lint

    found = lint(table, chip=chip, planned=planned)
    bad = bool(errors(found))
    path = _target(Path(args.output), table) if args.output else None
    if not bad or args.force:
        if path is not None:
            table.write(path)
        elif not args.json:
            _print(table.to_json().rstrip("\n"))
    if args.json:
        import json

        written = str(path) if path and (not bad or args.force) else None
        document = json.loads(table.to_json())
        _print_json({"path": written, "table": document, "findings": [f.to_dict() for f in found]})
        return 2 if bad else 0
    for finding in found:
        _say(str(finding))
    if bad and not args.force:
        _say(
            f"not written: {_summary(found)}. `launcher rank-table lint --explain {errors(found)[0].rule}` says more."
        )
    elif path is not None:
        _say(f"{path}: {_counted(table.rank_count, 'rank')} on {_counted(len(table.servers), 'server')}")
    return 2 if bad else 0


def _target(path: Path, table: RankTable) -> Path:
    """Inside a folder, the names that hccl_tools and merge_hccl give."""
    if not path.is_dir():
        return path
    if len(table.servers) == 1:
        server = table.servers[0]
        ids = "".join(str(device.device_id) for device in server.devices)
        return path / f"hccl_{table.rank_count}p_{ids}_{server.server_id.replace('/', '_')}.json"
    return path / f"hccl_{len(table.servers)}s_{table.rank_count}p.json"


def _guessed_chip(table: RankTable) -> str:
    return {"1.2": "atlas-a3", "2.0": "ascend950"}.get(table.version, "ascend910")


def _summary(found: Sequence[Finding]) -> str:
    counts = {
        kind: sum(finding.severity == kind for finding in found) for kind in ("error", "warning", "info")
    }
    names = {"error": "error", "warning": "warning", "info": "note"}
    return (
        ", ".join(_counted(count, names[kind]) for kind, count in counts.items() if count) or "nothing found"
    )


def _counted(count: int, noun: str) -> str:
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"


def _print(text: str) -> None:
    import sys

    sys.stdout.write(text + "\n")


def _print_json(value: object) -> None:
    import json

    _print(json.dumps(value, indent=1))


def _say(text: str) -> None:
    import sys

    sys.stderr.write(text + "\n")
