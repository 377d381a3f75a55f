"""The subcommands of `launcher rank-table`: generate, lint, merge, convert and show."""

from __future__ import annotations

import argparse
import json
import shutil
from collections.abc import Sequence
from pathlib import Path

from launcher.cli import natural
from launcher.cli.common import out, out_json, say
from launcher.errors import UsageError
from launcher.findings import Finding, errors
from launcher.ranktable import (
    NodeAddress,
    RankTable,
    convert,
    generate,
    lint,
    load,
    merge,
    show,
    sources,
    wait,
)
from launcher.ranktable.lint import lint_here
from launcher.ranktable.rules import RULES, explain
from launcher.ranktable.sources import Choice, own_address, parse_ids, parse_interval


def generate_command(args: argparse.Namespace) -> int:
    from launcher.devices.chip import chip_here
    from launcher.devices.probe import Probe

    if args.chip == "auto":
        args.chip = chip_here()
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
    """The machines that the back end of `--allocation` holds here. Raises LauncherError."""
    from launcher.backends import get_backend
    from launcher.backends.base import Allocates

    backend = get_backend(args.allocation)
    if not isinstance(backend, Allocates):
        raise UsageError(
            f"the back end '{args.allocation}' has no allocations",
            where="--allocation",
            hint="give the machines' addresses with --addresses",
        )
    return backend.allocated(args.chip, choice, args.super_pod)


def _choice(args: argparse.Namespace) -> Choice:
    if args.devices and args.visible_devices:
        raise UsageError("--devices and --visible_devices both name physical ids", hint="give one of them")
    visible = args.devices or args.visible_devices
    return Choice(
        logical=parse_interval(args.device_num) if args.device_num else None,
        visible=parse_ids(visible) if visible else None,
    )


def lint_command(args: argparse.Namespace) -> int:
    if args.explain:
        names = list(RULES) if args.explain == "all" else [args.explain]
        out("\n\n".join(explain(name) for name in names))
        return 0
    if not args.files:
        raise UsageError("nothing to lint", hint="give a file, or --explain RT007")
    results: list[tuple[str, str, list[Finding]]] = []
    for name in args.files:
        table = load(Path(name))
        chip = args.chip or _guessed_chip(table)
        findings = lint(table, chip=chip, ranks=args.ranks, nodes=args.nodes)
        if args.here:
            findings += _here(table, chip, args.server_ip)
        results.append((name, chip, findings))
    if args.json:
        out_json(
            [
                {"file": n, "chip": c, "findings": [f.to_dict() for f in findings]}
                for n, c, findings in results
            ]
        )
    else:
        for name, chip, findings in results:
            note = "" if args.chip else " (--chip names another)"
            say(f"{name}: checked as {chip}{note}: {_summary(findings)}")
            for finding in findings:
                out(str(finding))
    return 2 if any(errors(findings) for _, _, findings in results) else 0


def _here(table: RankTable, chip: str, server_ip: str) -> Sequence[Finding]:
    from launcher.devices.inventory import list_devices

    addresses = {device.device_id: device.device_ip for device in list_devices(chip)}
    return lint_here(table, server_ip or own_address(), addresses)


def merge_command(args: argparse.Namespace) -> int:
    names = natural.expanded(args.files)
    if names != sorted(names, key=natural.key) and names == sorted(names):
        say(
            f"note: {names[0]} to {names[-1]} are in the order of a shell, which puts node10 before node2; "
            "quote the pattern ('node*.json') and they are joined by number"
        )
    table = merge([load(Path(name)) for name in names])
    return _finish(args, table, args.chip or _guessed_chip(table))


def convert_command(args: argparse.Namespace) -> int:
    path = Path(args.file)
    table = load(path) if args.wait is None else wait(path, args.wait, say)
    table = convert(table, args.to or table.version)
    return _finish(args, table, args.chip or _guessed_chip(table))


def show_command(args: argparse.Namespace) -> int:
    table = load(Path(args.file))
    width = shutil.get_terminal_size((100, 24)).columns
    out((table.to_json() if args.json else show(table, width=width, servers=args.servers)).rstrip("\n"))
    return 0


def _finish(args: argparse.Namespace, table: RankTable, chip: str, *, planned: bool = False) -> int:
    """Lint, then write or print: a table with errors is written only with --force."""
    findings = lint(table, chip=chip, planned=planned)
    faulty = bool(errors(findings))
    path = _target(Path(args.output), table) if args.output else None
    if not faulty or args.force:
        if path is not None:
            table.write(path)
        elif not args.json:
            out(table.to_json().rstrip("\n"))
    if args.json:
        written = str(path) if path and (not faulty or args.force) else None
        document = json.loads(table.to_json())
        out_json({"path": written, "table": document, "findings": [f.to_dict() for f in findings]})
        return 2 if faulty else 0
    for finding in findings:
        say(str(finding))
    if faulty and not args.force:
        say(
            f"not written: {_summary(findings)}. `launcher rank-table lint --explain {errors(findings)[0].rule}` says more."
        )
    elif path is not None:
        say(f"{path}: {_counted(table.rank_count, 'rank')} on {_counted(len(table.servers), 'server')}")
    return 2 if faulty else 0


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
    return {"1.2": "atlas-a3", "1.3": "atlas-a3", "2.0": "ascend950"}.get(table.version, "ascend910")


def _summary(findings: Sequence[Finding]) -> str:
    counts = {
        kind: sum(finding.severity == kind for finding in findings) for kind in ("error", "warning", "info")
    }
    names = {"error": "error", "warning": "warning", "info": "note"}
    return (
        ", ".join(_counted(count, names[kind]) for kind, count in counts.items() if count) or "nothing found"
    )


def _counted(count: int, noun: str) -> str:
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"
